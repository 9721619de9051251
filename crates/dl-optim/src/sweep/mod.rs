//! One pass over memory: a parameter, its gradient and its slots, element by element, in place.
//!
//! The loop is compiled for several instruction sets and the widest one of the CPU runs. Large
//! tensors are split among rayon's threads, small ones stay on the calling thread. Elements do not
//! depend on each other, so the result is the same for any number of threads.

mod blocks;
mod cpu;
mod element;
mod source;
mod sums;

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};

pub(crate) use blocks::sweep_blocks;
pub(crate) use cpu::split;
pub use cpu::{Lanes, Sweep};
pub(crate) use element::Element;
pub(crate) use source::{BLOCK, Source};
pub use sums::Gauge;
pub(crate) use sums::{composed_square_sums, square_sums};

use crate::real::Composed;
use crate::{Path, Real};
use cpu::Span;

/// The formula of a rule for one element that has `N` slots.
///
/// It is a plain struct of numbers. `apply` must be `#[inline(always)]`, or the loop around it cannot use vector instructions.
///
/// ```
/// use dl_optim::{Kernel, Real};
/// #[derive(Clone, Copy)]
/// struct HeavyBall { lr: f64, momentum: f64 }
/// impl Kernel<1> for HeavyBall {
///     #[inline(always)]
///     fn apply<R: Real>(&self, theta: R, g: R, [v]: [R; 1]) -> (R, [R; 1]) {
///         let v = v.scale(self.momentum) + g;
///         (theta - v.clone().scale(self.lr), [v])
///     }
/// }
/// let (theta, [v]) = HeavyBall { lr: 0.5, momentum: 0.5 }.apply(1.0, 2.0, [4.0]);
/// assert_eq!((theta, v), (-1.0, 4.0));
/// ```
pub trait Kernel<const N: usize>: Copy + Sync {
    /// The new parameter and the new slots, from the old ones and the gradient.
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; N]) -> (R, [R; N]);
}

/// What is done to a gradient while it is read: multiplied, then limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intake {
    pub(crate) scale: f64,
    pub(crate) limit: f64,
}

impl Intake {
    pub(crate) const UNCHANGED: Self = Self {
        scale: 1.0,
        limit: f64::INFINITY,
    };
}

/// Whether [`sweep`] can update this tensor.
pub(crate) fn can_sweep(theta: &Tensor) -> bool {
    theta.device().is_cpu() && matches!(theta.dtype(), DType::F32 | DType::F64)
}

/// `target` after one formula on it and `source`: itself, changed in place, where there is a loop for
/// it. The target is contiguous and nobody else's.
pub(crate) fn combine<K: Kernel<0>>(
    target: Tensor,
    source: &Tensor,
    path: Path,
    kernel: &K,
) -> Result<Tensor> {
    if path == Path::Fused && can_sweep(&target) {
        sweep::<0, _>(&target, source, &[], Intake::UNCHANGED, Rows::All, kernel)?;
        return Ok(target);
    }
    let [target, source] = [target, source.clone()].map(|x| Composed::new(Ok(x)));
    kernel.apply(target, source, []).0.finish()
}

/// x + share · (to − x).
#[derive(Clone, Copy)]
pub(crate) struct Toward {
    pub(crate) share: f64,
}

impl Kernel<0> for Toward {
    #[inline(always)]
    fn apply<R: Real>(&self, x: R, to: R, _: [R; 0]) -> (R, [R; 0]) {
        (x.lerp(to, self.share), [])
    }
}

/// Which rows of a tensor an update reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rows {
    All,
    /// Those of so many elements whose gradient is not all zero; the gradient is contiguous.
    Touched(usize),
}

/// Updates `theta` and `slots` in place. All have one dtype and one shape; `theta` and the slots are
/// contiguous, the gradient need not be.
pub(crate) fn sweep<const N: usize, K: Kernel<N>>(
    theta: &Tensor,
    gradient: &Tensor,
    slots: &[Tensor],
    intake: Intake,
    rows: Rows,
    kernel: &K,
) -> Result<()>
where
    Lanes<N>: Sweep<N>,
{
    if slots.len() != N {
        bail!("the kernel needs {N} slots, got {}", slots.len());
    }
    match theta.dtype() {
        DType::F64 => theta.inplace_op2(
            gradient,
            &Start::<f64, N, K>::new(slots, intake, rows, kernel),
        ),
        _ => theta.inplace_op2(
            gradient,
            &Start::<f32, N, K>::new(slots, intake, rows, kernel),
        ),
    }
}

/// The outermost operation: holds the parameter and the gradient, opens the first slot.
struct Start<'a, F, const N: usize, K> {
    slots: &'a [Tensor],
    intake: Intake,
    rows: Rows,
    kernel: &'a K,
    element: std::marker::PhantomData<F>,
}

impl<'a, F, const N: usize, K> Start<'a, F, N, K> {
    fn new(slots: &'a [Tensor], intake: Intake, rows: Rows, kernel: &'a K) -> Self {
        Self {
            slots,
            intake,
            rows,
            kernel,
            element: std::marker::PhantomData,
        }
    }
}

impl<F: Element, const N: usize, K: Kernel<N>> InplaceOp2 for Start<'_, F, N, K>
where
    Lanes<N>: Sweep<N>,
{
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let theta = F::contiguous_mut(theta, theta_layout)?;
        let source = Source::new(F::all(gradient)?, gradient_layout);
        if source.len() != theta.len() {
            bail!(
                "the gradient has {} elements, the parameter {}",
                source.len(),
                theta.len()
            );
        }
        let opened = std::array::from_fn(|_| Default::default());
        open(theta, &source, opened, self.slots, 0, self)
    }
}

/// Nests one in-place operation per slot, because candle lends one mutable tensor at a time; when
/// all are open, runs the loop.
fn open<'a, F: Element, const N: usize, K: Kernel<N>>(
    theta: &'a mut [F],
    source: &Source<'a, F>,
    opened: [&'a mut [F]; N],
    slots: &[Tensor],
    depth: usize,
    start: &Start<'_, F, N, K>,
) -> Result<()>
where
    Lanes<N>: Sweep<N>,
{
    let Some(slot) = slots.get(depth) else {
        let span = Span {
            theta,
            offset: 0,
            slots: opened,
        };
        let Start {
            intake,
            rows,
            kernel,
            ..
        } = *start;
        cpu::run(span, source, intake, rows, kernel);
        return Ok(());
    };
    let held = Cell::new(Some((theta, opened)));
    slot.inplace_op1(&Nested {
        held,
        source,
        slots,
        depth,
        start,
    })
}

/// The parameter and the slots that are open so far.
type Held<'a, F, const N: usize> = (&'a mut [F], [&'a mut [F]; N]);

/// What the operation on one slot carries inwards.
struct Nested<'a, 'b, F, const N: usize, K> {
    held: Cell<Option<Held<'a, F, N>>>,
    source: &'b Source<'a, F>,
    slots: &'b [Tensor],
    depth: usize,
    start: &'b Start<'b, F, N, K>,
}

impl<F: Element, const N: usize, K: Kernel<N>> InplaceOp1 for Nested<'_, '_, F, N, K>
where
    Lanes<N>: Sweep<N>,
{
    fn name(&self) -> &'static str {
        "optimizer slot"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((theta, mut opened)) = self.held.take() else {
            bail!("an optimizer slot was opened twice");
        };
        let slot = F::contiguous_mut(storage, layout)?;
        if slot.len() != theta.len() {
            bail!(
                "a slot has {} elements, the parameter {}",
                slot.len(),
                theta.len()
            );
        }
        if let Some(place) = opened.get_mut(self.depth) {
            *place = slot;
        }
        open(
            theta,
            self.source,
            opened,
            self.slots,
            self.depth + 1,
            self.start,
        )
    }
}

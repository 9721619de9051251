//! Two sums over a parameter, its gradient and its slots, in one pass that only reads.

use candle_core::{DType, Layout, Result, Storage, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::cpu::{Taken, split};
use super::source::BLOCK;
use super::{Element, Intake, Source};
use crate::real::Composed;
use crate::{Real, global_norm};

/// Partial results that run side by side in a block. Fixed, so that every CPU adds in the same order.
const LANES: usize = 16;

/// Two things about one element, with `N` slots, whose squares are summed over a parameter.
///
/// As in [`Kernel`](crate::Kernel), `apply` must be `#[inline(always)]`.
///
/// ```
/// use dl_optim::{Gauge, Real};
/// /// For the norms of the parameter and of the gradient.
/// #[derive(Clone, Copy)]
/// struct Norms;
/// impl Gauge<0> for Norms {
///     #[inline(always)]
///     fn apply<R: Real>(&self, theta: R, g: R, _: [R; 0]) -> [R; 2] {
///         [theta, g]
///     }
/// }
/// assert_eq!(Norms.apply(3.0, 4.0, []), [3.0, 4.0]);
/// ```
pub trait Gauge<const N: usize>: Copy + Sync {
    /// What is squared and summed.
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; N]) -> [R; 2];
}

/// The sums, in f64, bit-identical for any number of threads and any strides of the gradient. All
/// tensors are on the CPU, of one dtype and one shape; all but the gradient are contiguous.
pub(crate) fn square_sums<const N: usize, G: Gauge<N>>(
    theta: &Tensor,
    gradient: &Tensor,
    slots: &[Tensor],
    intake: Intake,
    gauge: &G,
) -> Result<[f64; 2]> {
    let Some(slots) = slots.first_chunk::<N>() else {
        bail!("the gauge needs {N} slots, got {}", slots.len());
    };
    match theta.dtype() {
        DType::F64 => read::<f64, N, G>(theta, gradient, slots, intake, gauge),
        _ => read::<f32, N, G>(theta, gradient, slots, intake, gauge),
    }
}

/// The same, by candle's operations.
pub(crate) fn composed_square_sums<const N: usize, G: Gauge<N>>(
    theta: Tensor,
    gradient: Tensor,
    slots: [Tensor; N],
    gauge: &G,
) -> Result<[f64; 2]> {
    let [theta, gradient] = [theta, gradient].map(|x| Composed::new(Ok(x)));
    let slots = slots.map(|slot| Composed::new(Ok(slot)));
    let [a, b] = gauge.apply(theta, gradient, slots);
    let [a, b] = [global_norm([&a.finish()?])?, global_norm([&b.finish()?])?];
    Ok([a * a, b * b])
}

fn read<F: Element, const N: usize, G: Gauge<N>>(
    theta: &Tensor,
    gradient: &Tensor,
    slots: &[Tensor; N],
    intake: Intake,
    gauge: &G,
) -> Result<[f64; 2]> {
    let (theta, gradient) = (theta.storage_and_layout(), gradient.storage_and_layout());
    let slots = slots.each_ref().map(|slot| slot.storage_and_layout());
    let all = Elements {
        theta: contiguous(&theta.0, theta.1)?,
        source: Source::new(F::all(on_cpu(&gradient.0)?)?, gradient.1),
        slots: {
            let mut parts: [&[F]; N] = [&[]; N];
            for (part, (storage, layout)) in parts.iter_mut().zip(&slots) {
                *part = contiguous(storage, layout)?;
            }
            parts
        },
        intake,
        gauge,
    };
    let len = all.theta.len();
    if all.source.len() != len || all.slots.iter().any(|slot| slot.len() != len) {
        bail!("the parameter, its gradient and its slots differ in size");
    }
    Ok(all.sums())
}

fn on_cpu(storage: &Storage) -> Result<&candle_core::CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("a tensor of the update is not on the CPU"),
    }
}

fn contiguous<'a, F: Element>(storage: &'a Storage, layout: &Layout) -> Result<&'a [F]> {
    let all = F::all(on_cpu(storage)?)?;
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    match range.and_then(|range| all.get(range)) {
        Some(part) => Ok(part),
        None => bail!("a tensor of the update is not contiguous"),
    }
}

struct Elements<'a, F, const N: usize, G> {
    theta: &'a [F],
    source: Source<'a, F>,
    slots: [&'a [F]; N],
    intake: Intake,
    gauge: &'a G,
}

impl<F: Element, const N: usize, G: Gauge<N>> Elements<'_, F, N, G> {
    fn sums(&self) -> [f64; 2] {
        let blocks = 0..self.theta.len().div_ceil(BLOCK);
        let add = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
        if split(self.theta.len()).is_none() {
            return blocks.map(|i| self.block(i)).fold([0.0; 2], add);
        }
        let parts: Vec<_> = blocks.into_par_iter().map(|i| self.block(i)).collect();
        parts.into_iter().fold([0.0; 2], add)
    }

    fn block(&self, i: usize) -> [f64; 2] {
        let range = i * BLOCK..self.theta.len().min((i + 1) * BLOCK);
        let mut buffer;
        let gradient = match self.source.contiguous() {
            Some(all) => &all[range.clone()],
            None => {
                buffer = [F::default(); BLOCK];
                self.source.block(range.clone(), &mut buffer)
            }
        };
        Arch::new().dispatch(Block {
            theta: &self.theta[range.clone()],
            gradient,
            slots: self.slots.map(|slot| &slot[range.clone()]),
            formula: Taken::new(self.intake, *self.gauge),
        })
    }
}

/// What one thread sums at a time, compiled once per instruction set.
struct Block<'a, F, const N: usize, G> {
    theta: &'a [F],
    gradient: &'a [F],
    slots: [&'a [F]; N],
    formula: Taken<F, G>,
}

impl<F: Element, const N: usize, G: Gauge<N>> WithSimd for Block<'_, F, N, G> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; 2] {
        let mut lanes = [[0.0; LANES]; 2];
        let whole = self.theta.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            let (theta, gradient) = (row(self.theta, at), row(self.gradient, at));
            let slots = self.slots.map(|slot| row(slot, at));
            for lane in 0..LANES {
                let slots = slots.map(|slot| slot[lane]);
                let squares = self.formula.squares(theta[lane], gradient[lane], slots);
                lanes[0][lane] += squares[0];
                lanes[1][lane] += squares[1];
            }
        }
        for at in whole..self.theta.len() {
            let slots = self.slots.map(|slot| slot[at]);
            let squares = self
                .formula
                .squares(self.theta[at], self.gradient[at], slots);
            lanes[0][at - whole] += squares[0];
            lanes[1][at - whole] += squares[1];
        }
        lanes.map(|lanes| lanes.into_iter().fold(0.0, |whole, lane| whole + lane))
    }
}

/// Elements of one round of the lanes: a copy of fixed length, so that the loop over it has no checks.
#[inline(always)]
fn row<F: Element>(all: &[F], at: usize) -> [F; LANES] {
    let mut row = [F::default(); LANES];
    row.copy_from_slice(&all[at..at + LANES]);
    row
}

impl<F: Element, K> Taken<F, K> {
    #[inline(always)]
    fn squares<const N: usize>(&self, theta: F, g: F, slots: [F; N]) -> [f64; 2]
    where
        K: Gauge<N>,
    {
        let terms = self.kernel.apply(theta, self.gradient(g), slots);
        terms.map(|x| x.widen() * x.widen())
    }
}

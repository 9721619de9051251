//! The pass over slots that are kept in 8 bits: block by block widened, updated and narrowed.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use super::cpu::{Sweep, Taken, split};
use super::source::BLOCK;
use super::{Intake, Kernel, Lanes, Source};
use crate::Real;
use crate::dynamic_map::{BLOCK_LEN, Coded, DynamicMap};

/// Updates `theta` and its slots in place: the codes of a slot of both signs and of one that is not
/// negative, then the scales of both. All but the gradient are contiguous.
pub(crate) fn sweep_blocks<K: Kernel<2>>(
    theta: &Tensor,
    gradient: &Tensor,
    slots: &[Tensor],
    intake: Intake,
    kernel: &K,
) -> Result<()> {
    let [codes1, codes2, scales1, scales2] = slots else {
        bail!("blocks need 4 slots, got {}", slots.len());
    };
    let (codes, scales) = ([codes1, codes2], [scales1, scales2]);
    let start = Start {
        codes,
        scales,
        intake,
        kernel,
    };
    match theta.dtype() {
        DType::F64 => theta.inplace_op2(gradient, &Typed::<f64, K>::new(&start)),
        _ => theta.inplace_op2(gradient, &Typed::<f32, K>::new(&start)),
    }
}

struct Start<'a, K> {
    codes: [&'a Tensor; 2],
    scales: [&'a Tensor; 2],
    intake: Intake,
    kernel: &'a K,
}

/// The outermost operation, on the parameter and the gradient.
struct Typed<'a, F, K> {
    start: &'a Start<'a, K>,
    element: std::marker::PhantomData<F>,
}

impl<'a, F, K> Typed<'a, F, K> {
    fn new(start: &'a Start<'a, K>) -> Self {
        let element = std::marker::PhantomData;
        Self { start, element }
    }
}

impl<F: Coded, K: Kernel<2>> InplaceOp2 for Typed<'_, F, K> {
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
        let Start {
            codes: [codes1, codes2],
            scales: [scales1, scales2],
            intake,
            kernel,
        } = self.start;
        lend(codes1, bytes_mut, |codes1| {
            lend(codes2, bytes_mut, |codes2| {
                lend(scales1, F::contiguous_mut, |scales1| {
                    lend(scales2, F::contiguous_mut, |scales2| {
                        let span = Span {
                            theta,
                            offset: 0,
                            codes: [codes1, codes2],
                            scales: [scales1, scales2],
                        };
                        span.check(source.len())?;
                        run(span, &source, *intake, **kernel);
                        Ok(())
                    })
                })
            })
        })
    }
}

/// How the elements of a storage are reached.
type Opening<E> = for<'a> fn(&'a mut CpuStorage, &Layout) -> Result<&'a mut [E]>;

/// Lends the elements of a tensor to `work`: candle gives out one mutable tensor at a time, so several
/// are nested.
fn lend<E, W: FnOnce(&mut [E]) -> Result<()>>(
    tensor: &Tensor,
    opening: Opening<E>,
    work: W,
) -> Result<()> {
    let work = Cell::new(Some(work));
    tensor.inplace_op1(&Lent { opening, work })
}

struct Lent<E, W> {
    opening: Opening<E>,
    work: Cell<Option<W>>,
}

impl<E, W: FnOnce(&mut [E]) -> Result<()>> InplaceOp1 for Lent<E, W> {
    fn name(&self) -> &'static str {
        "optimizer slot"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match self.work.take() {
            Some(work) => work((self.opening)(storage, layout)?),
            None => bail!("an optimizer slot was opened twice"),
        }
    }
}

fn bytes_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [u8]> {
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    match (storage, range) {
        (CpuStorage::U8(all), Some(range)) if range.end <= all.len() => Ok(&mut all[range]),
        _ => bail!("a slot of codes is not contiguous bytes"),
    }
}

/// A part of a parameter and its slots, from element number `offset` on, which begins a block.
struct Span<'a, F> {
    theta: &'a mut [F],
    offset: usize,
    codes: [&'a mut [u8]; 2],
    scales: [&'a mut [F]; 2],
}

impl<'a, F> Span<'a, F> {
    fn check(&self, gradient: usize) -> Result<()> {
        let (count, blocks) = (self.theta.len(), self.theta.len().div_ceil(BLOCK_LEN));
        let codes = self.codes.iter().all(|codes| codes.len() == count);
        let scales = self.scales.iter().all(|scales| scales.len() == blocks);
        match gradient == count && codes && scales {
            true => Ok(()),
            false => bail!("the gradient or a slot does not fit a parameter of {count} elements"),
        }
    }

    /// `at` is a multiple of [`BLOCK_LEN`].
    fn split_at(self, at: usize) -> (Self, Self) {
        let (theta, theta_rest) = self.theta.split_at_mut(at);
        let [(codes1, codes1_rest), (codes2, codes2_rest)] =
            self.codes.map(|codes| codes.split_at_mut(at));
        let [(scales1, scales1_rest), (scales2, scales2_rest)] = self
            .scales
            .map(|scales| scales.split_at_mut(at / BLOCK_LEN));
        let left = Span {
            theta,
            offset: self.offset,
            codes: [codes1, codes2],
            scales: [scales1, scales2],
        };
        let right = Span {
            theta: theta_rest,
            offset: self.offset + at,
            codes: [codes1_rest, codes2_rest],
            scales: [scales1_rest, scales2_rest],
        };
        (left, right)
    }
}

/// Updates a span, in halves on two threads for as long as there is enough to do.
fn run<F: Coded, K: Kernel<2>>(
    span: Span<'_, F>,
    source: &Source<'_, F>,
    intake: Intake,
    kernel: K,
) {
    let Some(at) = split(span.theta.len()) else {
        return Arch::new().dispatch(Piece {
            span,
            source,
            intake,
            kernel,
        });
    };
    let (left, right) = span.split_at(at);
    rayon::join(
        || run(left, source, intake, kernel),
        || run(right, source, intake, kernel),
    );
}

/// What one thread does at a time, compiled once per instruction set.
struct Piece<'a, F, K> {
    span: Span<'a, F>,
    source: &'a Source<'a, F>,
    intake: Intake,
    kernel: K,
}

impl<F: Coded, K: Kernel<2>> WithSimd for Piece<'_, F, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Span {
            theta,
            offset,
            codes: [codes1, codes2],
            scales: [scales1, scales2],
        } = self.span;
        let formula = Taken::new(self.intake, self.kernel);
        let maps = [DynamicMap::signed(), DynamicMap::unsigned()];
        let mut buffer = [F::default(); BLOCK];
        let all = self.source.contiguous();
        for start in (0..theta.len()).step_by(BLOCK) {
            let end = theta.len().min(start + BLOCK);
            let gradient = match all {
                Some(all) => &all[offset + start..offset + end],
                None => self.source.block(offset + start..offset + end, &mut buffer),
            };
            for at in (0..gradient.len()).step_by(BLOCK_LEN) {
                let from = start + at..end.min(start + at + BLOCK_LEN);
                let (codes1, codes2) = (&mut codes1[from.clone()], &mut codes2[from.clone()]);
                let block = from.start / BLOCK_LEN;
                let (mut m, mut v) = ([F::default(); BLOCK_LEN], [F::default(); BLOCK_LEN]);
                let (m, v) = (&mut m[..from.len()], &mut v[..from.len()]);
                widen(codes1, scales1[block], maps[0], m);
                widen(codes2, scales2[block], maps[1], v);
                let gradient = &gradient[at..at + from.len()];
                Lanes::<2>::sweep(formula, &mut theta[from], gradient, [&mut *m, &mut *v]);
                scales1[block] = narrow(m, maps[0], codes1);
                scales2[block] = narrow(v, maps[1], codes2);
            }
        }
    }
}

#[inline(always)]
fn widen<F: Coded>(codes: &[u8], scale: F, map: &DynamicMap, into: &mut [F]) {
    for (x, code) in into.iter_mut().zip(codes) {
        *x = F::of(*code, map) * scale;
    }
}

/// Turns a block into codes; gives its scale, the largest size in it.
#[inline(always)]
fn narrow<F: Coded>(block: &[F], map: &DynamicMap, codes: &mut [u8]) -> F {
    let scale = largest(block);
    let divisor = if scale == F::default() {
        F::round(1.0)
    } else {
        scale
    };
    for (code, x) in codes.iter_mut().zip(block) {
        *code = (*x / divisor).code(map);
    }
    scale
}

/// In lanes, so that the loop can use vectors; what is not a number stays.
#[inline(always)]
fn largest<F: Coded>(block: &[F]) -> F {
    let mut lanes = [F::default(); 16];
    let larger = |a: F, b: F| if b > a || b.is_nan() { b } else { a };
    for row in block.chunks(lanes.len()) {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane = larger(*lane, Real::abs(*x));
        }
    }
    lanes.into_iter().fold(F::default(), larger)
}

//! The loops, and how they are shared among threads.

use pulp::{Arch, Simd, WithSimd};

use super::source::BLOCK;
use super::{Element, Intake, Kernel, Rows, Source};

/// Elements that one thread takes at a time.
const CHUNK: usize = 64 * 1024;

/// The number of slots a fused loop can carry: 0 to 4.
///
/// ```
/// use dl_optim::{Lanes, Sweep};
/// fn is_supported<const N: usize>() -> usize where Lanes<N>: Sweep<N> { N }
/// assert_eq!(is_supported::<4>(), 4);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lanes<const N: usize>;

/// A loop over a parameter, its gradient and `N` slots. Implemented for [`Lanes`] of 0 to 4.
pub trait Sweep<const N: usize> {
    #[doc(hidden)]
    fn sweep<F: Copy>(
        formula: impl Formula<F, N>,
        theta: &mut [F],
        gradient: &[F],
        slots: [&mut [F]; N],
    );
}

/// What is done to one element. A trait and not a closure, because only a method can be told to be
/// inlined into the loop that is compiled for each instruction set.
#[doc(hidden)]
pub trait Formula<F, const N: usize>: Copy {
    fn apply(&self, theta: F, gradient: F, slots: [F; N]) -> (F, [F; N]);
}

// Each slot is a parameter of the inner function, not an element of an array: only then does the
// compiler know that they do not overlap, and vectorises without a check for every pair.
macro_rules! sweep {
    ($($n:literal: $($slot:ident $value:ident)*;)*) => {$(
        impl Sweep<$n> for Lanes<$n> {
            #[inline(always)]
            fn sweep<F: Copy>(
                formula: impl Formula<F, $n>,
                theta: &mut [F],
                gradient: &[F],
                [$($slot),*]: [&mut [F]; $n],
            ) {
                #[inline(always)]
                fn lanes<F: Copy>(
                    formula: impl Formula<F, $n>,
                    theta: &mut [F],
                    gradient: &[F],
                    $($slot: &mut [F],)*
                ) {
                    let len = theta.len();
                    let gradient = &gradient[..len];
                    $(let $slot = &mut $slot[..len];)*
                    for i in 0..len {
                        let (next, [$($value),*]) = formula.apply(theta[i], gradient[i], [$($slot[i]),*]);
                        theta[i] = next;
                        $($slot[i] = $value;)*
                    }
                }
                lanes(formula, theta, gradient, $($slot),*)
            }
        }
    )*};
}
sweep! {
    0: ;
    1: a x;
    2: a x b y;
    3: a x b y c z;
    4: a x b y c z d w;
}

/// A part of a parameter and its slots, from element number `offset` on.
pub(super) struct Span<'a, F, const N: usize> {
    pub(super) theta: &'a mut [F],
    pub(super) offset: usize,
    pub(super) slots: [&'a mut [F]; N],
}

impl<'a, F, const N: usize> Span<'a, F, N> {
    fn split_at(self, at: usize) -> (Self, Self) {
        let (theta, theta_rest) = self.theta.split_at_mut(at);
        let mut rests: [&'a mut [F]; N] = std::array::from_fn(|_| Default::default());
        let mut rest = rests.iter_mut();
        let slots = self.slots.map(|slot| {
            let (slot, slot_rest) = slot.split_at_mut(at);
            if let Some(place) = rest.next() {
                *place = slot_rest;
            }
            slot
        });
        let right = Self {
            theta: theta_rest,
            offset: self.offset + at,
            slots: rests,
        };
        (
            Self {
                theta,
                offset: self.offset,
                slots,
            },
            right,
        )
    }
}

/// Where to cut `len` elements in two: at a chunk, or nowhere if they are one thread's work.
pub(crate) fn split(len: usize) -> Option<usize> {
    let chunks = len.div_ceil(CHUNK);
    (chunks > 1).then_some(chunks / 2 * CHUNK)
}

/// The same, but between two rows where they have to stay whole.
fn split_rows(len: usize, rows: Rows) -> Option<usize> {
    let at = split(len)?;
    match rows {
        Rows::All => Some(at),
        Rows::Touched(width) => Some(at.next_multiple_of(width.max(1))).filter(|at| *at < len),
    }
}

/// Updates a span, in halves on two threads for as long as there is enough to do.
pub(super) fn run<F: Element, const N: usize, K: Kernel<N>>(
    span: Span<'_, F, N>,
    source: &Source<'_, F>,
    intake: Intake,
    rows: Rows,
    kernel: &K,
) where
    Lanes<N>: Sweep<N>,
{
    let Some(at) = split_rows(span.theta.len(), rows) else {
        return Arch::new().dispatch(Piece {
            span,
            source,
            intake,
            rows,
            kernel,
        });
    };
    let (left, right) = span.split_at(at);
    rayon::join(
        || run(left, source, intake, rows, kernel),
        || run(right, source, intake, rows, kernel),
    );
}

/// What one thread does at a time, compiled once per instruction set.
struct Piece<'a, F, const N: usize, K> {
    span: Span<'a, F, N>,
    source: &'a Source<'a, F>,
    intake: Intake,
    rows: Rows,
    kernel: &'a K,
}

impl<F: Element, const N: usize, K: Kernel<N>> WithSimd for Piece<'_, F, N, K>
where
    Lanes<N>: Sweep<N>,
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Span {
            theta,
            offset,
            mut slots,
        } = self.span;
        let formula = Taken::new(self.intake, *self.kernel);
        if let Some(all) = self.source.contiguous() {
            let gradient = &all[offset..offset + theta.len()];
            let Rows::Touched(width) = self.rows else {
                return Lanes::<N>::sweep(formula, theta, gradient, slots);
            };
            for start in (0..theta.len()).step_by(width.max(1)) {
                let row = start..theta.len().min(start + width);
                if is_touched(&gradient[row.clone()]) {
                    let slots = slots.each_mut().map(|slot| &mut slot[row.clone()]);
                    Lanes::<N>::sweep(formula, &mut theta[row.clone()], &gradient[row], slots);
                }
            }
            return;
        }
        let mut buffer = [F::default(); BLOCK];
        let mut done = 0;
        while done < theta.len() {
            let rest = offset + done..offset + theta.len();
            let gradient = self.source.block(rest, &mut buffer);
            let at = done..done + gradient.len();
            let slots = slots.each_mut().map(|slot| &mut slot[at.clone()]);
            Lanes::<N>::sweep(formula, &mut theta[at.clone()], gradient, slots);
            done = at.end;
        }
    }
}

/// Whether a row has anything but zeros; read in blocks, so that the loop can use vectors.
#[inline(always)]
fn is_touched<F: Element>(row: &[F]) -> bool {
    let zero = F::default();
    let any = |block: &[F]| block.iter().fold(false, |any, g| any | (*g != zero));
    row.chunks(64).any(any)
}

/// A kernel behind the intake. Held by value, so that the compiler sees that no store changes it.
#[derive(Clone, Copy)]
pub(super) struct Taken<F, K> {
    scale: F,
    limit: F,
    lowest: F,
    pub(super) kernel: K,
}

impl<F: Element, K> Taken<F, K> {
    #[inline(always)]
    pub(super) fn new(intake: Intake, kernel: K) -> Self {
        let (scale, limit) = (F::round(intake.scale), F::round(intake.limit));
        Self {
            scale,
            limit,
            lowest: F::default() - limit,
            kernel,
        }
    }

    // Not `clamp`: a NaN has to come through.
    #[inline(always)]
    pub(super) fn gradient(&self, g: F) -> F {
        let g = g * self.scale;
        let g = if g > self.limit { self.limit } else { g };
        if g < self.lowest { self.lowest } else { g }
    }
}

impl<F: Element, const N: usize, K: Kernel<N>> Formula<F, N> for Taken<F, K> {
    #[inline(always)]
    fn apply(&self, theta: F, g: F, slots: [F; N]) -> (F, [F; N]) {
        self.kernel.apply(theta, self.gradient(g), slots)
    }
}

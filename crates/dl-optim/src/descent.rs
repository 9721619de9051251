//! Updates that are a step away from the parameter, and the caution that masks such a step.

use candle_core::{Result, Tensor};

use crate::sweep::{Gauge, Intake, can_sweep, combine, composed_square_sums, square_sums};
use crate::{Kernel, Path, Real};

/// The formula of a step, of a rule that keeps a share of the parameter and goes on from there.
///
/// ```text
/// g ← g + l2 · θ
/// θ ← kept · θ − step(θ, g, slots)
/// ```
///
/// What a rule hands to [`Update::descend`](crate::Update::descend) in this form,
/// [`Cautious`](crate::Cautious) can mask. As with [`Kernel`], `step` must be `#[inline(always)]`.
///
/// ```
/// use dl_optim::{Descent, Real};
/// #[derive(Clone, Copy)]
/// struct HeavyBall { lr: f64, momentum: f64 }
/// impl Descent<1> for HeavyBall {
///     #[inline(always)]
///     fn step<R: Real>(&self, _: &R, g: R, [v]: [R; 1]) -> (R, [R; 1]) {
///         let v = v.scale(self.momentum) + g;
///         (v.clone().scale(self.lr), [v])
///     }
/// }
/// let (step, [v]) = HeavyBall { lr: 0.5, momentum: 0.5 }.step(&1.0, 2.0, [4.0]);
/// assert_eq!((step, v), (2.0, 4.0));
/// ```
pub trait Descent<const N: usize>: Copy + Sync {
    /// What is subtracted, and the new slots, from the old parameter, the gradient with its L2 decay
    /// and the old slots.
    fn step<R: Real>(&self, theta: &R, g: R, slots: [R; N]) -> (R, [R; N]);
}

/// What weight decay does in one step.
///
/// ```
/// use dl_optim::Decay;
/// assert_eq!(Decay::decoupled(0.1, 0.5).kept, 0.95);
/// assert_eq!(Decay::l2(0.5), Decay { l2: 0.5, ..Decay::NONE });
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// What the parameter is multiplied by.
    pub kept: f64,
    /// The share of the parameter that is added to the gradient.
    pub l2: f64,
}

impl Decay {
    /// None.
    pub const NONE: Self = Self { kept: 1.0, l2: 0.0 };

    /// λθ is added to the gradient.
    pub fn l2(amount: f64) -> Self {
        Self {
            l2: amount,
            ..Self::NONE
        }
    }

    /// θ is multiplied by 1 − ηλ.
    pub fn decoupled(lr: f64, amount: f64) -> Self {
        Self {
            kept: 1.0 - lr * amount,
            ..Self::NONE
        }
    }
}

/// A step and the decay before it.
#[derive(Clone, Copy)]
pub(crate) struct Whole<D> {
    pub(crate) rule: D,
    pub(crate) decay: Decay,
}

impl<D> Whole<D> {
    /// The gradient with its L2 decay, the step and the new slots.
    #[inline(always)]
    fn step<const N: usize, R: Real>(&self, theta: &R, g: R, slots: [R; N]) -> (R, R, [R; N])
    where
        D: Descent<N>,
    {
        let g = g.add_scaled(theta, self.decay.l2);
        let (step, slots) = self.rule.step(theta, g.clone(), slots);
        (g, step, slots)
    }

    #[inline(always)]
    fn apart<R: Real>(&self, theta: R, step: R) -> R {
        match self.decay.kept == 1.0 {
            true => theta - step,
            false => theta.scale(self.decay.kept) - step,
        }
    }
}

impl<const N: usize, D: Descent<N>> Kernel<N> for Whole<D> {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; N]) -> (R, [R; N]) {
        let (_, step, slots) = self.step(&theta, g, slots);
        (self.apart(theta, step), slots)
    }
}

/// The elements of the step that go down along the gradient, all the longer for the others.
#[derive(Clone, Copy)]
pub(crate) struct Masked<D> {
    pub(crate) whole: Whole<D>,
    pub(crate) scale: f64,
}

impl<const N: usize, D: Descent<N>> Kernel<N> for Masked<D> {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; N]) -> (R, [R; N]) {
        let (g, step, slots) = self.whole.step(&theta, g, slots);
        (self.whole.apart(theta, masked(step, g, self.scale)), slots)
    }
}

/// How many elements of the step go down along the gradient, as a sum of squares.
impl<const N: usize, D: Descent<N>> Gauge<N> for Whole<D> {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, slots: [R; N]) -> [R; 2] {
        let (g, step, _) = self.step(&theta, g, slots);
        agreement(step, g)
    }
}

// The sign of the gradient, not itself: a product of two small numbers may be 0.
#[inline(always)]
fn agreement<R: Real>(step: R, g: R) -> [R; 2] {
    let (one, none) = (step.fill(1.0), step.fill(0.0));
    [(step * g.sign()).if_positive(one, none.clone()), none]
}

#[inline(always)]
fn masked<R: Real>(step: R, g: R, scale: f64) -> R {
    // Not a plain 0: what is not a number has to come through.
    let (longer, none) = (step.clone().scale(scale), step.clone().scale(0.0));
    (step * g.sign()).if_positive(longer, none)
}

/// How much longer the elements that are left become: d / (n + 1), where n of d are.
pub(crate) fn caution(count: usize, left: f64) -> f64 {
    count as f64 / (left + 1.0)
}

/// The direction of a step that is already there, masked.
pub(crate) fn cautious(direction: &Tensor, g: &Tensor, path: Path) -> Result<Tensor> {
    let [left, _] = match path == Path::Fused && can_sweep(direction) {
        true => square_sums::<0, _>(direction, g, &[], Intake::UNCHANGED, &Direction(1.0))?,
        false => composed_square_sums(direction.clone(), g.clone(), [], &Direction(1.0))?,
    };
    let scale = caution(direction.elem_count(), left);
    combine(direction.copy()?, g, path, &Direction(scale))
}

/// A direction in the place of a parameter, and by how much its elements become longer.
#[derive(Clone, Copy)]
struct Direction(f64);

impl Gauge<0> for Direction {
    #[inline(always)]
    fn apply<R: Real>(&self, direction: R, g: R, _: [R; 0]) -> [R; 2] {
        agreement(direction, g)
    }
}

impl Kernel<0> for Direction {
    #[inline(always)]
    fn apply<R: Real>(&self, direction: R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        (masked(direction, g, self.0), [])
    }
}

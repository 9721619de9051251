//! A warm-up in front of any schedule.

use super::{Linear, Schedule};

/// The rate rises in a straight line to the base rate, then another schedule begins at its step 0.
///
/// As PyTorch's `SequentialLR` of a `LinearLR` and that schedule.
///
/// ```
/// use dl_optim::{Constant, Schedule, Warmup};
/// let schedule = Warmup::new(4, Constant);
/// assert_eq!((schedule.at(0), schedule.at(1), schedule.at(4)), (0.0, 0.25, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup<S> {
    /// How many steps the rise takes.
    pub steps: usize,
    /// The factor at step 0.
    pub start_factor: f64,
    /// What comes after.
    pub then: S,
}

impl<S: Schedule> Warmup<S> {
    /// A rise from 0.
    pub fn new(steps: usize, then: S) -> Self {
        Self {
            steps,
            start_factor: 0.0,
            then,
        }
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn at(&self, step: usize) -> f64 {
        if step >= self.steps {
            return self.then.at(step - self.steps);
        }
        let (start_factor, total_iters) = (self.start_factor, self.steps);
        Linear {
            start_factor,
            end_factor: 1.0,
            total_iters,
        }
        .at(step)
    }
}

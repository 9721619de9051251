//! Any function.

use std::fmt;

use super::Schedule;

/// Any function of the step; PyTorch's `LambdaLR`.
///
/// ```
/// use dl_optim::{Lambda, Schedule};
/// assert_eq!(Lambda(|step| 1.0 / (1 + step) as f64).at(3), 0.25);
/// ```
#[derive(Clone, Copy)]
pub struct Lambda<F>(pub F);

impl<F> fmt::Debug for Lambda<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lambda")
    }
}

impl<F: Fn(usize) -> f64 + Send + Sync> Schedule for Lambda<F> {
    fn at(&self, step: usize) -> f64 {
        (self.0)(step)
    }
}

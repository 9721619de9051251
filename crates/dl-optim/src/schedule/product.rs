//! Several schedules at once.

use super::Schedule;

/// Several schedules at once, multiplied; PyTorch's `ChainedScheduler`.
///
/// ```
/// use dl_optim::{Exponential, Product, Schedule, Step};
/// let halves = Box::new(Exponential { gamma: 0.5 });
/// let tenths = Box::new(Step { step_size: 2, gamma: 0.1 });
/// assert!((Product(vec![halves, tenths]).at(2) - 0.025).abs() < 1e-15);
/// ```
#[derive(Debug)]
pub struct Product(pub Vec<Box<dyn Schedule>>);

impl Schedule for Product {
    fn at(&self, step: usize) -> f64 {
        self.0.iter().map(|part| part.at(step)).product()
    }
}

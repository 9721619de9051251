//! One schedule after the other.

use super::Schedule;
use crate::{Error, Result};

/// One schedule after the other, each from its step 0; PyTorch's `SequentialLR`.
///
/// ```
/// use dl_optim::{Constant, Exponential, Schedule, Sequence};
/// let parts: Vec<Box<dyn Schedule>> = vec![Box::new(Constant), Box::new(Exponential { gamma: 0.5 })];
/// let schedule = Sequence::new(parts, vec![10])?;
/// assert_eq!((schedule.at(9), schedule.at(10), schedule.at(11)), (1.0, 1.0, 0.5));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Sequence {
    parts: Vec<Box<dyn Schedule>>,
    milestones: Vec<usize>,
}

impl Sequence {
    /// The parts, and the steps at which all but the first begin.
    ///
    /// Fails unless there is one milestone less than parts, in increasing order.
    pub fn new(parts: Vec<Box<dyn Schedule>>, milestones: Vec<usize>) -> Result<Self> {
        let increasing = milestones.windows(2).all(|pair| pair[0] < pair[1]);
        if milestones.len() + 1 != parts.len() || !increasing {
            return Err(Error::Milestones {
                parts: parts.len(),
                milestones,
            });
        }
        Ok(Self { parts, milestones })
    }
}

impl Schedule for Sequence {
    fn at(&self, step: usize) -> f64 {
        let part = self
            .milestones
            .partition_point(|&milestone| milestone <= step);
        let begin = if part == 0 {
            0
        } else {
            self.milestones[part - 1]
        };
        self.parts[part].at(step - begin)
    }
}

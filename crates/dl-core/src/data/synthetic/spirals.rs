//! Arms of a spiral.

use super::plane::{Plane, polar};
use crate::data::{DataError, TensorDataset};

/// Points on the arms of a spiral, one arm a class: no line parts them. `f32 (n, 2)`, `u32 (n,)`.
///
/// ```text
/// x = t (cos θ, sin θ) + noise · ε      θ = 2π (turns · t + class / classes), t from 0 to 1
/// ```
///
/// Items take their classes in turn. After Lang, Witbrock, "Learning to tell two spirals apart", 1988.
///
/// ```
/// use dl_core::data::{Dataset, Spirals};
/// let data = Spirals { noise: 0., ..Spirals::default() }.dataset()?;
/// assert_eq!(data.len(), 300);
/// let (point, class) = data.get(299)?;
/// assert_eq!(class.to_scalar::<u32>()?, 2);
/// assert!((point.sqr()?.sum_all()?.to_scalar::<f32>()? - 1.).abs() < 1e-6);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spirals {
    /// Points in all, `> 0`. Default `300`.
    pub samples: usize,
    /// Arms, `> 0`. Default `3`.
    pub classes: usize,
    /// Turns of an arm. Default `0.75`.
    pub turns: f64,
    /// Deviation of the noise of each coordinate, `≥ 0`. Default `0.03`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for Spirals {
    fn default() -> Self {
        Self {
            samples: 300,
            classes: 3,
            turns: 0.75,
            noise: 0.03,
            seed: 0,
        }
    }
}

impl Spirals {
    /// Makes the points.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples,
            classes,
            noise,
            seed,
            ..
        } = self;
        let plane = Plane {
            name: "spirals",
            samples,
            classes,
            noise,
            seed,
        };
        plane.dataset(|class, t| {
            let turns = self.turns * t + class as f64 / classes as f64;
            polar(turns, t)
        })
    }
}

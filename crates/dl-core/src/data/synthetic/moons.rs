//! Two half circles that interleave.

use super::plane::{Plane, polar};
use crate::data::{DataError, TensorDataset};

/// Points on two half circles, each reaching into the other: scikit-learn's `make_moons`.
/// `f32 (n, 2)`, `u32 (n,)`.
///
/// ```text
/// class 0: (cos πt, sin πt)      class 1: (1 − cos πt, ½ − sin πt)      plus noise · ε, t from 0 to 1
/// ```
///
/// ```
/// use dl_core::data::{Dataset, Moons};
/// let data = Moons { noise: 0., ..Moons::default() }.dataset()?;
/// assert_eq!(data.get(0)?.0.to_vec1::<f32>()?, [1., 0.]);
/// assert_eq!(data.get(1)?.0.to_vec1::<f32>()?, [0., 0.5]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moons {
    /// Points in all, `> 0`. Default `100`.
    pub samples: usize,
    /// Deviation of the noise of each coordinate, `≥ 0`. Default `0.1`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for Moons {
    fn default() -> Self {
        Self {
            samples: 100,
            noise: 0.1,
            seed: 0,
        }
    }
}

impl Moons {
    /// Makes the points.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples,
            noise,
            seed,
        } = self;
        let plane = Plane {
            name: "moons",
            samples,
            classes: 2,
            noise,
            seed,
        };
        plane.dataset(|class, t| match (class, polar(t / 2.0, 1.0)) {
            (0, upper) => upper,
            (_, [x, y]) => [1.0 - x, 0.5 - y],
        })
    }
}

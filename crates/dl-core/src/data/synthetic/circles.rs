//! A circle within a circle.

use super::plane::{Plane, polar};
use crate::data::{DataError, TensorDataset};

/// Points on two circles about the origin: scikit-learn's `make_circles`. `f32 (n, 2)`, `u32 (n,)`.
///
/// ```text
/// x = r (cos 2πt, sin 2πt) + noise · ε      r = 1 of class 0, `factor` of class 1
/// ```
///
/// ```
/// use dl_core::data::{Circles, Dataset};
/// let data = Circles { noise: 0., ..Circles::default() }.dataset()?;
/// assert_eq!(data.get(0)?.0.to_vec1::<f32>()?, [1., 0.]);
/// assert_eq!(data.get(1)?.0.to_vec1::<f32>()?, [0.5, 0.]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circles {
    /// Points in all, `> 0`. Default `100`.
    pub samples: usize,
    /// Radius of the inner circle. Default `0.5`.
    pub factor: f64,
    /// Deviation of the noise of each coordinate, `≥ 0`. Default `0.05`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for Circles {
    fn default() -> Self {
        Self {
            samples: 100,
            factor: 0.5,
            noise: 0.05,
            seed: 0,
        }
    }
}

impl Circles {
    /// Makes the points.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples,
            noise,
            seed,
            ..
        } = self;
        let plane = Plane {
            name: "circles",
            samples,
            classes: 2,
            noise,
            seed,
        };
        let radius = [1.0, self.factor];
        plane.dataset(|class, t| polar(t, radius[class]))
    }
}

//! Clouds of points.

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};

use super::plane::check_noise;
use crate::data::option::above_zero;
use crate::data::{DataError, TensorDataset};

/// Normal clouds about random centres, one a class: scikit-learn's `make_blobs`.
/// `f32 (n, features)`, `u32 (n,)`.
///
/// ```text
/// x = c_class + noise · ε      c ~ U(−10, 10)
/// ```
///
/// Items take their classes in turn; with the same seed and another number of samples the centres are
/// the same.
///
/// ```
/// use dl_core::data::{Blobs, Dataset};
/// let data = Blobs { noise: 0., ..Blobs::default() }.dataset()?;
/// assert_eq!(data.get(4)?.1.to_scalar::<u32>()?, 1);
/// assert_eq!(data.get(4)?.0.to_vec1::<f32>()?, data.get(1)?.0.to_vec1::<f32>()?);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blobs {
    /// Points in all, `> 0`. Default `100`.
    pub samples: usize,
    /// Clouds, `> 0`. Default `3`.
    pub classes: usize,
    /// Numbers of a point, `> 0`. Default `2`.
    pub features: usize,
    /// Deviation of each number within a cloud, `≥ 0`. Default `1`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self {
            samples: 100,
            classes: 3,
            features: 2,
            noise: 1.0,
            seed: 0,
        }
    }
}

impl Blobs {
    /// Makes the points.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples,
            classes,
            features,
            ..
        } = self;
        above_zero("samples", samples)?;
        above_zero("classes", classes)?;
        above_zero("features", features)?;
        check_noise(self.noise)?;
        let centres = Rng::named(self.seed, Purpose::Other(0), "blobs");
        let mut values = vec![0f32; samples * features];
        Rng::named(self.seed, Purpose::Noise, "blobs").fill_normal(&mut values);
        for (i, value) in values.iter_mut().enumerate() {
            let (class, feature) = (i / features % classes, i % features);
            let centre = centres.uniform((class * features + feature) as u64);
            *value = (20.0 * f64::from(centre) - 10.0 + self.noise * f64::from(*value)) as f32;
        }
        let labels: Vec<u32> = (0..samples).map(|i| (i % classes) as u32).collect();
        TensorDataset::new(
            Tensor::from_vec(values, (samples, features), &Device::Cpu)?,
            Tensor::from_vec(labels, samples, &Device::Cpu)?,
        )
    }
}

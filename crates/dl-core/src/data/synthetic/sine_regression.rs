//! A sine with noise about it.

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};

use super::plane::check_noise;
use crate::data::option::above_zero;
use crate::data::{DataError, TensorDataset};

/// One period and more of a sine at random places: `f32 (n, 1)`, `f32 (n, 1)`.
///
/// ```text
/// y = sin x + noise · ε      x ~ U(−limit, limit)
/// ```
///
/// ```
/// use dl_core::data::{Dataset, SineRegression};
/// let data = SineRegression { noise: 0., ..SineRegression::default() }.dataset()?;
/// let (x, y) = data.get(17)?;
/// assert!((y - x.sin()?)?.abs()?.to_vec1::<f32>()?[0] < 1e-6);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SineRegression {
    /// Samples, `> 0`. Default `100`.
    pub samples: usize,
    /// The largest input, radians, finite. Default `2π`.
    pub limit: f64,
    /// Deviation of the noise of a target, `≥ 0`. Default `0.1`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for SineRegression {
    fn default() -> Self {
        Self {
            samples: 100,
            limit: std::f64::consts::TAU,
            noise: 0.1,
            seed: 0,
        }
    }
}

impl SineRegression {
    /// Makes the samples.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let n = self.samples;
        above_zero("samples", n)?;
        check_noise(self.noise)?;
        if !self.limit.is_finite() {
            return Err(DataError::Option {
                option: "limit",
                wanted: "finite",
                came: self.limit.to_string(),
            });
        }
        let places = Rng::named(self.seed, Purpose::Other(0), "sine");
        let noise = Rng::named(self.seed, Purpose::Noise, "sine");
        let x =
            (0..n as u64).map(|i| ((2.0 * f64::from(places.uniform(i)) - 1.0) * self.limit) as f32);
        let x: Vec<f32> = x.collect();
        let target = |(i, x): (u64, &f32)| {
            (f64::from(*x).sin() + self.noise * f64::from(noise.normal(i))) as f32
        };
        let y: Vec<f32> = (0..).zip(&x).map(target).collect();
        TensorDataset::new(
            Tensor::from_vec(x, (n, 1), &Device::Cpu)?,
            Tensor::from_vec(y, (n, 1), &Device::Cpu)?,
        )
    }
}

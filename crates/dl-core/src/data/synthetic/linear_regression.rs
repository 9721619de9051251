//! A line with noise about it.

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};

use super::plane::check_noise;
use crate::data::option::above_zero;
use crate::data::{DataError, TensorDataset};

/// Targets that are linear in normal inputs: `f32 (n, features)`, `f32 (n, 1)`.
///
/// ```text
/// y = w·x + b + noise · ε      x, w, b ~ N(0, 1)
/// ```
///
/// ```
/// use dl_core::data::{Dataset, LinearRegression};
/// let task = LinearRegression { noise: 0., ..LinearRegression::default() };
/// let (weight, bias) = task.coefficients();
/// let (x, y) = task.dataset()?.get(7)?;
/// let x = x.to_vec1::<f32>()?;
/// let line: f32 = x.iter().zip(&weight).map(|(x, w)| x * w).sum::<f32>() + bias;
/// assert!((y.to_vec1::<f32>()?[0] - line).abs() < 1e-5);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearRegression {
    /// Samples, `> 0`. Default `100`.
    pub samples: usize,
    /// Numbers of an input, `> 0`. Default `4`.
    pub features: usize,
    /// Deviation of the noise of a target, `≥ 0`. Default `0.1`.
    pub noise: f64,
    /// Default `0`.
    pub seed: u64,
}

impl Default for LinearRegression {
    fn default() -> Self {
        Self {
            samples: 100,
            features: 4,
            noise: 0.1,
            seed: 0,
        }
    }
}

impl LinearRegression {
    /// The weight of each feature, and the bias: what a model should find.
    pub fn coefficients(&self) -> (Vec<f32>, f32) {
        let rng = self.rng("coefficients");
        let weight = (1..=self.features as u64).map(|i| rng.normal(i));
        (weight.collect(), rng.normal(0))
    }

    /// Makes the samples.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples, features, ..
        } = self;
        above_zero("samples", samples)?;
        above_zero("features", features)?;
        check_noise(self.noise)?;
        let mut x = vec![0f32; samples * features];
        self.rng("inputs").fill_normal(&mut x);
        let ((weight, bias), noise) = (self.coefficients(), self.rng("noise"));
        let target = |(i, x): (u64, &[f32])| {
            let terms = x.iter().zip(&weight);
            let line: f64 = terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            (line + f64::from(bias) + self.noise * f64::from(noise.normal(i))) as f32
        };
        let y: Vec<f32> = (0..).zip(x.chunks_exact(features)).map(target).collect();
        TensorDataset::new(
            Tensor::from_vec(x, (samples, features), &Device::Cpu)?,
            Tensor::from_vec(y, (samples, 1), &Device::Cpu)?,
        )
    }

    fn rng(&self, what: &str) -> Rng {
        Rng::named(self.seed, Purpose::Noise, &format!("linear {what}"))
    }
}

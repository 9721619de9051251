//! Additive noise.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use dl_autograd::{Purpose, next_rng};

use crate::summary;

/// Adds normal noise of a standard deviation in training; Keras' `GaussianNoise`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::layers::GaussianNoise;
/// let x = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// assert_eq!(GaussianNoise::new(0.1).forward_t(&x, false)?.to_vec1::<f32>()?, [1f32; 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNoise {
    std: f64,
}

impl GaussianNoise {
    /// `std ≥ 0`, in the unit of the input; forward refuses another one.
    pub fn new(std: f64) -> Self {
        Self { std }
    }
}

impl ModuleT for GaussianNoise {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = match train {
            true => dl_autograd::gaussian_noise(x, self.std, next_rng(Purpose::Noise))?,
            false => x.clone(),
        };
        summary::record(None, "GaussianNoise", &y, || 0);
        Ok(y)
    }
}

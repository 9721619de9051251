//! Pooling layers of given windows.

use candle_core::{Result, Tensor};
use candle_nn::Module;
use dl_autograd::{AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig};

use crate::summary;

/// [`dl_autograd::max_pool2d`] as a layer: `(n, c, h, w)` → `(n, c, h', w')`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::MaxPool2d;
/// let x = Tensor::new(&[[[[1f32, 2.], [3., 6.]]]], &Device::Cpu)?;
/// let y = MaxPool2d::new(Default::default()).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPool2d {
    config: MaxPool2dConfig,
}

/// [`dl_autograd::max_pool1d`] as a layer: `(n, c, l)` → `(n, c, l')`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::MaxPool1d;
/// let x = Tensor::new(&[[[1f32, 2., 3.]]], &Device::Cpu)?;
/// let y = MaxPool1d::new(Default::default()).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPool1d {
    config: MaxPool1dConfig,
}

/// [`dl_autograd::avg_pool2d`] as a layer: `(n, c, h, w)` → `(n, c, h', w')`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AvgPool2d;
/// let x = Tensor::new(&[[[[1f32, 2.], [3., 6.]]]], &Device::Cpu)?;
/// let y = AvgPool2d::new(Default::default()).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AvgPool2d {
    config: AvgPool2dConfig,
}

/// [`dl_autograd::avg_pool1d`] as a layer: `(n, c, l)` → `(n, c, l')`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AvgPool1d;
/// let x = Tensor::new(&[[[1f32, 2., 3.]]], &Device::Cpu)?;
/// let y = AvgPool1d::new(Default::default()).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AvgPool1d {
    config: AvgPool1dConfig,
}

impl MaxPool2d {
    /// Windows that do not fit are an error of forward.
    pub fn new(config: MaxPool2dConfig) -> Self {
        Self { config }
    }
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::max_pool2d(x, &self.config)?;
        summary::record(None, "MaxPool2d", &y, || 0);
        Ok(y)
    }
}

impl MaxPool1d {
    /// Windows that do not fit are an error of forward.
    pub fn new(config: MaxPool1dConfig) -> Self {
        Self { config }
    }
}

impl Module for MaxPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::max_pool1d(x, &self.config)?;
        summary::record(None, "MaxPool1d", &y, || 0);
        Ok(y)
    }
}

impl AvgPool2d {
    /// Windows that do not fit are an error of forward.
    pub fn new(config: AvgPool2dConfig) -> Self {
        Self { config }
    }
}

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::avg_pool2d(x, &self.config)?;
        summary::record(None, "AvgPool2d", &y, || 0);
        Ok(y)
    }
}

impl AvgPool1d {
    /// Windows that do not fit are an error of forward.
    pub fn new(config: AvgPool1dConfig) -> Self {
        Self { config }
    }
}

impl Module for AvgPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::avg_pool1d(x, &self.config)?;
        summary::record(None, "AvgPool1d", &y, || 0);
        Ok(y)
    }
}

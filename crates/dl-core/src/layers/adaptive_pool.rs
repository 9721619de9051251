//! Pooling layers to a given size, whatever comes in.

use candle_core::{Result, Tensor};
use candle_nn::Module;

use crate::summary;

/// [`dl_autograd::adaptive_avg_pool2d`] as a layer: `(n, c, h, w)` → `(n, c, rows, columns)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AdaptiveAvgPool2d;
/// let x = Tensor::new(&[[[[1f32, 2., 6.]]]], &Device::Cpu)?;
/// let y = AdaptiveAvgPool2d::new((1, 2)).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d {
    size: (usize, usize),
}

impl AdaptiveAvgPool2d {
    /// To (rows, columns), each `≥ 1`.
    pub fn new(size: (usize, usize)) -> Self {
        Self { size }
    }
}

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::adaptive_avg_pool2d(x, self.size)?;
        summary::record(None, "AdaptiveAvgPool2d", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::adaptive_max_pool2d`] as a layer: `(n, c, h, w)` → `(n, c, rows, columns)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AdaptiveMaxPool2d;
/// let x = Tensor::new(&[[[[1f32, 2., 6.]]]], &Device::Cpu)?;
/// let y = AdaptiveMaxPool2d::new((1, 2)).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool2d {
    size: (usize, usize),
}

impl AdaptiveMaxPool2d {
    /// To (rows, columns), each `≥ 1`.
    pub fn new(size: (usize, usize)) -> Self {
        Self { size }
    }
}

impl Module for AdaptiveMaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::adaptive_max_pool2d(x, self.size)?;
        summary::record(None, "AdaptiveMaxPool2d", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::adaptive_avg_pool1d`] as a layer: `(n, c, l)` → `(n, c, size)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AdaptiveAvgPool1d;
/// let x = Tensor::new(&[[[1f32, 2., 6.]]], &Device::Cpu)?;
/// let y = AdaptiveAvgPool1d::new(2).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool1d {
    size: usize,
}

impl AdaptiveAvgPool1d {
    /// To `size ≥ 1` elements.
    pub fn new(size: usize) -> Self {
        Self { size }
    }
}

impl Module for AdaptiveAvgPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::adaptive_avg_pool1d(x, self.size)?;
        summary::record(None, "AdaptiveAvgPool1d", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::adaptive_max_pool1d`] as a layer: `(n, c, l)` → `(n, c, size)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::AdaptiveMaxPool1d;
/// let x = Tensor::new(&[[[1f32, 2., 6.]]], &Device::Cpu)?;
/// let y = AdaptiveMaxPool1d::new(2).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool1d {
    size: usize,
}

impl AdaptiveMaxPool1d {
    /// To `size ≥ 1` elements.
    pub fn new(size: usize) -> Self {
        Self { size }
    }
}

impl Module for AdaptiveMaxPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::adaptive_max_pool1d(x, self.size)?;
        summary::record(None, "AdaptiveMaxPool1d", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::global_avg_pool`] as a layer: `(n, c, d…)` → `(n, c)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::GlobalAvgPool;
/// let x = Tensor::new(&[[[1f32, 2., 6.]]], &Device::Cpu)?;
/// assert_eq!(GlobalAvgPool.forward(&x)?.to_vec2::<f32>()?, [[3.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl Module for GlobalAvgPool {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::global_avg_pool(x)?;
        summary::record(None, "GlobalAvgPool", &y, || 0);
        Ok(y)
    }
}

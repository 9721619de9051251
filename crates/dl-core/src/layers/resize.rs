//! Layers that change the size of a signal or an image without parameters.

use candle_core::{Result, Tensor};
use candle_nn::Module;
use dl_autograd::{Interpolation, PadMode};

use crate::summary;

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Size(Vec<usize>),
    Factors(Vec<f64>),
}

/// [`dl_autograd::interpolate`] as a layer, of `(n, c, l)` or `(n, c, h, w)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::{Interpolation, Upsample};
/// let x = Tensor::new(&[[[1f32, 2.]]], &Device::Cpu)?;
/// let y = Upsample::by(&[2.], Interpolation::Nearest).forward(&x)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 1., 2., 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    target: Target,
    mode: Interpolation,
}

impl Upsample {
    /// To a size: one number for signals, (rows, columns) for images.
    pub fn to(size: &[usize], mode: Interpolation) -> Self {
        Self {
            target: Target::Size(size.to_vec()),
            mode,
        }
    }

    /// By factors `> 0`: one for signals, (rows, columns) for images.
    pub fn by(factors: &[f64], mode: Interpolation) -> Self {
        Self {
            target: Target::Factors(factors.to_vec()),
            mode,
        }
    }
}

impl Module for Upsample {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.target {
            Target::Size(size) => dl_autograd::interpolate(x, size, self.mode),
            Target::Factors(factors) => dl_autograd::interpolate_by(x, factors, self.mode),
        }?;
        summary::record(None, "Upsample", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::pixel_shuffle`] as a layer: `(n, c·r², h, w)` → `(n, c, h·r, w·r)`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::PixelShuffle;
/// let x = Tensor::zeros((1, 8, 3, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(PixelShuffle::new(2).forward(&x)?.dims(), [1, 2, 6, 10]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelShuffle {
    factor: usize,
}

impl PixelShuffle {
    /// By a factor `r ≥ 1`.
    pub fn new(factor: usize) -> Self {
        Self { factor }
    }
}

impl Module for PixelShuffle {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::pixel_shuffle(x, self.factor)?;
        summary::record(None, "PixelShuffle", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::pixel_unshuffle`] as a layer: `(n, c, h·r, w·r)` → `(n, c·r², h, w)`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::PixelUnshuffle;
/// let x = Tensor::zeros((1, 2, 6, 10), DType::F32, &Device::Cpu)?;
/// assert_eq!(PixelUnshuffle::new(2).forward(&x)?.dims(), [1, 8, 3, 5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelUnshuffle {
    factor: usize,
}

impl PixelUnshuffle {
    /// By a factor `r ≥ 1`.
    pub fn new(factor: usize) -> Self {
        Self { factor }
    }
}

impl Module for PixelUnshuffle {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::pixel_unshuffle(x, self.factor)?;
        summary::record(None, "PixelUnshuffle", &y, || 0);
        Ok(y)
    }
}

/// [`dl_autograd::pad`] as a layer: PyTorch's `ZeroPad2d`, `ReflectionPad2d` and their kin, by
/// (before, after) of the last dimension, then of the one before it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::{Pad, PadMode};
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let y = Pad::new(&[(1, 2)], PadMode::Replicate).forward(&x)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., 1., 2., 2., 2.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    padding: Vec<(isize, isize)>,
    mode: PadMode,
}

impl Pad {
    /// A padding that the mode cannot fill is an error of forward.
    pub fn new(padding: &[(isize, isize)], mode: PadMode) -> Self {
        Self {
            padding: padding.to_vec(),
            mode,
        }
    }
}

impl Module for Pad {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::pad(x, &self.padding, self.mode)?;
        summary::record(None, "Pad", &y, || 0);
        Ok(y)
    }
}

//! What a convolution sees outside its input.

use candle_core::{Result, Tensor};
use dl_autograd::{PadMode, pad};

/// What stands around the input of a convolution, as PyTorch's `padding_mode`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{Conv1dOptions, Padding1d, PaddingMode, conv1d}};
/// let options = Conv1dOptions {
///     padding: Padding1d::Explicit(1, 1),
///     padding_mode: PaddingMode::Circular,
///     bias: false,
///     ..Default::default()
/// };
/// let params = Params::new(0, &Device::Cpu);
/// let layer = conv1d(1, 1, options, params.vb())?;
/// let x = Tensor::new(&[[[1f32, 2., 3.]]], &Device::Cpu)?;
/// // On a circle the taps see every value once.
/// let (y, w) = (layer.forward(&x)?.sum_all()?, params.get("weight").unwrap().sum_all()?);
/// assert!((y.to_scalar::<f32>()? - 6. * w.to_scalar::<f32>()?).abs() < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The input mirrored at its border, which is not repeated; the padding must be smaller than the
    /// input.
    Reflect,
    /// The border again and again.
    Replicate,
    /// The input again; the padding must not be larger than the input.
    Circular,
}

impl PaddingMode {
    /// The input with what stands around its last dimensions, the last first, or nothing if that is
    /// left to the convolution.
    pub(super) fn pad(self, x: &Tensor, padding: &[(usize, usize)]) -> Result<Option<Tensor>> {
        let mode = match self {
            Self::Zeros => return Ok(None),
            Self::Reflect => PadMode::Reflect,
            Self::Replicate => PadMode::Replicate,
            Self::Circular => PadMode::Circular,
        };
        // Too much for `pad` stays too much: as a negative number it would cut.
        let signed = |size: usize| isize::try_from(size).unwrap_or(isize::MAX);
        let pairs = padding.iter().map(|&(a, b)| (signed(a), signed(b)));
        pad(x, &pairs.collect::<Vec<_>>(), mode).map(Some)
    }
}

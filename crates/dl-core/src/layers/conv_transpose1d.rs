//! One-dimensional transposed convolution.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::ConvTranspose1dConfig;

use super::conv2d::check_groups;
use super::linear::uniform;
use crate::summary;

/// What a transposed convolution of signals does besides its channel counts: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose1dOptions {
    /// Kernel size, `≥ 1`. Default `3`.
    pub kernel: usize,
    /// Step between the places where neighbours of the input land, `≥ 1`. Default `1`.
    pub stride: usize,
    /// Elements cut off (before, after) the result. Default none.
    pub padding: (usize, usize),
    /// Elements added after the result, less than the stride or the dilation. Default `0`.
    pub output_padding: usize,
    /// Distance of the taps, `≥ 1`. Default `1`.
    pub dilation: usize,
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for ConvTranspose1dOptions {
    fn default() -> Self {
        Self {
            kernel: 3,
            stride: 1,
            padding: (0, 0),
            output_padding: 0,
            dilation: 1,
            groups: 1,
            bias: true,
        }
    }
}

/// Transposed convolution `(n, c_in, l)` → `(n, c_out, l')`, with the weights
/// `weight (c_in, c_out / groups, k)` and `bias (c_out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√fan_in`, where `fan_in = c_out / groups · k` is
/// what PyTorch reads from this layout.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{ConvTranspose1dOptions, conv_transpose1d}};
/// let params = Params::new(0, &Device::Cpu);
/// let options = ConvTranspose1dOptions { kernel: 2, stride: 2, ..Default::default() };
/// let layer = conv_transpose1d(3, 8, options, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((2, 3, 7), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 8, 14]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose1d {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvTranspose1dConfig,
}

/// A transposed convolution of signals; an error if the groups do not divide both channel counts.
pub fn conv_transpose1d(
    c_in: usize,
    c_out: usize,
    options: ConvTranspose1dOptions,
    vb: VarBuilder,
) -> Result<ConvTranspose1d> {
    check_groups(c_in, c_out, options.groups)?;
    let shape = (c_in, c_out / options.groups, options.kernel);
    let init = uniform(shape.1 * shape.2);
    let bias = options.bias.then(|| vb.get_with_hints(c_out, "bias", init));
    Ok(ConvTranspose1d {
        name: vb.prefix(),
        weight: vb.get_with_hints(shape, "weight", init)?,
        bias: bias.transpose()?,
        config: ConvTranspose1dConfig {
            stride: options.stride,
            padding: options.padding,
            output_padding: options.output_padding,
            dilation: options.dilation,
            groups: options.groups,
        },
    })
}

impl Module for ConvTranspose1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::conv_transpose1d(x, &self.weight, self.bias.as_ref(), &self.config)?;
        summary::record(Some(&self.name), "ConvTranspose1d", &y, || {
            summary::products(x, &self.weight)
        });
        Ok(y)
    }
}

//! One-dimensional convolution.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{Conv1dConfig, same_padding};

use super::conv2d::check_groups;
use super::linear::uniform;
use super::padding_mode::PaddingMode;
use crate::summary;

/// How much is put around a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding1d {
    /// As many as said, (before, after).
    Explicit(usize, usize),
    /// `⌈length/stride⌉` outputs, the odd zero after: PyTorch's `"same"`, for any stride.
    Same,
}

/// What a convolution of signals does besides its channel counts: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dOptions {
    /// Kernel size, `≥ 1`. Default `3`.
    pub kernel: usize,
    /// Step, `≥ 1`. Default `1`.
    pub stride: usize,
    /// How much is put around the signal. Default none.
    pub padding: Padding1d,
    /// What is put there. Default zeros.
    pub padding_mode: PaddingMode,
    /// Distance of the taps, `≥ 1`. Default `1`.
    pub dilation: usize,
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Self {
            kernel: 3,
            stride: 1,
            padding: Padding1d::Explicit(0, 0),
            padding_mode: PaddingMode::Zeros,
            dilation: 1,
            groups: 1,
            bias: true,
        }
    }
}

/// Convolution `(n, c_in, l)` → `(n, c_out, l')`, with the weights
/// `weight (c_out, c_in / groups, k)` and `bias (c_out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√fan_in`, `fan_in = c_in / groups · k`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{Conv1dOptions, Padding1d, conv1d}};
/// let params = Params::new(0, &Device::Cpu);
/// let options = Conv1dOptions { kernel: 4, padding: Padding1d::Same, ..Default::default() };
/// let layer = conv1d(3, 8, options, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((2, 3, 7), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 8, 7]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv1d {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    options: Conv1dOptions,
}

/// A convolution of signals; an error if `groups` does not divide both channel counts.
pub fn conv1d(c_in: usize, c_out: usize, options: Conv1dOptions, vb: VarBuilder) -> Result<Conv1d> {
    check_groups(c_in, c_out, options.groups)?;
    let shape = (c_out, c_in / options.groups, options.kernel);
    let init = uniform(shape.1 * shape.2);
    let bias = options.bias.then(|| vb.get_with_hints(c_out, "bias", init));
    Ok(Conv1d {
        name: vb.prefix(),
        weight: vb.get_with_hints(shape, "weight", init)?,
        bias: bias.transpose()?,
        options,
    })
}

impl Module for Conv1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (o, (_, _, length)) = (&self.options, x.dims3()?);
        let padding = match o.padding {
            Padding1d::Explicit(before, after) => (before, after),
            Padding1d::Same => same_padding(length, o.kernel, o.stride, o.dilation),
        };
        let padded = o.padding_mode.pad(x, &[padding])?;
        let (x, padding) = match &padded {
            Some(padded) => (padded, (0, 0)),
            None => (x, padding),
        };
        let config = Conv1dConfig {
            stride: o.stride,
            padding,
            dilation: o.dilation,
            groups: o.groups,
        };
        let y = dl_autograd::conv1d(x, &self.weight, self.bias.as_ref(), &config)?;
        summary::record(Some(&self.name), "Conv1d", &y, || {
            summary::products(&y, &self.weight)
        });
        Ok(y)
    }
}

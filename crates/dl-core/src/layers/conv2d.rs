//! Two-dimensional convolution.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{BatchStatistics, Conv2dConfig, Padding2d, Prologue};

use super::linear::uniform;
use super::padding_mode::PaddingMode;
use crate::summary;

/// How much is put around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As many as said.
    Explicit(Padding2d),
    /// TensorFlow's `SAME`: `⌈size/stride⌉` outputs, the odd row and column at the end.
    Same,
}

/// What a convolution does besides its channel counts: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Kernel size in (rows, columns). Default `(3, 3)`.
    pub kernel: (usize, usize),
    /// Step in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub stride: (usize, usize),
    /// How much is put around the image. Default none.
    pub padding: Padding,
    /// What is put there. Default zeros.
    pub padding_mode: PaddingMode,
    /// Distance of the taps in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub dilation: (usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self {
            kernel: (3, 3),
            stride: (1, 1),
            padding: Padding::Explicit(Padding2d::default()),
            padding_mode: PaddingMode::Zeros,
            dilation: (1, 1),
            groups: 1,
            bias: true,
        }
    }
}

/// Convolution `(n, c_in, h, w)` → `(n, c_out, h', w')`, with the weights
/// `weight (c_out, c_in / groups, k_h, k_w)` and `bias (c_out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√fan_in`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{Conv2dOptions, Padding, conv2d}};
/// let params = Params::new(0, &Device::Cpu);
/// let options = Conv2dOptions { stride: (2, 2), padding: Padding::Same, ..Default::default() };
/// let layer = conv2d(3, 8, options, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((1, 3, 7, 7), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 8, 4, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    options: Conv2dOptions,
}

/// A convolution; an error if `groups` does not divide both channel counts.
pub fn conv2d(c_in: usize, c_out: usize, options: Conv2dOptions, vb: VarBuilder) -> Result<Conv2d> {
    let groups = options.groups;
    check_groups(c_in, c_out, groups)?;
    let shape = (c_out, c_in / groups, options.kernel.0, options.kernel.1);
    let init = uniform(shape.1 * shape.2 * shape.3);
    let bias = options.bias.then(|| vb.get_with_hints(c_out, "bias", init));
    Ok(Conv2d {
        name: vb.prefix(),
        weight: vb.get_with_hints(shape, "weight", init)?,
        bias: bias.transpose()?,
        options,
    })
}

pub(super) fn check_groups(c_in: usize, c_out: usize, groups: usize) -> Result<()> {
    if !c_in.is_multiple_of(groups) || !c_out.is_multiple_of(groups) || groups == 0 {
        candle_core::bail!("{groups} groups do not divide {c_in} input and {c_out} output channels")
    }
    Ok(())
}

impl Conv2d {
    fn padding(&self, size: (usize, usize)) -> Padding2d {
        let o = &self.options;
        match o.padding {
            Padding::Explicit(padding) => padding,
            Padding::Same => Padding2d::same(size, o.kernel, o.stride, o.dilation),
        }
    }

    fn config(&self, padding: Padding2d) -> Conv2dConfig {
        Conv2dConfig {
            stride: self.options.stride,
            padding,
            dilation: self.options.dilation,
            groups: self.options.groups,
        }
    }

    fn record(&self, y: &Tensor) {
        let products = || summary::products(y, &self.weight);
        summary::record(Some(&self.name), "Conv2d", y, products);
    }

    /// The layer behind `norm`, in one op, with the statistics of the batch if those were used.
    ///
    /// Nothing if there is something between the two: padding that is not zeros.
    pub(super) fn forward_behind(
        &self,
        norm: &Prologue,
        x: &Tensor,
    ) -> Result<Option<(Tensor, Option<BatchStatistics>)>> {
        if self.options.padding_mode != PaddingMode::Zeros {
            return Ok(None);
        }
        let (_, _, h, w) = x.dims4()?;
        let (bias, config) = (self.bias.as_ref(), self.config(self.padding((h, w))));
        let (y, batch) = dl_autograd::batch_norm_conv2d(x, norm, &self.weight, bias, &config)?;
        self.record(&y);
        Ok(Some((y, batch)))
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let padding = self.padding((h, w));
        let sides = [(padding.left, padding.right), (padding.top, padding.bottom)];
        let padded = self.options.padding_mode.pad(x, &sides)?;
        let (x, padding) = match &padded {
            Some(padded) => (padded, Padding2d::default()),
            None => (x, padding),
        };
        let (bias, config) = (self.bias.as_ref(), self.config(padding));
        let y = dl_autograd::conv2d(x, &self.weight, bias, &config)?;
        self.record(&y);
        Ok(y)
    }
}

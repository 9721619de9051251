//! Two-dimensional transposed convolution.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{ConvTranspose2dConfig, Padding2d};

use super::conv2d::check_groups;
use super::linear::uniform;
use crate::summary;

/// What a transposed convolution does besides its channel counts: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dOptions {
    /// Kernel size in (rows, columns), each `≥ 1`. Default `(3, 3)`.
    pub kernel: (usize, usize),
    /// Step in (rows, columns) between the places where neighbours of the input land, each `≥ 1`.
    /// Default `(1, 1)`.
    pub stride: (usize, usize),
    /// Rows and columns cut off the result. Default none.
    pub padding: Padding2d,
    /// Rows and columns added at the end of the result, each less than the stride or the dilation.
    /// Default `(0, 0)`.
    pub output_padding: (usize, usize),
    /// Distance of the taps in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub dilation: (usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for ConvTranspose2dOptions {
    fn default() -> Self {
        Self {
            kernel: (3, 3),
            stride: (1, 1),
            padding: Padding2d::default(),
            output_padding: (0, 0),
            dilation: (1, 1),
            groups: 1,
            bias: true,
        }
    }
}

/// Transposed convolution `(n, c_in, h, w)` → `(n, c_out, h', w')`, with the weights
/// `weight (c_in, c_out / groups, k_h, k_w)` and `bias (c_out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√fan_in`, where
/// `fan_in = c_out / groups · k_h · k_w` is what PyTorch reads from this layout.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{ConvTranspose2dOptions, conv_transpose2d}};
/// let params = Params::new(0, &Device::Cpu);
/// let options = ConvTranspose2dOptions {
///     kernel: (4, 4),
///     stride: (2, 2),
///     padding: 1.into(),
///     ..Default::default()
/// };
/// let layer = conv_transpose2d(3, 8, options, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((2, 3, 7, 5), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 8, 14, 10]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvTranspose2dConfig,
}

/// A transposed convolution; an error if the groups do not divide both channel counts.
pub fn conv_transpose2d(
    c_in: usize,
    c_out: usize,
    options: ConvTranspose2dOptions,
    vb: VarBuilder,
) -> Result<ConvTranspose2d> {
    let (kernel, groups) = (options.kernel, options.groups);
    check_groups(c_in, c_out, groups)?;
    let shape = (c_in, c_out / groups, kernel.0, kernel.1);
    let init = uniform(shape.1 * shape.2 * shape.3);
    let bias = options.bias.then(|| vb.get_with_hints(c_out, "bias", init));
    Ok(ConvTranspose2d {
        name: vb.prefix(),
        weight: vb.get_with_hints(shape, "weight", init)?,
        bias: bias.transpose()?,
        config: ConvTranspose2dConfig {
            stride: options.stride,
            padding: options.padding,
            output_padding: options.output_padding,
            dilation: options.dilation,
            groups: options.groups,
        },
    })
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::conv_transpose2d(x, &self.weight, self.bias.as_ref(), &self.config)?;
        summary::record(Some(&self.name), "ConvTranspose2d", &y, || {
            summary::products(x, &self.weight)
        });
        Ok(y)
    }
}

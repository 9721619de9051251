//! Three-dimensional convolution.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use dl_autograd::Conv3dConfig;

use super::conv2d::check_groups;
use super::linear::uniform;
use crate::summary;

/// What a convolution of volumes does besides its channel counts, in (depth, rows, columns):
/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3dOptions {
    /// Kernel size, each `≥ 1`. Default `(3, 3, 3)`.
    pub kernel: (usize, usize, usize),
    /// Step, each `≥ 1`. Default `(1, 1, 1)`.
    pub stride: (usize, usize, usize),
    /// Zeros on both sides of each dimension. Default `(0, 0, 0)`.
    pub padding: (usize, usize, usize),
    /// Distance of the taps, each `≥ 1`. Default `(1, 1, 1)`.
    pub dilation: (usize, usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for Conv3dOptions {
    fn default() -> Self {
        Self {
            kernel: (3, 3, 3),
            stride: (1, 1, 1),
            padding: (0, 0, 0),
            dilation: (1, 1, 1),
            groups: 1,
            bias: true,
        }
    }
}

/// Convolution `(n, c_in, d, h, w)` → `(n, c_out, d', h', w')`, with the weights
/// `weight (c_out, c_in / groups, k_d, k_h, k_w)` and `bias (c_out,)`.
///
/// Initialised as PyTorch does: both uniform in `±1/√fan_in`. Other padding than zeros is left out.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{Conv3dOptions, conv3d}};
/// let params = Params::new(0, &Device::Cpu);
/// let options = Conv3dOptions { stride: (1, 2, 2), padding: (1, 1, 1), ..Default::default() };
/// let layer = conv3d(3, 8, options, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((1, 3, 4, 8, 8), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 8, 4, 4, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv3d {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv3dConfig,
}

/// A convolution of volumes; an error if `groups` does not divide both channel counts.
pub fn conv3d(c_in: usize, c_out: usize, options: Conv3dOptions, vb: VarBuilder) -> Result<Conv3d> {
    check_groups(c_in, c_out, options.groups)?;
    let (k, c_group) = (options.kernel, c_in / options.groups);
    let init = uniform(c_group * k.0 * k.1 * k.2);
    let bias = options.bias.then(|| vb.get_with_hints(c_out, "bias", init));
    Ok(Conv3d {
        name: vb.prefix(),
        weight: vb.get_with_hints((c_out, c_group, k.0, k.1, k.2), "weight", init)?,
        bias: bias.transpose()?,
        config: Conv3dConfig {
            stride: options.stride,
            padding: options.padding,
            dilation: options.dilation,
            groups: options.groups,
        },
    })
}

impl Module for Conv3d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::conv3d(x, &self.weight, self.bias.as_ref(), &self.config)?;
        summary::record(Some(&self.name), "Conv3d", &y, || {
            summary::products(&y, &self.weight)
        });
        Ok(y)
    }
}

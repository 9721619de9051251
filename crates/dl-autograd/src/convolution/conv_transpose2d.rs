//! Two-dimensional transposed convolution.

use candle_core::{Result, Tensor, bail};

use super::geometry::Geometry;
use super::op::{Convolution, Direction};
use super::padding::Padding2d;

/// How [`conv_transpose2d`] slides: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dConfig {
    /// Step in (rows, columns) between the places where neighbours of the input land, each `≥ 1`.
    /// Default `(1, 1)`.
    pub stride: (usize, usize),
    /// Rows and columns cut off the result. Default none.
    pub padding: Padding2d,
    /// Rows and columns added at the end of the result, each less than the stride or the dilation.
    /// Default `(0, 0)`.
    pub output_padding: (usize, usize),
    /// Distance of the kernel's taps in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub dilation: (usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
}

impl Default for ConvTranspose2dConfig {
    fn default() -> Self {
        Self {
            stride: (1, 1),
            padding: Padding2d::default(),
            output_padding: (0, 0),
            dilation: (1, 1),
            groups: 1,
        }
    }
}

/// The transpose of [`conv2d`](crate::conv2d), which grows images, as
/// `torch.nn.functional.conv_transpose2d`.
///
/// `x (n, c_in, h, w)`, `weight (c_in, c_out / groups, k_h, k_w)`, `bias (c_out,)` →
/// `(n, c_out, h', w')`
///
/// ```text
/// yₙ,o,i·s+u·d−p,j·s+v·d−p ← bₒ + Σ_c w_couv · xₙ,c,i,j          h' = (h − 1)s − p + d(k−1) + output_padding + 1
/// ```
///
/// with p both paddings together in the height. It is the input gradient of a convolution with the
/// same weight and configuration. Differs from PyTorch in that the four paddings may differ. An
/// error if the shapes do not fit the configuration.
///
/// Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{ConvTranspose2dConfig, conv_transpose2d};
/// let x = Tensor::ones((1, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((2, 4, 2, 2), DType::F32, &Device::Cpu)?;
/// let config = ConvTranspose2dConfig { stride: (2, 2), ..Default::default() };
/// let y = conv_transpose2d(&x, &w, None, &config)?;
/// assert_eq!(y.dims(), [1, 4, 6, 6]);
/// assert_eq!(y.sum_all()?.to_scalar::<f32>()?, 288.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvTranspose2dConfig,
) -> Result<Tensor> {
    const NAME: &str = "conv_transpose2d";
    let (&[n, c, h, w], &[c_in, c_group, k_h, k_w]) = (x.dims(), weight.dims()) else {
        bail!(
            "{NAME} takes x (n, c, h, w) and weight (c_in, c_out / groups, k_h, k_w), got {:?} and {:?}",
            x.shape(),
            weight.shape()
        )
    };
    let geometry = Geometry::transposed(NAME, [n, c, h, w], [c_in, c_group, k_h, k_w], config)?;
    let shape = geometry.input_shape().to_vec();
    Convolution::new(NAME, Direction::Transposed, geometry, shape).run(x, weight, bias)
}

//! Two-dimensional convolution with groups, rectangular strides and asymmetric padding.

use candle_core::{Result, Tensor, bail};

use super::geometry::Geometry;
use super::op::{Convolution, Direction};
use super::padding::Padding2d;

/// How [`conv2d`] slides: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Step in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub stride: (usize, usize),
    /// Zeros around the image. Default none.
    pub padding: Padding2d,
    /// Distance of the kernel's taps in (rows, columns), each `≥ 1`. Default `(1, 1)`.
    pub dilation: (usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            stride: (1, 1),
            padding: Padding2d::default(),
            dilation: (1, 1),
            groups: 1,
        }
    }
}

/// Cross-correlation of a batch of images with a bank of kernels, as `torch.nn.functional.conv2d`.
///
/// `x (n, c_in, h, w)`, `weight (c_out, c_in / groups, k_h, k_w)`, `bias (c_out,)` →
/// `(n, c_out, h', w')`
///
/// ```text
/// yₙₒᵢⱼ = bₒ + Σ_c Σ_u Σ_v w_ocuv · xₙ,c,i·s+u·d−p,j·s+v·d−p          h' = ⌊(h + p − d(k−1) − 1)/s⌋ + 1
/// ```
///
/// Differs from PyTorch in that the four paddings may differ. On the CPU nothing is unfolded: the
/// kernels are direct, forward and both backwards. An error if the shapes do not fit the configuration.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Conv2dConfig, conv2d};
/// let x = Tensor::ones((1, 2, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((3, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let y = conv2d(&x, &w, None, &Conv2dConfig { padding: 1.into(), ..Default::default() })?;
/// assert_eq!(y.dims(), [1, 3, 4, 4]);
/// assert_eq!(y.max_all()?.to_scalar::<f32>()?, 18.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2dConfig,
) -> Result<Tensor> {
    convolution(geometry(x, weight, config)?).run(x, weight, bias)
}

pub(super) fn geometry(x: &Tensor, weight: &Tensor, config: &Conv2dConfig) -> Result<Geometry> {
    let (&[n, c, h, w], &[c_out, c_group, k_h, k_w]) = (x.dims(), weight.dims()) else {
        bail!(
            "conv2d takes x (n, c, h, w) and weight (c_out, c_in / groups, k_h, k_w), got {:?} and {:?}",
            x.shape(),
            weight.shape()
        )
    };
    Geometry::new("conv2d", [n, c, h, w], [c_out, c_group, k_h, k_w], config)
}

pub(super) fn convolution(geometry: Geometry) -> Convolution {
    let shape = geometry.output_shape().to_vec();
    Convolution::new("conv2d", Direction::Forward, geometry, shape)
}

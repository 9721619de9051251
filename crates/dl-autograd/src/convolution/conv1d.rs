//! One-dimensional convolution.

use candle_core::{Result, Tensor, bail};

use super::conv2d::Conv2dConfig;
use super::geometry::Geometry;
use super::op::{Convolution, Direction};
use super::padding::Padding2d;

/// How [`conv1d`] slides: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dConfig {
    /// Step, `≥ 1`. Default `1`.
    pub stride: usize,
    /// Zeros (before, after) the signal. Default none.
    pub padding: (usize, usize),
    /// Distance of the kernel's taps, `≥ 1`. Default `1`.
    pub dilation: usize,
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
}

impl Default for Conv1dConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: (0, 0),
            dilation: 1,
            groups: 1,
        }
    }
}

/// Cross-correlation of a batch of signals with a bank of kernels, as `torch.nn.functional.conv1d`.
///
/// `x (n, c_in, l)`, `weight (c_out, c_in / groups, k)`, `bias (c_out,)` → `(n, c_out, l')`
///
/// ```text
/// yₙₒᵢ = bₒ + Σ_c Σ_u w_ocu · xₙ,c,i·s+u·d−p          l' = ⌊(l + p − d(k−1) − 1)/s⌋ + 1
/// ```
///
/// Differs from PyTorch in that the two paddings may differ; for `padding="same"` see
/// [`same_padding`](crate::same_padding). An error if the shapes do not fit the configuration.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Conv1dConfig, conv1d};
/// let x = Tensor::new(&[[[1f32, 2., 4., 8.]]], &Device::Cpu)?;
/// let w = Tensor::new(&[[[1f32, -1.]]], &Device::Cpu)?;
/// let y = conv1d(&x, &w, None, &Conv1dConfig { padding: (1, 0), ..Default::default() })?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1., -1., -2., -4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv1dConfig,
) -> Result<Tensor> {
    let (&[n, c, l], &[c_out, c_group, k]) = (x.dims(), weight.dims()) else {
        bail!(
            "conv1d takes x (n, c, l) and weight (c_out, c_in / groups, k), got {:?} and {:?}",
            x.shape(),
            weight.shape()
        )
    };
    let config = Conv2dConfig {
        stride: (1, config.stride),
        padding: row(config.padding),
        dilation: (1, config.dilation),
        groups: config.groups,
    };
    let geometry = Geometry::new("conv1d", [n, c, 1, l], [c_out, c_group, 1, k], &config)?;
    let shape = vec![n, c_out, geometry.output.1];
    Convolution::new("conv1d", Direction::Forward, geometry, shape).run(x, weight, bias)
}

/// The padding of a signal as that of an image of height 1.
pub(super) fn row((left, right): (usize, usize)) -> Padding2d {
    Padding2d {
        top: 0,
        bottom: 0,
        left,
        right,
    }
}

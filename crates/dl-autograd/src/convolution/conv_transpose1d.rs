//! One-dimensional transposed convolution.

use candle_core::{Result, Tensor, bail};

use super::conv_transpose2d::ConvTranspose2dConfig;
use super::conv1d::row;
use super::geometry::Geometry;
use super::op::{Convolution, Direction};

/// How [`conv_transpose1d`] slides: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose1dConfig {
    /// Step between the places where neighbours of the input land, `≥ 1`. Default `1`.
    pub stride: usize,
    /// Elements cut off (before, after) the result. Default none.
    pub padding: (usize, usize),
    /// Elements added after the result, less than the stride or the dilation. Default `0`.
    pub output_padding: usize,
    /// Distance of the kernel's taps, `≥ 1`. Default `1`.
    pub dilation: usize,
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
}

impl Default for ConvTranspose1dConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: (0, 0),
            output_padding: 0,
            dilation: 1,
            groups: 1,
        }
    }
}

/// The transpose of [`conv1d`](crate::conv1d), which grows signals, as
/// `torch.nn.functional.conv_transpose1d`.
///
/// `x (n, c_in, l)`, `weight (c_in, c_out / groups, k)`, `bias (c_out,)` → `(n, c_out, l')`
///
/// ```text
/// yₙ,o,i·s+u·d−p ← bₒ + Σ_c w_cou · xₙ,c,i          l' = (l − 1)s − p + d(k−1) + output_padding + 1
/// ```
///
/// with p both paddings together in the length. Differs from PyTorch in that the two may differ.
/// An error if the shapes do not fit the configuration.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{ConvTranspose1dConfig, conv_transpose1d};
/// let x = Tensor::new(&[[[1f32, 2.]]], &Device::Cpu)?;
/// let w = Tensor::new(&[[[1f32, 10., 100.]]], &Device::Cpu)?;
/// let config = ConvTranspose1dConfig { stride: 2, ..Default::default() };
/// let y = conv_transpose1d(&x, &w, None, &config)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 10., 102., 20., 200.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv_transpose1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvTranspose1dConfig,
) -> Result<Tensor> {
    const NAME: &str = "conv_transpose1d";
    let (&[n, c, l], &[c_in, c_group, k]) = (x.dims(), weight.dims()) else {
        bail!(
            "{NAME} takes x (n, c, l) and weight (c_in, c_out / groups, k), got {:?} and {:?}",
            x.shape(),
            weight.shape()
        )
    };
    let config = ConvTranspose2dConfig {
        stride: (1, config.stride),
        padding: row(config.padding),
        output_padding: (0, config.output_padding),
        dilation: (1, config.dilation),
        groups: config.groups,
    };
    let geometry = Geometry::transposed(NAME, [n, c, 1, l], [c_in, c_group, 1, k], &config)?;
    let shape = vec![n, geometry.c_in, geometry.input.1];
    Convolution::new(NAME, Direction::Transposed, geometry, shape).run(x, weight, bias)
}

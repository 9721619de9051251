//! Images as sequences of patches.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{flatten_from, transpose};

use super::conv2d::{Conv2d, Conv2dOptions, conv2d};

/// What a [`PatchEmbed`] is: the defaults are those of timm, ViT-Base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchEmbedConfig {
    /// Size of a patch in (rows, columns), each `≥ 1`. Default `(16, 16)`.
    pub patch: (usize, usize),
    /// Channels of an image. Default `3`.
    pub channels: usize,
    /// Features of a patch. Default `768`.
    pub dim: usize,
    /// Whether a bias is added. Default `true`.
    pub bias: bool,
}

impl Default for PatchEmbedConfig {
    fn default() -> Self {
        Self {
            patch: (16, 16),
            channels: 3,
            dim: 768,
            bias: true,
        }
    }
}

/// A linear map of every patch of an image: `(n, channels, h, w)` → `(n, patches, dim)`.
///
/// The patches come row by row. Weights `proj.weight (dim, channels, rows, columns)`, `proj.bias`, as
/// timm's `PatchEmbed`, whose options for a norm, for padding and for images as output are left out.
///
/// Source: Dosovitskiy et al., "An image is worth 16×16 words", 2021.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{PatchEmbedConfig, patch_embed}};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = patch_embed(PatchEmbedConfig { dim: 8, ..Default::default() }, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((1, 3, 32, 48), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 6, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PatchEmbed {
    proj: Conv2d,
    patch: (usize, usize),
}

/// The embedding of patches; an error if a patch has no pixel.
pub fn patch_embed(config: PatchEmbedConfig, vb: VarBuilder) -> Result<PatchEmbed> {
    let patch = config.patch;
    if patch.0 == 0 || patch.1 == 0 {
        bail!("patch_embed takes a patch of one pixel or more, got {patch:?}")
    }
    let options = Conv2dOptions {
        kernel: patch,
        stride: patch,
        bias: config.bias,
        ..Default::default()
    };
    let proj = conv2d(config.channels, config.dim, options, vb.pp("proj"))?;
    Ok(PatchEmbed { proj, patch })
}

impl Module for PatchEmbed {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        if !h.is_multiple_of(self.patch.0) || !w.is_multiple_of(self.patch.1) {
            bail!(
                "patches of {:?} do not divide images of {:?}",
                self.patch,
                (h, w)
            )
        }
        // (n, dim, rows, columns) → (n, patches, dim)
        transpose(&flatten_from(&self.proj.forward(x)?, 2)?, 1, 2)
    }
}

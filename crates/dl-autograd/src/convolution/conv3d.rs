//! Three-dimensional convolution, as two-dimensional ones of slices.

use candle_core::{Result, Tensor, bail};

use super::conv2d::Conv2dConfig;
use super::geometry::Geometry;
use super::op::{Convolution, Direction};
use super::padding::Padding2d;
use crate::autocast;
use crate::host::{LIMIT, narrow_to, one_float_type, widen};
use crate::pad::{PadMode, pad};
use crate::sum::add;
use crate::view::{narrow, reshape, transpose};

/// How [`conv3d`] slides, in (depth, rows, columns): PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3dConfig {
    /// Step, each `≥ 1`. Default `(1, 1, 1)`.
    pub stride: (usize, usize, usize),
    /// Zeros on both sides of each dimension. Default `(0, 0, 0)`.
    pub padding: (usize, usize, usize),
    /// Distance of the kernel's taps, each `≥ 1`. Default `(1, 1, 1)`.
    pub dilation: (usize, usize, usize),
    /// Number of groups, a divisor of both channel counts. Default `1`.
    pub groups: usize,
}

impl Default for Conv3dConfig {
    fn default() -> Self {
        Self {
            stride: (1, 1, 1),
            padding: (0, 0, 0),
            dilation: (1, 1, 1),
            groups: 1,
        }
    }
}

impl Conv3dConfig {
    /// Of one slice of the kernel.
    fn image(&self) -> Conv2dConfig {
        Conv2dConfig {
            stride: (self.stride.1, self.stride.2),
            padding: Padding2d {
                top: self.padding.1,
                bottom: self.padding.1,
                left: self.padding.2,
                right: self.padding.2,
            },
            dilation: (self.dilation.1, self.dilation.2),
            groups: self.groups,
        }
    }
}

/// Cross-correlation of a batch of volumes with a bank of kernels, as `torch.nn.functional.conv3d`.
///
/// `x (n, c_in, d, h, w)`, `weight (c_out, c_in / groups, k_d, k_h, k_w)`, `bias (c_out,)` →
/// `(n, c_out, d', h', w')`
///
/// ```text
/// y[i] = b + Σ_u conv2d(x[i·s + u·d − p], w[u])          over the slices of depth
/// ```
///
/// Each slice of the kernel is one [`conv2d`](crate::conv2d) of all slices that it meets, so memory
/// holds the volume once more for it. An error if the shapes do not fit the configuration.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Conv3dConfig, conv3d};
/// let x = Tensor::ones((1, 2, 4, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((3, 2, 3, 3, 3), DType::F32, &Device::Cpu)?;
/// let y = conv3d(&x, &w, None, &Conv3dConfig { padding: (1, 1, 1), ..Default::default() })?;
/// assert_eq!(y.dims(), [1, 3, 4, 4, 4]);
/// assert_eq!(y.max_all()?.to_scalar::<f32>()?, 54.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv3d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv3dConfig,
) -> Result<Tensor> {
    if let Some(scope) = autocast::lowering() {
        let bias = bias.map(|bias| scope.lower(bias)).transpose()?;
        let (low, weight) = (scope.lower(x)?, scope.lower(weight)?);
        return scope.raise(conv3d(&low, &weight, bias.as_ref(), config)?, x);
    }
    let depth = Depth::new(x, weight, bias, config)?;
    // The slices of half-precision kernels are added in f32.
    let (dtype, weight) = (x.dtype(), widen(weight.clone())?);
    let bias = bias.map(|bias| widen(bias.clone())).transpose()?;
    // (n, c, d, h, w) → (n, d, c, h, w): slices are images.
    let x = transpose(&depth.padded(&widen(x.clone())?)?, 1, 2)?;
    let slice = |tap: usize| {
        let &[c_out, c_group, _, k_h, k_w] = weight.dims() else {
            bail!(
                "conv3d takes a weight of 5 dimensions, got {:?}",
                weight.shape()
            )
        };
        let weight = reshape(&narrow(&weight, 2, tap, 1)?, (c_out, c_group, k_h, k_w))?;
        convolve(
            &depth.images(&x, tap)?,
            &weight,
            bias.as_ref().filter(|_| tap == 0),
            config,
        )
    };
    let first = slice(0)?;
    let sum = (1..depth.kernel).try_fold(first, |sum, tap| add(&sum, &slice(tap)?))?;
    narrow_to(depth.volumes(&sum)?, dtype)
}

/// `conv2d` that calls itself by the name of the whole.
fn convolve(
    images: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv3dConfig,
) -> Result<Tensor> {
    let dims = |x: &Tensor| x.dims4().map(|(a, b, c, d)| [a, b, c, d]);
    let geometry = Geometry::new("conv3d", dims(images)?, dims(weight)?, &config.image())?;
    let shape = geometry.output_shape().to_vec();
    Convolution::new("conv3d", Direction::Forward, geometry, shape).run(images, weight, bias)
}

/// What happens along the depth.
struct Depth {
    batch: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
    outputs: usize,
}

impl Depth {
    fn new(
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        config: &Conv3dConfig,
    ) -> Result<Self> {
        let (&[batch, _, size, _, _], &[_, _, kernel, _, _]) = (x.dims(), weight.dims()) else {
            bail!(
                "conv3d takes x (n, c, d, h, w) and weight (c_out, c_in / groups, k_d, k_h, k_w), got {:?} and {:?}",
                x.shape(),
                weight.shape()
            )
        };
        let others = [Some(("weight", weight)), bias.map(|bias| ("bias", bias))];
        let others: Vec<_> = others.into_iter().flatten().collect();
        one_float_type("conv3d", ("x", x), &others)?;
        let (stride, dilation, padding) = (config.stride.0, config.dilation.0, config.padding.0);
        for (field, value) in [("stride", stride), ("dilation", dilation)] {
            if !(1..LIMIT).contains(&value) {
                bail!("conv3d takes a {field} of 1 or more and below 2³¹, got {config:?}")
            }
        }
        let (full, reach) = (
            size.saturating_add(2usize.saturating_mul(padding)),
            kernel.saturating_sub(1).saturating_mul(dilation) + 1,
        );
        if kernel == 0 || padding >= LIMIT || reach > full {
            bail!(
                "conv3d of x {:?} with padding {:?} takes a kernel of 1 or more that fits, got weight {:?}",
                x.shape(),
                config.padding,
                weight.shape()
            )
        }
        Ok(Self {
            batch,
            kernel,
            stride,
            dilation,
            padding,
            outputs: (full - reach) / stride + 1,
        })
    }

    /// Zeros before and after, and so many that every tap is followed by whole strides.
    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let needed = (self.kernel - 1) * self.dilation + self.outputs * self.stride;
        let behind = needed.saturating_sub(x.dims()[2] + self.padding);
        match (self.padding, behind) {
            (0, 0) => Ok(x.clone()),
            (before, behind) => {
                let sides = [(0, 0), (0, 0), (before as isize, behind as isize)];
                pad(x, &sides, PadMode::Constant(0.))
            }
        }
    }

    /// The slices that one tap meets, `(n·d', c, h, w)`, of `x (n, d, c, h, w)`.
    fn images(&self, x: &Tensor, tap: usize) -> Result<Tensor> {
        let x = narrow(x, 1, tap * self.dilation, self.outputs * self.stride)?;
        let &[n, _, c, h, w] = x.dims() else {
            bail!("conv3d lost a dimension of {:?}", x.shape())
        };
        let x = match self.stride {
            1 => x,
            stride => narrow(&reshape(&x, (n, self.outputs, stride, c, h, w))?, 2, 0, 1)?,
        };
        reshape(&x, (n * self.outputs, c, h, w))
    }

    /// `(n·d', c, h, w)` → `(n, c, d', h, w)`.
    fn volumes(&self, y: &Tensor) -> Result<Tensor> {
        let (_, c, h, w) = y.dims4()?;
        transpose(&reshape(y, (self.batch, self.outputs, c, h, w))?, 1, 2)
    }
}

//! Two-dimensional convolution with groups, rectangular strides and asymmetric padding.

mod composed;
mod dense;
mod depthwise;
mod geometry;
mod second_order;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use crate::host::{by_dtype, has_kernel, if_tracked, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};
use crate::view::contiguous;
use geometry::Geometry;

/// Rows and columns of zeros around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding2d {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
}

impl Padding2d {
    /// TensorFlow's `SAME`: `⌈size/stride⌉` outputs, the odd row and column of zeros at the end.
    /// All pairs are (rows, columns).
    ///
    /// ```
    /// use dl_autograd::Padding2d;
    /// let padding = Padding2d::same((224, 224), (3, 3), (2, 2), (1, 1));
    /// assert_eq!(padding, Padding2d { top: 0, bottom: 1, left: 0, right: 1 });
    /// ```
    pub fn same(
        size: (usize, usize),
        kernel: (usize, usize),
        stride: (usize, usize),
        dilation: (usize, usize),
    ) -> Self {
        let total = |size: usize, kernel: usize, stride: usize, dilation: usize| {
            let reach = (size.div_ceil(stride).max(1) - 1) * stride + (kernel - 1) * dilation + 1;
            reach.saturating_sub(size)
        };
        let rows = total(size.0, kernel.0, stride.0, dilation.0);
        let cols = total(size.1, kernel.1, stride.1, dilation.1);
        Self {
            top: rows / 2,
            bottom: rows - rows / 2,
            left: cols / 2,
            right: cols - cols / 2,
        }
    }
}

impl From<usize> for Padding2d {
    fn from(all: usize) -> Self {
        Self {
            top: all,
            bottom: all,
            left: all,
            right: all,
        }
    }
}

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
/// `x (n, c_in, h, w)`, `weight (c_out, c_in / groups, k_h, k_w)` → `(n, c_out, h', w')`
///
/// ```text
/// yₙₒᵢⱼ = Σ_c Σ_u Σ_v w_ocuv · xₙ,c,i·s+u·d−p,j·s+v·d−p          h' = ⌊(h + p − d(k−1) − 1)/s⌋ + 1
/// ```
///
/// On the CPU: matrix products over unfolded images, 1×1 without unfolding, and a direct kernel
/// where every channel is its own group. An error if the shapes do not fit the configuration.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Conv2dConfig, conv2d};
/// let x = Tensor::ones((1, 2, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((3, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let y = conv2d(&x, &w, &Conv2dConfig { padding: 1.into(), ..Default::default() })?;
/// assert_eq!(y.dims(), [1, 3, 4, 4]);
/// assert_eq!(y.max_all()?.to_scalar::<f32>()?, 18.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv2d(x: &Tensor, weight: &Tensor, config: &Conv2dConfig) -> Result<Tensor> {
    let geometry = Geometry::new(x.dims(), weight.dims(), config)?;
    if has_kernel(x) {
        let y = apply2(&contiguous(x)?, &contiguous(weight)?, Conv2d(geometry))?;
        Ok(differentiable(y, move |inputs, _, dy| {
            second_order::pull(geometry, inputs, dy)
        }))
    } else {
        composed::conv2d(x, weight, &geometry)
    }
}

/// The kernels of a convolution of this geometry.
impl Geometry {
    fn forward<T: Scalar>(&self, x: &[T], w: &[T]) -> Vec<T> {
        match self.is_depthwise() {
            true => depthwise::forward(self, x, w),
            false => dense::forward(self, x, w),
        }
    }

    fn grad_input<T: Scalar>(&self, dy: &[T], w: &[T]) -> Vec<T> {
        match self.is_depthwise() {
            true => depthwise::grad_input(self, dy, w),
            false => dense::grad_input(self, dy, w),
        }
    }

    fn grad_weight<T: Scalar>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        match self.is_depthwise() {
            true => depthwise::grad_weight(self, dy, x),
            false => dense::grad_weight(self, dy, x),
        }
    }
}

struct Conv2d(Geometry);

impl Conv2d {
    fn forward<T: Scalar>(
        &self,
        x: (&CpuStorage, &Layout),
        w: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice::<T>(x.0, x.1)?, slice::<T>(w.0, w.1)?);
        let y = self.0.forward(x, w);
        Ok((
            T::to_cpu_storage_owned(y),
            Shape::from(self.0.output_shape().to_vec()),
        ))
    }

    fn grad_input<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dx = read::<T, _>(dy, |dy| read::<T, _>(w, |w| Ok(self.0.grad_input(dy, w))))?;
        tensor(dx, x.dims())
    }

    fn grad_weight<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dw = read::<T, _>(dy, |dy| read::<T, _>(x, |x| Ok(self.0.grad_weight(dy, x))))?;
        tensor(dw, w.dims())
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(
            candle_core::backend::BackendStorage::dtype(s1),
            "conv2d",
            self.forward::<T>((s1, l1), (s2, l2))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dtype = x.dtype();
        let dx = if_tracked(x, || {
            by_dtype!(dtype, "conv2d", self.grad_input::<T>(dy, x, w))
        })?;
        let dw = if_tracked(w, || {
            by_dtype!(dtype, "conv2d", self.grad_weight::<T>(dy, x, w))
        })?;
        Ok((dx, dw))
    }
}

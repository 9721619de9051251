//! The mean of every window.

use candle_core::{Result, Tensor, bail};

use super::window::{Window, as_rows, image};
use crate::separable::{Separable, Taps, separable};

/// The windows of [`avg_pool2d`], in (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2dConfig {
    /// Size of a window, each `≥ 1`. Default `(2, 2)`.
    pub kernel: (usize, usize),
    /// Distance of two windows, each `≥ 1`. Default `None`: the kernel.
    pub stride: Option<(usize, usize)>,
    /// How far windows may start before the image and end behind it, at most half the kernel.
    /// Default `(0, 0)`.
    pub padding: (usize, usize),
    /// Whether a last window that is not full counts. Default `false`.
    pub ceil_mode: bool,
    /// Whether the padding counts in the divisor. Default `true`.
    pub count_include_pad: bool,
    /// What sums are divided by instead of the size of their window, `≥ 1`. Default `None`.
    pub divisor_override: Option<usize>,
}

impl Default for AvgPool2dConfig {
    fn default() -> Self {
        Self {
            kernel: (2, 2),
            stride: None,
            padding: (0, 0),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }
}

/// The windows of [`avg_pool1d`], as those of [`AvgPool2dConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool1dConfig {
    /// Size of a window, `≥ 1`. Default `2`.
    pub kernel: usize,
    /// Distance of two windows, `≥ 1`. Default `None`: the kernel.
    pub stride: Option<usize>,
    /// How far windows may start before the input and end behind it, at most half the kernel.
    /// Default `0`.
    pub padding: usize,
    /// Whether a last window that is not full counts. Default `false`.
    pub ceil_mode: bool,
    /// Whether the padding counts in the divisor. Default `true`.
    pub count_include_pad: bool,
}

impl Default for AvgPool1dConfig {
    fn default() -> Self {
        Self {
            kernel: 2,
            stride: None,
            padding: 0,
            ceil_mode: false,
            count_include_pad: true,
        }
    }
}

/// The mean of every window of every plane, as `torch.nn.functional.avg_pool2d`.
///
/// `(n, c, h, w)` → `(n, c, h', w')`, with the sizes of [`max_pool2d`](crate::max_pool2d)
///
/// ```text
/// y[i, j] = (1/D) Σ x[i·s + a − p, j·s + b − p]     over a, b < k and inside the image
/// ```
///
/// `D` is the number of elements of the window, those in the padding with `count_include_pad`,
/// never those that `ceil_mode` puts behind it; or `divisor_override`. Sums run along the columns
/// first, so the last bits differ from PyTorch's. An error for another rank, a padding above half
/// the kernel or a divisor of 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{AvgPool2dConfig, avg_pool2d};
/// let x = Tensor::new(&[[[[1f32, 2., 0.], [3., 6., 7.]]]], &Device::Cpu)?;
/// let config = AvgPool2dConfig { stride: Some((1, 1)), ..Default::default() };
/// let y = avg_pool2d(&x, &config)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3., 3.75]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn avg_pool2d(x: &Tensor, config: &AvgPool2dConfig) -> Result<Tensor> {
    pool("avg_pool2d", x, config)
}

/// [`avg_pool2d`] of `(n, c, l)` → `(n, c, l')`, as `torch.nn.functional.avg_pool1d`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{AvgPool1dConfig, avg_pool1d};
/// let x = Tensor::new(&[[[1f32, 2., 0., 3., 5.]]], &Device::Cpu)?;
/// let y = avg_pool1d(&x, &AvgPool1dConfig { ceil_mode: true, ..Default::default() })?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 1.5, 5.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn avg_pool1d(x: &Tensor, config: &AvgPool1dConfig) -> Result<Tensor> {
    let image = AvgPool2dConfig {
        kernel: (1, config.kernel),
        stride: config.stride.map(|s| (1, s)),
        padding: (0, config.padding),
        ceil_mode: config.ceil_mode,
        count_include_pad: config.count_include_pad,
        divisor_override: None,
    };
    as_rows("avg_pool1d", x, |x| pool("avg_pool1d", x, &image))
}

fn pool(op: &str, x: &Tensor, config: &AvgPool2dConfig) -> Result<Tensor> {
    let [_, _, h, w] = image(op, x)?;
    let (k, p) = (config.kernel, config.padding);
    let s = config.stride.unwrap_or(k);
    let window = |kernel, stride, padding| Window {
        kernel,
        stride,
        padding,
        dilation: 1,
        ceil_mode: config.ceil_mode,
    };
    let divide = |rows: bool| match config.divisor_override {
        Some(divisor) if rows => Divide::By(divisor),
        Some(_) => Divide::By(1),
        None if config.count_include_pad => Divide::ByPadded,
        None => Divide::ByInside,
    };
    if config.divisor_override == Some(0) {
        bail!("{op} needs a divisor_override of at least 1, got 0")
    }
    let map = Separable {
        rows: taps(op, window(k.0, s.0, p.0), h, divide(true))?,
        columns: taps(op, window(k.1, s.1, p.1), w, divide(false))?,
    };
    separable(x, map)
}

/// What the sum along one axis is divided by.
enum Divide {
    By(usize),
    ByPadded,
    ByInside,
}

fn taps(op: &str, window: Window, size: usize, divide: Divide) -> Result<Taps> {
    let count = window.count(op, size)?;
    let of = |o: usize| {
        let inside = window.elements(o, size);
        let inside: Vec<usize> = inside.collect();
        let padded = (o * window.stride + window.kernel).min(size + 2 * window.padding);
        let divisor = match divide {
            Divide::By(divisor) => divisor,
            Divide::ByPadded => padded - o * window.stride,
            Divide::ByInside => inside.len(),
        };
        let weight = 1. / divisor as f64;
        inside.into_iter().map(|i| (i, weight)).collect()
    };
    Ok(Taps::new(size, (0..count).map(of)))
}

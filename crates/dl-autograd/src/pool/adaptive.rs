//! Pools whose windows follow from the size of their result.

use candle_core::{Result, Tensor, bail};

use super::max::{Axis, largest};
use super::window::{as_rows, image};
use crate::global_avg_pool::global_avg_pool;
use crate::host::LIMIT;
use crate::separable::{Separable, Taps, separable};
use crate::view::reshape;

/// The mean of windows that divide every plane into `size` parts, as
/// `torch.nn.functional.adaptive_avg_pool2d`.
///
/// `(n, c, h, w)` → `(n, c, size.0, size.1)`
///
/// ```text
/// window i of o over h:   ⌊i·h / o⌋ .. ⌈(i + 1)·h / o⌉
/// ```
///
/// An error for another rank, an image without pixels or a size of 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::adaptive_avg_pool2d;
/// let x = Tensor::new(&[[[[1f32, 2., 6.]]]], &Device::Cpu)?;
/// let y = adaptive_avg_pool2d(&x, (1, 2))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adaptive_avg_pool2d(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    average("adaptive_avg_pool2d", x, size)
}

/// [`adaptive_avg_pool2d`] of `(n, c, l)` → `(n, c, size)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f32, 2., 6.]]], &Device::Cpu)?;
/// let y = dl_autograd::adaptive_avg_pool1d(&x, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adaptive_avg_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    let op = "adaptive_avg_pool1d";
    as_rows(op, x, |x| average(op, x, (1, size)))
}

/// The largest element of the windows of [`adaptive_avg_pool2d`], as
/// `torch.nn.functional.adaptive_max_pool2d`.
///
/// `(n, c, h, w)` → `(n, c, size.0, size.1)`; ties and NaN as in [`max_pool2d`](crate::max_pool2d).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::adaptive_max_pool2d;
/// let x = Tensor::new(&[[[[1f32, 2., 6.]]]], &Device::Cpu)?;
/// let y = adaptive_max_pool2d(&x, (1, 2))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adaptive_max_pool2d(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    maximum("adaptive_max_pool2d", x, size)
}

/// [`adaptive_max_pool2d`] of `(n, c, l)` → `(n, c, size)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f32, 2., 6.]]], &Device::Cpu)?;
/// let y = dl_autograd::adaptive_max_pool1d(&x, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adaptive_max_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    let op = "adaptive_max_pool1d";
    as_rows(op, x, |x| maximum(op, x, (1, size)))
}

fn average(op: &str, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    let [n, c, h, w] = checked(op, x, size)?;
    if size == (1, 1) {
        return reshape(&global_avg_pool(x)?, (n, c, 1, 1));
    }
    let map = Separable {
        rows: adaptive_taps(h, size.0),
        columns: adaptive_taps(w, size.1),
    };
    separable(x, map)
}

fn maximum(op: &str, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    let [_, _, h, w] = checked(op, x, size)?;
    let axis = |size, outputs| Axis::adaptive(size, windows(size, outputs).collect());
    largest(op, x, axis(h, size.0), axis(w, size.1))
}

fn checked(op: &str, x: &Tensor, size: (usize, usize)) -> Result<[usize; 4]> {
    let dims = image(op, x)?;
    if dims[2] == 0 || dims[3] == 0 {
        bail!("{op} takes x with pixels, got {:?}", x.shape())
    }
    if size.0 == 0 || size.1 == 0 || size.0.max(size.1) >= LIMIT {
        bail!("{op} needs a size of at least (1, 1) and below 2³¹, got {size:?}")
    }
    Ok(dims)
}

/// Means over the adaptive windows along one axis.
pub(crate) fn adaptive_taps(size: usize, outputs: usize) -> Taps {
    let mean = |window: Vec<usize>| {
        let weight = 1. / window.len() as f64;
        window.into_iter().map(|i| (i, weight)).collect()
    };
    Taps::new(size, windows(size, outputs).map(mean))
}

fn windows(size: usize, outputs: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..outputs).map(move |i| {
        let window = i * size / outputs..((i + 1) * size).div_ceil(outputs);
        window.collect()
    })
}

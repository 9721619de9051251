//! How the windows of a pool lie along one axis.

use candle_core::{Result, Tensor, bail};

use crate::host::{LIMIT, float};
use crate::view::reshape;

/// What is said of one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) dilation: usize,
    pub(super) ceil_mode: bool,
}

impl Window {
    /// How many windows there are over `size` elements, by PyTorch's rule.
    pub(super) fn count(&self, op: &str, size: usize) -> Result<usize> {
        self.check(op)?;
        let reach = ((self.kernel - 1) * self.dilation + 1) as i64;
        let (stride, padding) = (self.stride as i64, self.padding as i64);
        let round = if self.ceil_mode { stride - 1 } else { 0 };
        let mut count = (size as i64 + 2 * padding - reach + round).div_euclid(stride) + 1;
        // A window that would start in the padding behind the input is dropped.
        if self.ceil_mode && (count - 1) * stride >= size as i64 + padding {
            count -= 1;
        }
        if size == 0 || size >= LIMIT || count < 1 {
            bail!(
                "{op}: a window of {} with dilation {} does not fit into {size} elements with padding {}",
                self.kernel,
                self.dilation,
                self.padding
            )
        }
        Ok(count as usize)
    }

    fn check(&self, op: &str) -> Result<()> {
        for (name, value) in [
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if value == 0 || value >= LIMIT {
                bail!("{op} needs a {name} in [1, 2³¹), got {value}")
            }
        }
        if self.padding > self.kernel / 2 {
            bail!(
                "{op} needs a padding of at most half its kernel {}, got {}",
                self.kernel,
                self.padding
            )
        }
        Ok(())
    }

    /// The elements of window `o` that lie in the input.
    pub(super) fn elements(&self, o: usize, size: usize) -> impl Iterator<Item = usize> {
        let (stride, padding, dilation) = (self.stride, self.padding, self.dilation);
        (0..self.kernel)
            .map(move |k| o * stride + k * dilation)
            .skip_while(move |i| *i < padding)
            .map(move |i| i - padding)
            .take_while(move |i| *i < size)
    }

    /// The windows `lo..hi` whose element `k` lies in the input.
    pub(super) fn span(&self, k: usize, size: usize, count: usize) -> (usize, usize) {
        let shift = k * self.dilation;
        let lo = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let hi = (size + self.padding)
            .saturating_sub(shift)
            .div_ceil(self.stride)
            .min(count);
        (lo.min(hi), hi)
    }
}

/// The four sizes of a batch of images.
pub(super) fn image(op: &str, x: &Tensor) -> Result<[usize; 4]> {
    float(op, ("x", x))?;
    match x.dims() {
        &[n, c, h, w] => Ok([n, c, h, w]),
        _ => bail!("{op} takes x (n, c, h, w), got {:?}", x.shape()),
    }
}

/// Runs an op of images on `(n, c, l)`, as images of one row.
pub(crate) fn as_rows(
    op: &str,
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let &[n, c, l] = x.dims() else {
        bail!("{op} takes x (n, c, l), got {:?}", x.shape())
    };
    let y = f(&reshape(x, (n, c, 1, l))?)?;
    reshape(&y, (n, c, y.dim(3)?))
}

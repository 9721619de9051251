//! The zeros around an image.

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
    /// All pairs are (rows, columns). With a stride of 1 this is PyTorch's `padding="same"`.
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
        let (top, bottom) = same_padding(size.0, kernel.0, stride.0, dilation.0);
        let (left, right) = same_padding(size.1, kernel.1, stride.1, dilation.1);
        Self {
            top,
            bottom,
            left,
            right,
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

/// The zeros (before, after) one dimension that give `⌈size/stride⌉` outputs, the odd one after.
///
/// With a stride of 1 this is PyTorch's `padding="same"`, with any other TensorFlow's `SAME`, which
/// PyTorch does not have.
///
/// ```
/// assert_eq!(dl_autograd::same_padding(10, 4, 1, 1), (1, 2));
/// assert_eq!(dl_autograd::same_padding(224, 3, 2, 1), (0, 1));
/// ```
pub fn same_padding(size: usize, kernel: usize, stride: usize, dilation: usize) -> (usize, usize) {
    // A stride or kernel of 0 is the convolution's to refuse.
    let outputs = size.div_ceil(stride.max(1)).max(1);
    let reach = (outputs - 1) * stride + kernel.saturating_sub(1) * dilation + 1;
    let total = reach.saturating_sub(size);
    (total / 2, total - total / 2)
}

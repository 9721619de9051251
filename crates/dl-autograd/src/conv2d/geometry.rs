//! The sizes of one convolution.

use candle_core::{Result, bail};

use super::Conv2dConfig;

/// Every size that the kernels of one convolution need, checked once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub batch: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub input: (usize, usize),
    pub kernel: (usize, usize),
    pub output: (usize, usize),
    pub config: Conv2dConfig,
}

impl Geometry {
    pub(super) fn new(x: &[usize], weight: &[usize], config: &Conv2dConfig) -> Result<Self> {
        let (&[batch, c_in, h, w], &[c_out, c_group, k_h, k_w]) = (x, weight) else {
            bail!(
                "conv2d takes x (n, c, h, w) and weight (c_out, c_in / groups, k_h, k_w), got {x:?} and {weight:?}"
            )
        };
        let Conv2dConfig {
            stride,
            dilation,
            groups,
            padding,
        } = *config;
        if groups == 0 || c_out % groups != 0 || c_group * groups != c_in {
            bail!("conv2d with {groups} groups does not fit x {x:?} and weight {weight:?}")
        }
        let sizes = [stride.0, stride.1, dilation.0, dilation.1, k_h, k_w];
        if sizes.contains(&0) {
            bail!(
                "conv2d needs stride, dilation and kernel of 1 or more, got {stride:?}, {dilation:?} and ({k_h}, {k_w})"
            )
        }
        let span = |size: usize, before: usize, after: usize, k: usize, s: usize, d: usize| {
            let reach = d * (k - 1) + 1;
            (size + before + after)
                .checked_sub(reach)
                .map(|free| free / s + 1)
        };
        let rows = span(h, padding.top, padding.bottom, k_h, stride.0, dilation.0);
        let cols = span(w, padding.left, padding.right, k_w, stride.1, dilation.1);
        let (Some(rows), Some(cols)) = (rows, cols) else {
            bail!(
                "conv2d with a kernel of ({k_h}, {k_w}) and {config:?} is larger than the image {x:?}"
            )
        };
        Ok(Self {
            batch,
            c_in,
            c_out,
            input: (h, w),
            kernel: (k_h, k_w),
            output: (rows, cols),
            config: *config,
        })
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.config.groups == self.c_in && self.c_out == self.c_in
    }

    /// 1×1 with nothing to unfold.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1)
            && self.config.stride == (1, 1)
            && self.config.padding == Default::default()
    }

    pub(super) fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.c_in, self.input.0, self.input.1]
    }

    pub(super) fn weight_shape(&self) -> [usize; 4] {
        let c_group = self.c_in / self.config.groups;
        [self.c_out, c_group, self.kernel.0, self.kernel.1]
    }

    pub(super) fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.c_out, self.output.0, self.output.1]
    }

    pub(super) fn pixels_in(&self) -> usize {
        self.input.0 * self.input.1
    }

    pub(super) fn pixels_out(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Height and width of the padded image.
    pub(super) fn padded(&self) -> (usize, usize) {
        let p = self.config.padding;
        (
            self.input.0 + p.top + p.bottom,
            self.input.1 + p.left + p.right,
        )
    }
}

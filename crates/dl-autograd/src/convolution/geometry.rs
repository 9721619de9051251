//! The sizes of one convolution.

use candle_core::{Result, bail};

use super::conv_transpose2d::ConvTranspose2dConfig;
use super::conv2d::Conv2dConfig;
use super::padding::Padding2d;
use crate::host::LIMIT;

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
    /// Of the convolution of `x (n, c_in, h, w)` with `weight (c_out, c_in / groups, k_h, k_w)`.
    pub(super) fn new(
        name: &str,
        x: [usize; 4],
        weight: [usize; 4],
        config: &Conv2dConfig,
    ) -> Result<Self> {
        let ([batch, c_in, h, w], [c_out, c_group, k_h, k_w]) = (x, weight);
        let Conv2dConfig {
            stride,
            dilation,
            groups,
            padding,
        } = *config;
        let [x_dims, weight_dims] = [x, weight].map(|dims| as_given(name, dims));
        if groups == 0 || c_out % groups != 0 || Some(c_in) != c_group.checked_mul(groups) {
            bail!(
                "{name} takes groups of 1 or more that fit x {x_dims:?} and weight {weight_dims:?}, got {groups} groups"
            )
        }
        check_steps(name, stride, dilation, (k_h, k_w), padding)?;
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
                "{name} with a kernel of ({k_h}, {k_w}) and {config:?} is larger than x {x_dims:?}"
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

    /// Of the convolution whose transpose takes `x (n, c_in, h, w)` with
    /// `weight (c_in, c_out / groups, k_h, k_w)`: its output is `x` and its input the result.
    pub(super) fn transposed(
        name: &str,
        x: [usize; 4],
        weight: [usize; 4],
        config: &ConvTranspose2dConfig,
    ) -> Result<Self> {
        let ([batch, c_in, h, w], [c_weight, c_group, k_h, k_w]) = (x, weight);
        let (s, d, p, groups) = (
            config.stride,
            config.dilation,
            config.padding,
            config.groups,
        );
        let [x_dims, weight_dims] = [x, weight].map(|dims| as_given(name, dims));
        if groups == 0 || c_in % groups != 0 || c_in != c_weight {
            bail!(
                "{name} takes groups of 1 or more that fit x {x_dims:?} and weight {weight_dims:?}, got {groups} groups"
            )
        }
        check_steps(name, s, d, (k_h, k_w), p)?;
        let more = config.output_padding;
        if more.0 >= s.0.max(d.0) || more.1 >= s.1.max(d.1) {
            bail!(
                "{name} needs an output_padding below the stride {s:?} or the dilation {d:?}, got {more:?}"
            )
        }
        let span = |x: usize, cut: usize, k: usize, s: usize, d: usize, more: usize| {
            let full = x.checked_sub(1)? * s + d * (k - 1) + more + 1;
            full.checked_sub(cut).filter(|&size| size > 0)
        };
        let rows = span(h, p.top + p.bottom, k_h, s.0, d.0, more.0);
        let cols = span(w, p.left + p.right, k_w, s.1, d.1, more.1);
        let (Some(rows), Some(cols)) = (rows, cols) else {
            bail!(
                "{name} of x {x_dims:?} with a kernel of ({k_h}, {k_w}) and {config:?} leaves nothing"
            )
        };
        Ok(Self {
            batch,
            c_in: c_group * groups,
            c_out: c_in,
            input: (rows, cols),
            kernel: (k_h, k_w),
            output: (h, w),
            config: Conv2dConfig {
                stride: s,
                padding: p,
                dilation: d,
                groups,
            },
        })
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.config.groups == self.c_in && self.c_out == self.c_in
    }

    /// 1×1 with nothing to unfold. An output padding may leave pixels that no tap reads.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1)
            && self.input == self.output
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

fn check_steps(
    name: &str,
    stride: (usize, usize),
    dilation: (usize, usize),
    kernel: (usize, usize),
    padding: Padding2d,
) -> Result<()> {
    for (what, (rows, columns)) in [
        ("stride", stride),
        ("dilation", dilation),
        ("kernel", kernel),
    ] {
        if rows == 0 || columns == 0 || rows.max(columns) >= LIMIT {
            bail!("{name} needs a {what} of 1 or more and below 2³¹, got ({rows}, {columns})")
        }
    }
    let Padding2d {
        top,
        bottom,
        left,
        right,
    } = padding;
    if [top, bottom, left, right].into_iter().any(|p| p >= LIMIT) {
        bail!("{name} needs a padding below 2³¹, got {padding:?}")
    }
    Ok(())
}

/// The shape that the caller gave: a signal has no height.
fn as_given(name: &str, dims: [usize; 4]) -> Vec<usize> {
    match name.ends_with("1d") {
        true => vec![dims[0], dims[1], dims[3]],
        false => dims.to_vec(),
    }
}

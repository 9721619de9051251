//! Convolution built from candle's ops, for devices without a kernel of ours.
//!
//! candle's own convolution has one padding, one stride, one dilation, a wrong weight gradient on
//! some devices and a quadratic backward with groups. This form needs none of it: the taps are
//! slices of the padded image, multiplied elementwise where every channel is its own group and
//! stacked into one batched matrix product elsewhere.

use candle_core::{D, Result, Tensor};

use super::conv2d::Conv2dConfig;
use super::geometry::Geometry;
use super::padding::Padding2d;

pub(super) fn conv2d(x: &Tensor, weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let taps = taps(x, g)?;
    if g.is_depthwise() {
        depthwise(&taps, weight, g)
    } else {
        grouped(&taps, weight, g)
    }
}

/// The convolution of the input with zeros between its elements, by the kernel turned around, with
/// every output that a tap reaches; of these the padding is cut off.
pub(super) fn conv_transpose2d(x: &Tensor, weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let (s, d, cut) = (g.config.stride, g.config.dilation, g.config.padding);
    let x = spread(&spread(x, 2, s.0)?, 3, s.1)?;
    let weight = turned(weight, g)?;
    let reach = (d.0 * (g.kernel.0 - 1), d.1 * (g.kernel.1 - 1));
    let (h, w) = (x.dim(2)?, x.dim(3)?);
    let config = Conv2dConfig {
        padding: Padding2d {
            top: reach.0,
            bottom: (g.padded().0).saturating_sub(h),
            left: reach.1,
            right: (g.padded().1).saturating_sub(w),
        },
        dilation: d,
        groups: g.config.groups,
        ..Default::default()
    };
    let shape = [g.batch, g.c_out, h, w];
    let full = Geometry::new("conv_transpose2d", shape, dims(&weight)?, &config)?;
    conv2d(&x, &weight, &full)?
        .narrow(2, cut.top, g.input.0)?
        .narrow(3, cut.left, g.input.1)
}

/// `step - 1` zeros between neighbours along `dim`.
fn spread(x: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let size = x.dim(dim)?;
    if step == 1 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[dim] = size * step;
    x.unsqueeze(dim + 1)?
        .pad_with_zeros(dim + 1, 0, step - 1)?
        .reshape(shape)?
        .narrow(dim, 0, (size - 1) * step + 1)
}

/// `(c_out, c_in / groups, k_h, k_w)` with channels exchanged and taps in reverse.
fn turned(weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let (groups, (k_h, k_w)) = (g.config.groups, g.kernel);
    let (rows, cols) = (g.c_out / groups, g.c_in / groups);
    weight
        .reshape((groups, rows, cols, k_h * k_w))?
        .flip(&[3])?
        .transpose(1, 2)?
        .reshape((g.c_in, rows, k_h, k_w))
}

fn dims(x: &Tensor) -> Result<[usize; 4]> {
    x.dims4().map(|(a, b, c, d)| [a, b, c, d])
}

/// For each tap `(n, c_in, h', w')`: what it reads for every output.
fn taps(x: &Tensor, g: &Geometry) -> Result<Vec<Tensor>> {
    let (s, d, p) = (g.config.stride, g.config.dilation, g.config.padding);
    // Room for whole strides behind the last tap, so that a stride is a reshape.
    let need = |k: usize, d: usize, out: usize, s: usize| (k - 1) * d + out * s;
    let rows = need(g.kernel.0, d.0, g.output.0, s.0);
    let cols = need(g.kernel.1, d.1, g.output.1, s.1);
    let x = x
        .pad_with_zeros(2, p.top, rows.saturating_sub(g.input.0 + p.top))?
        .pad_with_zeros(3, p.left, cols.saturating_sub(g.input.1 + p.left))?;
    let mut taps = Vec::with_capacity(g.kernel.0 * g.kernel.1);
    for u in 0..g.kernel.0 {
        let rows = every(&x, 2, u * d.0, g.output.0, s.0)?;
        for v in 0..g.kernel.1 {
            taps.push(every(&rows, 3, v * d.1, g.output.1, s.1)?);
        }
    }
    Ok(taps)
}

/// `count` slices of dimension `dim`, from `start` on, `step` apart.
fn every(x: &Tensor, dim: usize, start: usize, count: usize, step: usize) -> Result<Tensor> {
    let x = x.narrow(dim, start, count * step)?;
    if step == 1 {
        return Ok(x);
    }
    let mut dims = x.dims().to_vec();
    dims[dim] = count;
    dims.insert(dim + 1, step);
    x.contiguous()?
        .reshape(dims)?
        .narrow(dim + 1, 0, 1)?
        .squeeze(dim + 1)
}

fn depthwise(taps: &[Tensor], weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let weight = weight.reshape((g.c_in, taps.len()))?;
    let mut total: Option<Tensor> = None;
    for (i, tap) in taps.iter().enumerate() {
        let w = weight.narrow(1, i, 1)?.reshape((1, g.c_in, 1, 1))?;
        let term = tap.broadcast_mul(&w)?;
        total = Some(match total {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    match total {
        Some(total) => Ok(total),
        None => candle_core::bail!("conv2d with an empty kernel"),
    }
}

fn grouped(taps: &[Tensor], weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let (groups, pixels) = (g.config.groups, g.pixels_out());
    let rows = g.c_in / groups * taps.len();
    // (n, c_in, taps, h', w') → (n, groups, c_in / groups · taps, h'·w')
    let columns = Tensor::stack(taps, 2)?.reshape((g.batch, groups, rows, pixels))?;
    let weight = weight.reshape((1, groups, g.c_out / groups, rows))?;
    let (_, _, out, _) = weight.dims4()?;
    let weight = weight.broadcast_as((g.batch, groups, out, rows))?;
    weight
        .contiguous()?
        .matmul(&columns.contiguous()?)?
        .flatten(1, D::Minus1)?
        .reshape(&g.output_shape())
}

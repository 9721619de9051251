//! Padding of any dimensions by a constant or by the tensor's own elements.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, has_kernel, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// What stands around a padded tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This value.
    Constant(f64),
    /// The tensor mirrored at its first and last element, which are not repeated:
    /// `c b | a b c | b a`. Needs a padding below the size.
    Reflect,
    /// Its first and last element: `a a | a b c | c c`.
    Replicate,
    /// The tensor again: `b c | a b c | a b`. Needs a padding of at most the size.
    Circular,
}

/// Pads the last dimensions, as `torch.nn.functional.pad`.
///
/// `padding` holds (before, after) of the last dimension, then of the one before it, and so on:
/// `(n, c, h, w)` with `[(1, 2), (3, 4)]` → `(n, c, h + 7, w + 3)`. A negative padding cuts off,
/// before the rest is padded. Any number of dimensions may be padded in every mode, where PyTorch's
/// modes besides the constant take the last one to three.
///
/// An error for more pairs than dimensions, a dimension that would be cut to nothing, or a padding
/// that the mode cannot fill.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{PadMode, pad};
/// let x = Tensor::new(&[[1f32, 2., 3.]], &Device::Cpu)?;
/// let y = pad(&x, &[(2, 1)], PadMode::Reflect)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3., 2., 1., 2., 3., 2.]]);
/// let y = pad(&x, &[(-1, 1)], PadMode::Constant(9.))?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2., 3., 9.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn pad(x: &Tensor, padding: &[(isize, isize)], mode: PadMode) -> Result<Tensor> {
    if padding.len() > x.rank() {
        bail!(
            "pad takes a padding of at most {} dimensions of x {:?}, got {}",
            x.rank(),
            x.shape(),
            padding.len()
        )
    }
    let mut axes = vec![];
    for (dim, &size) in x.dims().iter().enumerate() {
        let padding = padding.get(x.rank() - 1 - dim).copied();
        axes.push(sources(dim, size, padding.unwrap_or((0, 0)), mode)?);
    }
    if padding.iter().all(|p| *p == (0, 0)) {
        return Ok(x.clone());
    }
    let fill = match mode {
        PadMode::Constant(fill) => fill,
        _ => 0.,
    };
    if !has_kernel(x) {
        return composed(x, &axes, fill);
    }
    let map = Arc::new(Map::new(x.dims(), axes)?);
    apply(x, map, Way::Pad(fill))
}

/// The element that stands at each place of a padded dimension, `None` for the constant.
fn sources(
    dim: usize,
    size: usize,
    (before, after): (isize, isize),
    mode: PadMode,
) -> Result<Vec<Option<usize>>> {
    if (before, after) == (0, 0) {
        return Ok((0..size).map(Some).collect());
    }
    let cut = |p: isize| if p < 0 { p.unsigned_abs() } else { 0 };
    let (skipped, more) = (cut(before), before.max(0).saturating_add(after.max(0)));
    let kept = size.saturating_sub(skipped.saturating_add(cut(after)));
    let total = kept.saturating_add(more as usize);
    let widest = before.max(after).max(0) as usize;
    let fits = match mode {
        PadMode::Constant(_) | PadMode::Replicate => true,
        PadMode::Reflect => widest < kept,
        PadMode::Circular => widest <= kept,
    };
    if kept == 0 || !fits || total >= 1 << 31 {
        bail!(
            "pad cannot fill ({before}, {after}) around dimension {dim} of {size} elements by {mode:?}"
        )
    }
    let (lead, kept) = (before.max(0), kept as isize);
    let source = |o: usize| {
        let i = o as isize - lead;
        let i = match mode {
            PadMode::Constant(_) if !(0..kept).contains(&i) => return None,
            PadMode::Constant(_) => i,
            PadMode::Replicate => i.clamp(0, kept - 1),
            PadMode::Circular => i.rem_euclid(kept),
            PadMode::Reflect => (kept - 1) - (kept - 1 - i.abs()).abs(),
        };
        Some(i as usize + skipped)
    };
    Ok((0..total).map(source).collect())
}

fn composed(x: &Tensor, axes: &[Vec<Option<usize>>], fill: f64) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for (dim, axis) in axes.iter().enumerate() {
        let places = axis.iter().enumerate();
        if axis.len() == y.dim(dim)? && places.clone().all(|(i, s)| *s == Some(i)) {
            continue;
        }
        let index: Vec<u32> = axis.iter().map(|s| s.unwrap_or(0) as u32).collect();
        y = y.index_select(&Tensor::new(index, x.device())?, dim)?;
        if axis.contains(&None) {
            let inside: Vec<u8> = axis.iter().map(|s| u8::from(s.is_some())).collect();
            let mut shape = vec![1; y.rank()];
            shape[dim] = inside.len();
            let inside = Tensor::from_vec(inside, shape, x.device())?;
            let outside = y.zeros_like()?.affine(0., fill)?;
            y = inside.broadcast_as(y.shape())?.where_cond(&y, &outside)?;
        }
    }
    Ok(y)
}

/// Which element of the input stands at each place of the result, row by row.
struct Map {
    input: Vec<usize>,
    output: Vec<usize>,
    /// The row of the input in each row of the result.
    rows: Vec<Option<usize>>,
    /// The rows of the result in each row of the input: those of row `i` start at `start[i]`.
    start: Vec<usize>,
    users: Vec<usize>,
    /// The places around the run of the last dimension that is as it is in the input.
    columns: Vec<Option<usize>>,
    /// Where that run starts in the result and in the input, and its length.
    run: (usize, usize, usize),
}

impl Map {
    fn new(dims: &[usize], mut axes: Vec<Vec<Option<usize>>>) -> Result<Self> {
        let output = axes.iter().map(Vec::len).collect();
        let Some(columns) = axes.pop() else {
            bail!("pad of a scalar")
        };
        let mut rows = vec![Some(0)];
        for (axis, size) in axes.iter().zip(dims) {
            let inner = |row: Option<usize>| {
                let place = move |s: &Option<usize>| Some(row? * size + (*s)?);
                axis.iter().map(place)
            };
            rows = rows.into_iter().flat_map(inner).collect();
        }
        let count = dims[..axes.len()].iter().product();
        let (start, users) = users(&rows, count);
        Ok(Self {
            input: dims.to_vec(),
            output,
            rows,
            start,
            users,
            run: run(&columns),
            columns,
        })
    }

    fn width(&self) -> usize {
        self.input.last().copied().unwrap_or(1)
    }

    /// The places of the last dimension outside of the run.
    fn borders(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        let (to, _, length) = self.run;
        let places = self.columns.iter().copied().enumerate();
        let (before, after) = (places.clone().take(to), places.skip(to + length));
        before.chain(after)
    }

    fn pad<T: Scalar>(&self, x: &[T], fill: f64) -> Vec<T> {
        let (fill, w, ow) = (T::from_f64(fill), self.width(), self.columns.len());
        let mut y = vec![fill; self.output.iter().product()];
        let (to, from, length) = self.run;
        y.par_chunks_exact_mut(ow.max(1))
            .zip(&self.rows)
            .with_min_len((GRAIN / ow.max(1)).max(1))
            .for_each(|(y, row)| {
                let Some(row) = row else { return };
                let x = &x[row * w..][..w];
                y[to..to + length].copy_from_slice(&x[from..from + length]);
                for (o, source) in self.borders() {
                    y[o] = source.map_or(fill, |i| x[i]);
                }
            });
        y
    }

    /// Each element of the input gets the sum over the places where it stands.
    fn fold<T: Scalar>(&self, dy: &[T]) -> Vec<T> {
        let (w, ow) = (self.width(), self.columns.len());
        let mut dx = cleared(self.input.iter().product());
        let (to, from, length) = self.run;
        dx.par_chunks_exact_mut(w.max(1))
            .enumerate()
            .with_min_len((GRAIN / w.max(1)).max(1))
            .for_each(|(i, dx)| {
                for row in &self.users[self.start[i]..self.start[i + 1]] {
                    let dy = &dy[row * ow..][..ow];
                    let inside = dx[from..from + length].iter_mut();
                    for (dx, dy) in inside.zip(&dy[to..to + length]) {
                        *dx += *dy;
                    }
                    for (o, source) in self.borders() {
                        if let Some(i) = source {
                            dx[i] += dy[o];
                        }
                    }
                }
            });
        dx
    }
}

/// The inverse of `rows`, in the order of the result.
fn users(rows: &[Option<usize>], count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut start = vec![0; count + 1];
    for &row in rows.iter().flatten() {
        start[row + 1] += 1;
    }
    for i in 0..count {
        start[i + 1] += start[i];
    }
    let mut next = start.clone();
    let mut users = vec![0; start[count]];
    for (o, row) in rows.iter().enumerate() {
        if let Some(row) = *row {
            users[next[row]] = o;
            next[row] += 1;
        }
    }
    (start, users)
}

/// The longest stretch of places whose elements follow one another.
fn run(columns: &[Option<usize>]) -> (usize, usize, usize) {
    let mut longest = (0, 0, 0);
    let mut current = (0, 0, 0);
    for (o, source) in columns.iter().enumerate() {
        current = match *source {
            Some(i) if current.2 > 0 && i == current.1 + current.2 => {
                (current.0, current.1, current.2 + 1)
            }
            Some(i) => (o, i, 1),
            None => (0, 0, 0),
        };
        if current.2 > longest.2 {
            longest = current;
        }
    }
    longest
}

#[derive(Clone, Copy)]
enum Way {
    Pad(f64),
    Fold,
}

fn apply(x: &Tensor, map: Arc<Map>, way: Way) -> Result<Tensor> {
    let op = Apply {
        map: map.clone(),
        way,
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |_, _, dy| {
        Ok(vec![Some(apply(dy, map.clone(), way.back())?)])
    }))
}

impl Way {
    fn back(self) -> Self {
        match self {
            Self::Pad(_) => Self::Fold,
            Self::Fold => Self::Pad(0.),
        }
    }
}

struct Apply {
    map: Arc<Map>,
    way: Way,
}

impl Apply {
    fn run<T: Scalar>(&self, x: &[T], way: Way) -> (Vec<T>, Vec<usize>) {
        match way {
            Way::Pad(fill) => (self.map.pad(x, fill), self.map.output.clone()),
            Way::Fold => (self.map.fold(x), self.map.input.clone()),
        }
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.run::<T>(slice(s, l)?, self.way);
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let run = |dy: &[T]| Ok(self.run(dy, self.way.back()));
        let (dx, shape) = read::<T, _>(dy, run)?;
        tensor(dx, shape)
    }
}

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "pad", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "pad", self.backward::<T>(dy)).map(Some)
    }
}

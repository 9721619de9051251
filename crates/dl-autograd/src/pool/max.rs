//! The largest element of every window.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::pick::{Places, route};
use super::window::{Window, as_rows, image};
use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, has_kernel, slice};
use crate::no_grad::operand;
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// The windows of [`max_pool2d`], in (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2dConfig {
    /// Size of a window, each `≥ 1`. Default `(2, 2)`.
    pub kernel: (usize, usize),
    /// Distance of two windows, each `≥ 1`. Default `None`: the kernel.
    pub stride: Option<(usize, usize)>,
    /// How far windows may start before the image and end behind it, at most half the kernel.
    /// Default `(0, 0)`.
    pub padding: (usize, usize),
    /// Distance of the elements of a window, each `≥ 1`. Default `(1, 1)`.
    pub dilation: (usize, usize),
    /// Whether a last window that is not full counts. Default `false`.
    pub ceil_mode: bool,
}

impl Default for MaxPool2dConfig {
    fn default() -> Self {
        Self {
            kernel: (2, 2),
            stride: None,
            padding: (0, 0),
            dilation: (1, 1),
            ceil_mode: false,
        }
    }
}

impl MaxPool2dConfig {
    fn windows(&self) -> [Window; 2] {
        let stride = self.stride.unwrap_or(self.kernel);
        let window = |kernel, stride, padding, dilation| Window {
            kernel,
            stride,
            padding,
            dilation,
            ceil_mode: self.ceil_mode,
        };
        let (k, p, d) = (self.kernel, self.padding, self.dilation);
        [
            window(k.0, stride.0, p.0, d.0),
            window(k.1, stride.1, p.1, d.1),
        ]
    }
}

/// The windows of [`max_pool1d`], as those of [`MaxPool2dConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool1dConfig {
    /// Size of a window, `≥ 1`. Default `2`.
    pub kernel: usize,
    /// Distance of two windows, `≥ 1`. Default `None`: the kernel.
    pub stride: Option<usize>,
    /// How far windows may start before the input and end behind it, at most half the kernel.
    /// Default `0`.
    pub padding: usize,
    /// Distance of the elements of a window, `≥ 1`. Default `1`.
    pub dilation: usize,
    /// Whether a last window that is not full counts. Default `false`.
    pub ceil_mode: bool,
}

impl Default for MaxPool1dConfig {
    fn default() -> Self {
        Self {
            kernel: 2,
            stride: None,
            padding: 0,
            dilation: 1,
            ceil_mode: false,
        }
    }
}

/// The largest element of every window of every plane, as `torch.nn.functional.max_pool2d`.
///
/// `(n, c, h, w)` → `(n, c, h', w')`
///
/// ```text
/// y[i, j] = max x[i·s + a·d − p, j·s + b·d − p]     over a, b < k and inside the image
/// h' = ⌊(h + 2p − d·(k − 1) − 1) / s⌋ + 1
/// ```
///
/// The whole gradient of a window goes to its first largest element; a NaN is the largest (candle's
/// own gradient is scaled by `1/k²` and refused for windows that overlap). With `ceil_mode` the
/// quotient is rounded up, and a window that would start behind the image is dropped. An error for
/// another rank, a padding above half the kernel, or a window without an element of the image.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{MaxPool2dConfig, max_pool2d};
/// let x = Tensor::new(&[[[[1f32, 2., 0.], [3., 6., 7.], [4., 5., 9.]]]], &Device::Cpu)?;
/// let config = MaxPool2dConfig { stride: Some((1, 1)), ..Default::default() };
/// let y = max_pool2d(&x, &config)?.squeeze(0)?.squeeze(0)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[6., 7.], [6., 9.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool2d(x: &Tensor, config: &MaxPool2dConfig) -> Result<Tensor> {
    pool("max_pool2d", x, config)
}

/// [`max_pool2d`] of `(n, c, l)` → `(n, c, l')`, as `torch.nn.functional.max_pool1d`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{MaxPool1dConfig, max_pool1d};
/// let x = Tensor::new(&[[[1f32, 2., 0., 3., 5.]]], &Device::Cpu)?;
/// let y = max_pool1d(&x, &MaxPool1dConfig { ceil_mode: true, ..Default::default() })?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 3., 5.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool1d(x: &Tensor, config: &MaxPool1dConfig) -> Result<Tensor> {
    let image = MaxPool2dConfig {
        kernel: (1, config.kernel),
        stride: config.stride.map(|s| (1, s)),
        padding: (0, config.padding),
        dilation: (1, config.dilation),
        ceil_mode: config.ceil_mode,
    };
    as_rows("max_pool1d", x, |x| pool("max_pool1d", x, &image))
}

fn pool(op: &str, x: &Tensor, config: &MaxPool2dConfig) -> Result<Tensor> {
    let dims = image(op, x)?;
    let [rows, columns] = config.windows();
    let rows = Axis::regular(op, rows, dims[2])?;
    let columns = Axis::regular(op, columns, dims[3])?;
    largest(op, x, rows, columns)
}

/// The windows along one axis.
pub(super) struct Axis {
    size: usize,
    /// The elements of every window, in order and never none.
    elements: Vec<Vec<usize>>,
    /// What all windows have in common, unless they are adaptive.
    window: Option<Window>,
}

impl Axis {
    fn regular(op: &str, window: Window, size: usize) -> Result<Self> {
        let count = window.count(op, size)?;
        let of = |o| window.elements(o, size).collect();
        let axis = Self::adaptive(size, (0..count).map(of).collect());
        match axis.elements.iter().position(Vec::is_empty) {
            Some(o) => bail!("{op}: window {o} lies wholly in the padding around {size} elements"),
            None => Ok(Self {
                window: Some(window),
                ..axis
            }),
        }
    }

    pub(super) fn adaptive(size: usize, elements: Vec<Vec<usize>>) -> Self {
        Self {
            size,
            elements,
            window: None,
        }
    }
}

/// The largest element of every window; `rows` and `columns` fit `x (n, c, h, w)`.
pub(super) fn largest(op: &str, x: &Tensor, rows: Axis, columns: Axis) -> Result<Tensor> {
    let &[n, c, h, w] = x.dims() else {
        bail!("{op} takes (n, c, h, w), got {:?}", x.shape())
    };
    if u32::try_from(h * w).is_err() {
        bail!("{op} takes planes of fewer than 2³² elements, got {h} by {w}")
    }
    let places = Places {
        at: Arc::default(),
        input: [n, c, h, w],
        output: [n, c, rows.elements.len(), columns.elements.len()],
    };
    if !has_kernel(x) {
        return composed(x, &places, &rows, &columns);
    }
    let op = MaxPool {
        places: places.clone(),
        keep: operand(x).track_op(),
        rows,
        columns,
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |_, _, dy| {
        Ok(vec![Some(route(dy, places.clone(), true)?)])
    }))
}

/// Every window as a row of its elements, of which one is gathered: candle's `gather` has the right
/// gradient and its `max` has not.
fn composed(x: &Tensor, places: &Places, rows: &Axis, columns: &Axis) -> Result<Tensor> {
    let [n, c, h, w] = places.input;
    let windows = rows.elements.len() * columns.elements.len();
    let (table, taps) = table(rows, columns);
    let table = Tensor::new(table, x.device())?;
    let planes = x.contiguous()?.reshape((n, c, h * w))?;
    let elements = planes.detach().index_select(&table, 2)?;
    let choice = choose(&elements.reshape((n, c, windows, taps))?)?;
    let table = table.reshape((1, 1, windows, taps))?;
    let table = table.broadcast_as((n, c, windows, taps))?.contiguous()?;
    let at = table.gather(&choice, 3)?.squeeze(3)?;
    planes.gather(&at, 2)?.reshape(places.output.as_slice())
}

/// The places of every window's elements, the first repeated up to the size of the largest window.
fn table(rows: &Axis, columns: &Axis) -> (Vec<u32>, usize) {
    let largest = |axis: &Axis| axis.elements.iter().map(Vec::len).max().unwrap_or(0);
    let taps = largest(rows) * largest(columns);
    let mut table = vec![];
    for ys in &rows.elements {
        for xs in &columns.elements {
            let place = |y: usize| xs.iter().map(move |x| (y * columns.size + x) as u32);
            let window: Vec<u32> = ys.iter().flat_map(|&y| place(y)).collect();
            let spare = std::iter::repeat_n(window[0], taps - window.len());
            table.extend(window.iter().copied().chain(spare));
        }
    }
    (table, taps)
}

/// The first largest of the last dimension, or the last NaN, as PyTorch's loop finds it.
fn choose(x: &Tensor) -> Result<Tensor> {
    let taps = x.dim(D::Minus1)?;
    let device = x.device();
    let count = |from: usize| -> Vec<f32> { (0..taps).map(|j| (from + j) as f32).collect() };
    // Distinct scores, so that it does not matter which of equals `argmax` takes.
    let falling: Vec<f32> = count(1).into_iter().rev().collect();
    let falling = Tensor::new(falling, device)?.broadcast_as(x.shape())?;
    let beyond = Tensor::new(count(taps + 1), device)?.broadcast_as(x.shape())?;
    let max = x.max_keepdim(D::Minus1)?.broadcast_as(x.shape())?;
    let score = (x.eq(&max)?.to_dtype(DType::F32)? * falling)?;
    x.ne(x)?
        .where_cond(&beyond, &score)?
        .argmax_keepdim(D::Minus1)
}

struct MaxPool {
    places: Places,
    keep: bool,
    rows: Axis,
    columns: Axis,
}

impl MaxPool {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, [_, _, h, w]) = (slice::<T>(s, l)?, self.places.input);
        let [n, c, oh, ow] = self.places.output;
        let mut y = cleared(n * c * oh * ow);
        let mut at = vec![0u32; if self.keep { y.len() } else { 0 }];
        let scan = Scan::new(&self.rows, &self.columns);
        let planes = y
            .par_chunks_exact_mut(oh * ow)
            .zip(x.par_chunks_exact(h * w));
        let grain = (GRAIN / (h * w)).max(1);
        if self.keep {
            planes
                .zip(at.par_chunks_exact_mut(oh * ow))
                .with_min_len(grain)
                .for_each(|((y, x), at)| {
                    dispatch(Plane {
                        x,
                        y,
                        at,
                        scan: &scan,
                    })
                });
            // A custom op runs once; a second run would find the same places.
            let _ = self.places.at.set(at);
        } else {
            planes.with_min_len(grain).for_each_init(
                || vec![0; oh * ow],
                |at, (y, x)| {
                    dispatch(Plane {
                        x,
                        y,
                        at,
                        scan: &scan,
                    })
                },
            );
        }
        Ok((
            T::to_cpu_storage_owned(y),
            self.places.output.to_vec().into(),
        ))
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "max_pool", self.forward::<T>(s, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let places = &self.places;
        by_dtype!(x.dtype(), "max_pool", places.backward::<T>(dy)).map(Some)
    }
}

/// Windows below which a row has no block.
const BLOCK: usize = 4;

/// The order in which a plane is looked at.
struct Scan<'a> {
    rows: &'a Axis,
    columns: &'a Axis,
    /// The first column of each window.
    first: Vec<u32>,
    /// The stride and the elements of regular windows.
    regular: Option<(usize, Vec<Span>)>,
}

/// The windows `lo..hi` have their `k`-th column in the image, the first of them at column `from`.
struct Span {
    lo: usize,
    hi: usize,
    from: usize,
}

impl<'a> Scan<'a> {
    fn new(rows: &'a Axis, columns: &'a Axis) -> Self {
        let spans = |window: Window| {
            let span = |k| {
                let (lo, hi) = window.span(k, columns.size, columns.elements.len());
                let from = lo * window.stride + k * window.dilation;
                (lo < hi).then(|| Span {
                    lo,
                    hi,
                    from: from - window.padding,
                })
            };
            (0..window.kernel).filter_map(span).collect()
        };
        Self {
            rows,
            columns,
            first: columns.elements.iter().map(|e| e[0] as u32).collect(),
            regular: columns.window.map(|w| (w.stride, spans(w))),
        }
    }
}

struct Plane<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    at: &'a mut [u32],
    scan: &'a Scan<'a>,
}

impl<T: Scalar> Kernel for Plane<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.scan.inside() {
            Some((1, spans)) => self.blocks::<1>(spans),
            Some((2, spans)) => self.blocks::<2>(spans),
            Some((3, spans)) => self.blocks::<3>(spans),
            _ => self.rows(),
        }
    }
}

impl<T: Scalar> Plane<'_, T> {
    #[inline(always)]
    fn rows(self) {
        let (scan, w) = (self.scan, self.scan.columns.size);
        let ow = scan.first.len();
        let outputs = self.y.chunks_exact_mut(ow);
        let outputs = outputs.zip(self.at.chunks_exact_mut(ow));
        for ((y, at), rows) in outputs.zip(&scan.rows.elements) {
            y.fill(T::neg_infinity());
            for (at, first) in at.iter_mut().zip(&scan.first) {
                *at = (rows[0] * w) as u32 + first;
            }
            for &row in rows {
                let x = &self.x[row * w..][..w];
                match &scan.regular {
                    Some((stride, spans)) => regular(x, row * w, y, at, *stride, spans),
                    None => adaptive(x, row * w, y, at, &scan.columns.elements),
                }
            }
        }
    }

    /// The windows of a row in blocks as wide as it allows, the last of which ends with the row.
    #[inline(always)]
    fn blocks<const STRIDE: usize>(self, spans: &[Span]) {
        match self.scan.first.len() {
            0..BLOCK => self.rows(),
            BLOCK..8 => self.blocks_of::<BLOCK, STRIDE>(spans),
            8..16 => self.blocks_of::<8, STRIDE>(spans),
            _ => self.blocks_of::<16, STRIDE>(spans),
        }
    }

    #[inline(always)]
    fn blocks_of<const N: usize, const STRIDE: usize>(self, spans: &[Span]) {
        let (w, ow) = (self.scan.columns.size, self.scan.first.len());
        let outputs = self.y.chunks_exact_mut(ow);
        let outputs = outputs.zip(self.at.chunks_exact_mut(ow));
        for ((y, at), rows) in outputs.zip(&self.scan.rows.elements) {
            for first in (0..ow).step_by(N) {
                let first = first.min(ow - N);
                let starts = rows.iter().map(|row| row * w + first * STRIDE);
                let (best, place) = block::<T, N, STRIDE>(self.x, starts, spans);
                y[first..first + N].copy_from_slice(&best);
                at[first..first + N].copy_from_slice(&place);
            }
        }
    }
}

impl Scan<'_> {
    /// Stride and elements of windows that lie wholly in the image.
    fn inside(&self) -> Option<(usize, &[Span])> {
        let (stride, spans) = self.regular.as_ref()?;
        let whole = |span: &Span| (span.lo, span.hi) == (0, self.first.len());
        spans.iter().all(whole).then_some((*stride, spans))
    }
}

/// The largest elements of `N` windows beside each other, and where they are. The first window starts in
/// each of its rows at one of `starts`.
#[inline(always)]
fn block<T: Scalar, const N: usize, const STRIDE: usize>(
    x: &[T],
    starts: impl Iterator<Item = usize>,
    spans: &[Span],
) -> ([T; N], [u32; N]) {
    let (mut best, mut at) = ([T::neg_infinity(); N], [0; N]);
    for (tap, start) in starts
        .flat_map(|row| spans.iter().map(move |span| row + span.from))
        .enumerate()
    {
        let x = every::<T, N, STRIDE>(&x[start..]);
        let place: [u32; N] = std::array::from_fn(|i| (start + i * STRIDE) as u32);
        if tap == 0 {
            at = place;
        }
        for i in 0..N {
            update(x[i], place[i], &mut best[i], &mut at[i]);
        }
    }
    (best, at)
}

/// Every `STRIDE`-th element.
#[inline(always)]
fn every<T: Scalar, const N: usize, const STRIDE: usize>(x: &[T]) -> [T; N] {
    match x.as_chunks::<STRIDE>().0.first_chunk::<N>() {
        Some(groups) => groups.map(|group| group[0]),
        None => std::array::from_fn(|i| x[i * STRIDE]),
    }
}

/// All windows at once, one column of each at a time: the loop over windows is the vector.
#[inline(always)]
fn regular<T: Scalar>(
    x: &[T],
    start: usize,
    y: &mut [T],
    at: &mut [u32],
    stride: usize,
    spans: &[Span],
) {
    for &Span { lo, hi, from } in spans {
        let (y, at) = (&mut y[lo..hi], &mut at[lo..hi]);
        let (x, place) = (&x[from..], (start + from) as u32);
        match stride {
            1 => along::<T, 1>(x, place, y, at),
            2 => along::<T, 2>(x, place, y, at),
            3 => along::<T, 3>(x, place, y, at),
            _ => {
                for (i, (y, at)) in y.iter_mut().zip(at).enumerate() {
                    update(x[i * stride], place + (i * stride) as u32, y, at);
                }
            }
        }
    }
}

#[inline(always)]
fn along<T: Scalar, const STRIDE: usize>(x: &[T], place: u32, y: &mut [T], at: &mut [u32]) {
    let (groups, rest) = x.as_chunks::<STRIDE>();
    let whole = groups.len().min(y.len());
    let (y, last_y) = y.split_at_mut(whole);
    let (at, last_at) = at.split_at_mut(whole);
    for (i, ((y, at), x)) in y.iter_mut().zip(at).zip(groups).enumerate() {
        update(x[0], place + (i * STRIDE) as u32, y, at);
    }
    if let ([y, ..], [at, ..], [x, ..]) = (last_y, last_at, rest) {
        update(*x, place + (whole * STRIDE) as u32, y, at);
    }
}

#[inline(always)]
fn adaptive<T: Scalar>(x: &[T], start: usize, y: &mut [T], at: &mut [u32], windows: &[Vec<usize>]) {
    for ((y, at), window) in y.iter_mut().zip(at).zip(windows) {
        for &i in window {
            update(x[i], (start + i) as u32, y, at);
        }
    }
}

#[inline(always)]
fn update<T: Scalar>(x: T, place: u32, y: &mut T, at: &mut u32) {
    let larger = x > *y || x.is_nan();
    *y = if larger { x } else { *y };
    *at = if larger { place } else { *at };
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};

    use super::{MaxPool2dConfig, max_pool2d};

    /// Few different values, so that many are equal, and a NaN now and then.
    fn value(i: usize) -> f64 {
        match i * 7919 % 101 {
            0 => f64::NAN,
            n => (n % 5) as f64,
        }
    }

    /// The place of the last NaN, or else of the first largest element.
    fn place(x: &[f64], start: usize, window: impl Iterator<Item = usize>) -> usize {
        window.fold(start, |best, at| match x[at] > x[best] || x[at].is_nan() {
            true => at,
            false => best,
        })
    }

    fn check(width: usize, kernel: usize, stride: usize) -> Result<()> {
        let height = kernel + 2 * stride;
        let x: Vec<f64> = (0..height * width).map(value).collect();
        let config = MaxPool2dConfig {
            kernel: (kernel, kernel),
            stride: Some((stride, stride)),
            ..Default::default()
        };
        let var = Var::from_vec(x.clone(), (1, 1, height, width), &Device::Cpu)?;
        let y = max_pool2d(&var, &config)?;
        let grads = y.backward()?;
        let dx = grads.get(&var).map(Tensor::flatten_all).transpose()?;
        let dx: Option<Vec<f64>> = dx.map(|dx| dx.to_vec1()).transpose()?;

        let columns = (width - kernel) / stride + 1;
        let mut wanted = (vec![], vec![0.; x.len()]);
        for (row, column) in (0..3).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let start = row * stride * width + column * stride;
            let window = (0..kernel * kernel).map(|t| start + t / kernel * width + t % kernel);
            let at = place(&x, start, window);
            wanted.0.push(x[at]);
            wanted.1[at] += 1.;
        }
        let bits = |x: Vec<f64>| x.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        let case = format!("{width} wide, kernel {kernel}, stride {stride}");
        assert_eq!(bits(y.flatten_all()?.to_vec1()?), bits(wanted.0), "{case}");
        assert_eq!(dx, Some(wanted.1), "{case}");
        Ok(())
    }

    #[test]
    fn windows_of_every_width_are_those_of_the_definition() -> Result<()> {
        for kernel in 1..4 {
            for stride in 1..5 {
                (kernel..70).try_for_each(|width| check(width, kernel, stride))?;
            }
        }
        Ok(())
    }
}

//! Linear maps of images that work along the rows and the columns one after the other.
//!
//! Average pools and resampling are such maps: `Y = R X Cᵀ` with two sparse matrices whose rows are
//! the weights of a few inputs. Their gradient is the map with both matrices transposed.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, has_kernel, read, slice, tensor};
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// A sparse matrix `(outputs, inputs)`: the inputs and weights that each output sums.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    inputs: usize,
    /// Where the taps of output `o` start; one more entry ends the last.
    start: Vec<usize>,
    index: Vec<usize>,
    weight: Vec<f64>,
}

impl Taps {
    pub(crate) fn new(inputs: usize, outputs: impl Iterator<Item = Vec<(usize, f64)>>) -> Self {
        let mut taps = Self {
            inputs,
            start: vec![0],
            index: vec![],
            weight: vec![],
        };
        for output in outputs {
            taps.index.extend(output.iter().map(|tap| tap.0));
            taps.weight.extend(output.iter().map(|tap| tap.1));
            taps.start.push(taps.index.len());
        }
        taps
    }

    /// Each output is the input of the same place.
    pub(crate) fn identity(size: usize) -> Self {
        Self::new(size, (0..size).map(|i| vec![(i, 1.)]))
    }

    pub(crate) fn outputs(&self) -> usize {
        self.start.len() - 1
    }

    fn of(&self, output: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.start[output]..self.start[output + 1];
        self.index[range.clone()]
            .iter()
            .copied()
            .zip(self.weight[range].iter().copied())
    }

    fn transposed(&self) -> Self {
        let mut rows = vec![vec![]; self.inputs];
        for output in 0..self.outputs() {
            for (input, weight) in self.of(output) {
                rows[input].push((output, weight));
            }
        }
        Self::new(self.outputs(), rows.into_iter())
    }

    /// How many taps every output has, if all have as many.
    fn uniform(&self) -> Option<usize> {
        let count = self.start.get(1).copied()?;
        let same = self.start.windows(2).all(|s| s[1] - s[0] == count);
        same.then_some(count)
    }

    fn is_identity(&self) -> bool {
        let place = |(i, (&index, &weight)): (usize, (&usize, &f64))| index == i && weight == 1.;
        self.inputs == self.outputs()
            && self.uniform() == Some(1)
            && self.index.iter().zip(&self.weight).enumerate().all(place)
    }

    /// The same map of a dimension of `x` out of candle's operations.
    fn composed(&self, x: &Tensor, dim: usize) -> Result<Tensor> {
        if self.is_identity() {
            return Ok(x.clone());
        }
        let longest = self.start.windows(2).map(|s| s[1] - s[0]).max();
        let width = longest.unwrap_or(0).max(1);
        let (mut index, mut weight, mut used) = (vec![], vec![], vec![]);
        for output in 0..self.outputs() {
            let taps: Vec<_> = self.of(output).collect();
            let spare = (taps.first().map_or(0, |tap| tap.0), 0.);
            for i in 0..width {
                let (input, w) = taps.get(i).copied().unwrap_or(spare);
                index.push(input as u32);
                weight.push(w);
                used.push(u8::from(i < taps.len()));
            }
        }
        let (full, device) = (self.split(x, dim, width), x.device());
        let mut shape = vec![1; full.len()];
        (shape[dim], shape[dim + 1]) = (self.outputs(), width);
        let index = Tensor::new(index, device)?;
        let weight = Tensor::from_vec(weight, shape.as_slice(), device)?.to_dtype(x.dtype())?;
        let mut terms = x.index_select(&index, dim)?.reshape(full.as_slice())?;
        terms = terms.broadcast_mul(&weight)?;
        // A spare tap may have met an infinity, which a weight of 0 does not remove.
        if used.contains(&0) {
            let used = Tensor::from_vec(used, shape, device)?.broadcast_as(full)?;
            terms = used.where_cond(&terms, &terms.zeros_like()?)?;
        }
        terms.sum(dim + 1)
    }

    fn split(&self, x: &Tensor, dim: usize, width: usize) -> Vec<usize> {
        let mut full = x.dims().to_vec();
        full[dim] = self.outputs();
        full.insert(dim + 1, width);
        full
    }
}

/// A map of the last two dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Separable {
    pub(crate) rows: Taps,
    pub(crate) columns: Taps,
}

/// `(n, c, h, w)` → `(n, c, rows, columns)`.
pub(crate) fn separable(x: &Tensor, map: Separable) -> Result<Tensor> {
    if !has_kernel(x) {
        let y = map.columns.composed(&x.contiguous()?, 3)?;
        return map.rows.composed(&y, 2);
    }
    let transposed = Separable {
        rows: map.rows.transposed(),
        columns: map.columns.transposed(),
    };
    apply_both(x, Arc::new(map), Arc::new(transposed))
}

fn apply_both(x: &Tensor, map: Arc<Separable>, transposed: Arc<Separable>) -> Result<Tensor> {
    let op = Apply {
        map: map.clone(),
        transposed: transposed.clone(),
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |_, _, dy| {
        let dx = apply_both(dy, transposed.clone(), map.clone())?;
        Ok(vec![Some(dx)])
    }))
}

struct Apply {
    map: Arc<Separable>,
    transposed: Arc<Separable>,
}

impl Apply {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.map.shape(l.dims());
        let y = self.map.apply::<T>(slice(s, l)?);
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let dx = read::<T, _>(dy, |dy| Ok(self.transposed.apply(dy)))?;
        tensor(dx, self.transposed.shape(dy.dims()))
    }
}

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "separable"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "separable", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "separable", self.backward::<T>(dy)).map(Some)
    }
}

impl Separable {
    fn shape(&self, x: &[usize]) -> Vec<usize> {
        let leading = &x[..x.len() - 2];
        [leading, &[self.rows.outputs(), self.columns.outputs()]].concat()
    }

    fn apply<T: Scalar>(&self, x: &[T]) -> Vec<T> {
        let (rows, columns) = (Weighted::new(&self.rows), Weighted::new(&self.columns));
        let input = self.rows.inputs * self.columns.inputs;
        let output = self.rows.outputs() * self.columns.outputs();
        let planes = x.len().checked_div(input).unwrap_or(0);
        let mut y = cleared(planes * output);
        if y.is_empty() {
            return y;
        }
        // Few rows go through the columns, which are the slower half.
        let rows_first = self.rows.outputs() <= self.rows.inputs;
        let scratch = match rows_first {
            true => self.columns.inputs,
            false => self.rows.inputs * self.columns.outputs(),
        };
        y.par_chunks_exact_mut(output)
            .zip(x.par_chunks_exact(input))
            .with_min_len((GRAIN / input.max(output)).max(1))
            .for_each_init(
                || vec![T::zero(); scratch],
                |scratch, (y, x)| {
                    dispatch(Plane {
                        x,
                        y,
                        scratch,
                        rows: &rows,
                        columns: &columns,
                        rows_first,
                    })
                },
            );
        y
    }
}

/// Taps with the weights in the type of the image.
struct Weighted<'a, T> {
    taps: &'a Taps,
    weight: Vec<T>,
    uniform: Option<usize>,
}

impl<'a, T: Scalar> Weighted<'a, T> {
    fn new(taps: &'a Taps) -> Self {
        Self {
            taps,
            weight: taps.weight.iter().map(|&w| T::from_f64(w)).collect(),
            uniform: taps.uniform(),
        }
    }

    #[inline(always)]
    fn of(&self, output: usize) -> (&[usize], &[T]) {
        let range = self.taps.start[output]..self.taps.start[output + 1];
        (&self.taps.index[range.clone()], &self.weight[range])
    }

    /// Output `o` of the map down the columns, for rows of `width`.
    #[inline(always)]
    fn down<const FMA: bool>(&self, o: usize, x: &[T], width: usize, y: &mut [T]) {
        let (index, weight) = self.of(o);
        let row = |i: usize| &x[i * width..][..width];
        match (index, weight) {
            ([], _) | (_, []) => y.fill(T::zero()),
            ([i], [w]) => {
                for (y, x) in y.iter_mut().zip(row(*i)) {
                    *y = *x * *w;
                }
            }
            ([i, j, index @ ..], [v, w, weight @ ..]) => {
                for ((y, a), b) in y.iter_mut().zip(row(*i)).zip(row(*j)) {
                    *y = b.multiply_add::<FMA>(*w, *a * *v);
                }
                for (i, w) in index.iter().zip(weight) {
                    for (y, x) in y.iter_mut().zip(row(*i)) {
                        *y = x.multiply_add::<FMA>(*w, *y);
                    }
                }
            }
            _ => {}
        }
    }

    /// The map along one row.
    #[inline(always)]
    fn along<const FMA: bool>(&self, x: &[T], y: &mut [T]) {
        match self.uniform {
            Some(1) => self.along_uniform::<1, FMA>(x, y),
            Some(2) => self.along_uniform::<2, FMA>(x, y),
            Some(3) => self.along_uniform::<3, FMA>(x, y),
            Some(4) => self.along_uniform::<4, FMA>(x, y),
            _ => {
                for (o, y) in y.iter_mut().enumerate() {
                    let (index, weight) = self.of(o);
                    let terms = index.iter().zip(weight);
                    *y = terms.fold(T::zero(), |y, (&i, &w)| x[i].multiply_add::<FMA>(w, y));
                }
            }
        }
    }

    #[inline(always)]
    fn along_uniform<const N: usize, const FMA: bool>(&self, x: &[T], y: &mut [T]) {
        let taps = self.taps.index.as_chunks::<N>().0.iter();
        let weights = self.weight.as_chunks::<N>().0;
        for ((y, index), weight) in y.iter_mut().zip(taps).zip(weights) {
            let mut sum = x[index[0]] * weight[0];
            for i in 1..N {
                sum = x[index[i]].multiply_add::<FMA>(weight[i], sum);
            }
            *y = sum;
        }
    }
}

struct Plane<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    scratch: &'a mut [T],
    rows: &'a Weighted<'a, T>,
    columns: &'a Weighted<'a, T>,
    rows_first: bool,
}

impl<T: Scalar> Kernel for Plane<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (rows, columns) = (self.rows, self.columns);
        let (w, ow) = (columns.taps.inputs, columns.taps.outputs());
        if self.rows_first {
            for (o, y) in self.y.chunks_exact_mut(ow).enumerate() {
                rows.down::<FMA>(o, self.x, w, self.scratch);
                columns.along::<FMA>(self.scratch, y);
            }
            return;
        }
        for (x, t) in self
            .x
            .chunks_exact(w)
            .zip(self.scratch.chunks_exact_mut(ow))
        {
            columns.along::<FMA>(x, t);
        }
        for (o, y) in self.y.chunks_exact_mut(ow).enumerate() {
            rows.down::<FMA>(o, self.scratch, ow, y);
        }
    }
}

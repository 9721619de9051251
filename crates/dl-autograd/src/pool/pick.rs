//! The elements of a plane at kept places, and the way back.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::GRAIN;
use crate::host::{by_dtype, cleared, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// Where in its plane of the input each result came from.
#[derive(Clone)]
pub(super) struct Places {
    /// Filled by the forward that chooses.
    pub(super) at: Arc<OnceLock<Vec<u32>>>,
    pub(super) input: [usize; 4],
    pub(super) output: [usize; 4],
}

impl Places {
    fn at(&self) -> Result<&[u32]> {
        match self.at.get() {
            Some(at) => Ok(at),
            None => bail!("a maximum without a forward before it"),
        }
    }

    fn planes(&self) -> (usize, usize) {
        let plane = |dims: &[usize; 4]| dims[2] * dims[3];
        (plane(&self.input), plane(&self.output))
    }

    /// `dx[at[i]] += dy[i]`, a plane at a time.
    fn spread<T: Scalar>(&self, dy: &[T]) -> Result<Vec<T>> {
        let (input, output) = self.planes();
        let mut dx = cleared(self.input.iter().product());
        dx.par_chunks_exact_mut(input)
            .zip(dy.par_chunks_exact(output))
            .zip(self.at()?.par_chunks_exact(output))
            .with_min_len((GRAIN / input).max(1))
            .for_each(|((dx, dy), at)| {
                for (dy, &at) in dy.iter().zip(at) {
                    dx[at as usize] += *dy;
                }
            });
        Ok(dx)
    }

    /// `y[i] = x[at[i]]`.
    fn take<T: Scalar>(&self, x: &[T]) -> Result<Vec<T>> {
        let (input, output) = self.planes();
        let mut y = cleared(self.output.iter().product());
        y.par_chunks_exact_mut(output)
            .zip(x.par_chunks_exact(input))
            .zip(self.at()?.par_chunks_exact(output))
            .with_min_len((GRAIN / input).max(1))
            .for_each(|((y, x), at)| {
                for (y, &at) in y.iter_mut().zip(at) {
                    *y = x[at as usize];
                }
            });
        Ok(y)
    }

    /// The gradient of the input from that of the result.
    pub(super) fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        tensor(read::<T, _>(dy, |dy| self.spread(dy))?, self.input.to_vec())
    }

    fn forward<T: Scalar>(&self, x: &Tensor) -> Result<Tensor> {
        tensor(read::<T, _>(x, |x| self.take(x))?, self.output.to_vec())
    }
}

/// Either way as an operation that can be differentiated any number of times.
pub(super) fn route(x: &Tensor, places: Places, back: bool) -> Result<Tensor> {
    let op = Route {
        places: places.clone(),
        back,
    };
    let y = apply1(&contiguous(x)?, op)?;
    Ok(differentiable(y, move |_, _, dy| {
        Ok(vec![Some(route(dy, places.clone(), !back)?)])
    }))
}

struct Route {
    places: Places,
    back: bool,
}

impl Route {
    fn run<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, places) = (slice::<T>(s, l)?, &self.places);
        let (y, shape) = match self.back {
            true => (places.spread(x)?, places.input),
            false => (places.take(x)?, places.output),
        };
        Ok((T::to_cpu_storage_owned(y), shape.to_vec().into()))
    }

    fn pull<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        match self.back {
            true => self.places.forward::<T>(dy),
            false => self.places.backward::<T>(dy),
        }
    }
}

impl CustomOp1 for Route {
    fn name(&self) -> &'static str {
        "max_pool_route"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s);
        by_dtype!(dtype, "max_pool", self.run::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "max_pool", self.pull::<T>(dy)).map(Some)
    }
}

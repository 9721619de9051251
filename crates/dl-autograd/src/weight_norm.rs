//! Weight normalisation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::host::{by_dtype, has_kernel, if_tracked, one_float_type, read, slice, tensor};
use crate::lanes::sums;
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply2, differentiable};
use crate::view::{contiguous, from_front, to_front};

/// Elements of one task, at least: small work stays on one thread.
const GRAIN: usize = 16 * 1024;

/// A weight as a length times a direction, as `torch.nn.utils.parametrizations.weight_norm`.
///
/// `v (…)`, `g` of the rank of v with size 1 but in `dim` → `(…)`; `g ()` where `dim` is none
///
/// ```text
/// w = g·v/‖v‖          ‖v‖ for each index of dim, over all other dimensions; over all without dim
/// ∂g = ⟨∂w, v⟩/‖v‖          ∂v = g/‖v‖·(∂w − v·⟨∂w, v⟩/‖v‖²)
/// ```
///
/// A direction of zeros gives NaN, as in PyTorch. An error if the shapes do not fit.
///
/// Source: Salimans, Kingma, "Weight normalization", 2016.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let v = Tensor::new(&[[3f64, 4.], [0., 2.]], &Device::Cpu)?;
/// let g = Tensor::new(&[[10f64], [1.]], &Device::Cpu)?;
/// let w = dl_autograd::weight_norm(&v, &g, Some(0))?;
/// assert_eq!(w.to_vec2::<f64>()?, [[6., 8.], [0., 1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn weight_norm(v: &Tensor, g: &Tensor, dim: Option<usize>) -> Result<Tensor> {
    check(v, g, dim)?;
    let front = dim.unwrap_or(0);
    let rows = to_front(v, front)?;
    let w = match has_kernel(v) {
        true => {
            let w = apply2(&contiguous(&rows)?, &contiguous(g)?, WeightNorm)?;
            differentiable(w, |i, _, dw| pull(&i[0], &i[1], dw))
        }
        false => composed(&rows, g)?,
    };
    from_front(&w, front)
}

fn check(v: &Tensor, g: &Tensor, dim: Option<usize>) -> Result<()> {
    let mut wanted = vec![1; v.rank()];
    match dim {
        None => wanted.clear(),
        Some(dim) if dim < v.rank() => wanted[dim] = v.dims()[dim],
        Some(dim) => bail!("weight_norm over dimension {dim} of v {:?}", v.shape()),
    }
    one_float_type("weight_norm", ("v", v), &[("g", g)])?;
    match g.dims() == wanted {
        true => Ok(()),
        false => bail!(
            "weight_norm of v {:?} over {dim:?} takes g {wanted:?}, got {:?}",
            v.shape(),
            g.shape()
        ),
    }
}

/// A matrix with a row for each length, and the lengths as its column.
fn matrix(v: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    let rows = g.elem_count();
    let columns = v.elem_count() / rows.max(1);
    Ok((v.reshape((rows, columns))?, g.reshape((rows, 1))?))
}

fn composed(v: &Tensor, g: &Tensor) -> Result<Tensor> {
    let (rows, g) = matrix(v, g)?;
    let norm = rows.sqr()?.sum_keepdim(1)?.sqrt()?;
    rows.broadcast_mul(&(g / norm)?)?.reshape(v.shape())
}

/// The gradients as operations of their own.
fn pull(v: &Tensor, g: &Tensor, dw: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let (rows, lengths) = matrix(v, g)?;
    let dw = dw.reshape(rows.shape())?;
    let squares = rows.sqr()?.sum_keepdim(1)?;
    let norm = squares.sqrt()?;
    let along = (&rows * &dw)?.sum_keepdim(1)?;
    let dv = if_tracked(v, || {
        let part = rows.broadcast_mul(&(&along / &squares)?)?;
        let across = (&dw - part)?;
        across
            .broadcast_mul(&(&lengths / &norm)?)?
            .reshape(v.shape())
    })?;
    let dg = if_tracked(g, || (&along / &norm)?.reshape(g.shape()))?;
    Ok(vec![dv, dg])
}

/// Of rows that lie one behind the other.
struct WeightNorm;

fn columns<T>(v: &[T], g: &[T]) -> usize {
    (v.len() / g.len().max(1)).max(1)
}

impl WeightNorm {
    fn forward<T: Scalar>(
        &self,
        v: (&CpuStorage, &Layout),
        g: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let (v, g) = (slice::<T>(v.0, v.1)?, slice::<T>(g.0, g.1)?);
        let columns = columns(v, g);
        let mut w = vec![T::zero(); v.len()];
        w.par_chunks_mut(columns)
            .with_min_len(GRAIN.div_ceil(columns))
            .zip(v.par_chunks(columns).zip(g))
            .for_each(|(w, (v, &g))| dispatch(Forward { v, g, w }));
        Ok(T::to_cpu_storage_owned(w))
    }

    fn backward<T: Scalar>(&self, v: &[T], g: &[T], dw: &[T]) -> (Vec<T>, Vec<T>) {
        let columns = columns(v, g);
        let (mut dv, mut dg) = (vec![T::zero(); v.len()], vec![T::zero(); g.len()]);
        dv.par_chunks_mut(columns)
            .with_min_len(GRAIN.div_ceil(columns))
            .zip(dg.par_iter_mut())
            .zip(v.par_chunks(columns).zip(dw.par_chunks(columns)).zip(g))
            .for_each(|((dv, dg), ((v, dw), &g))| dispatch(Backward { v, g, dw, dv, dg }));
        (dv, dg)
    }

    fn gradients<T: Scalar>(
        &self,
        v: &Tensor,
        g: &Tensor,
        dw: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dv, dg) = read::<T, _>(v, |v| {
            read::<T, _>(g, |g| read::<T, _>(dw, |dw| Ok(self.backward(v, g, dw))))
        })?;
        let dv = if_tracked(v, || tensor(dv, v.shape()))?;
        Ok((dv, if_tracked(g, || tensor(dg, g.shape()))?))
    }
}

impl CustomOp2 for WeightNorm {
    fn name(&self) -> &'static str {
        "weight_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let w = by_dtype!(
            s1.dtype(),
            "weight_norm",
            self.forward::<T>((s1, l1), (s2, l2))
        )?;
        Ok((w, l1.shape().clone()))
    }

    fn bwd(
        &self,
        v: &Tensor,
        g: &Tensor,
        _: &Tensor,
        dw: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        by_dtype!(v.dtype(), "weight_norm", self.gradients::<T>(v, g, dw))
    }
}

struct Forward<'a, T> {
    v: &'a [T],
    g: T,
    w: &'a mut [T],
}

impl<T: Scalar> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [squares] = sums(self.v, self.v, |v, _, [s]| [v.multiply_add::<FMA>(v, s)]);
        let factor = T::from_f64(self.g.wide() / squares.sqrt());
        for (w, v) in self.w.iter_mut().zip(self.v) {
            *w = *v * factor;
        }
    }
}

struct Backward<'a, T> {
    v: &'a [T],
    g: T,
    dw: &'a [T],
    dv: &'a mut [T],
    dg: &'a mut T,
}

impl<T: Scalar> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [squares, along] = sums(self.v, self.dw, |v, dw, [s, a]| {
            [v.multiply_add::<FMA>(v, s), v.multiply_add::<FMA>(dw, a)]
        });
        let norm = squares.sqrt();
        *self.dg = T::from_f64(along / norm);
        let factor = T::from_f64(self.g.wide() / norm);
        let part = T::from_f64(along / squares);
        for ((dv, v), dw) in self.dv.iter_mut().zip(self.v).zip(self.dw) {
            *dv = factor * v.multiply_add::<FMA>(-part, *dw);
        }
    }
}

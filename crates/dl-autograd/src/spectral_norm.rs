//! Spectral normalisation and the power iteration behind it.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::autocast::Autocast;
use crate::batched::matmul;
use crate::host::{by_dtype, has_kernel, read, slice, tensor, widen};
use crate::lanes::sums;
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply1, differentiable};
use crate::view::{contiguous, from_front, to_front};

/// Elements of one task, at least: small work stays on one thread.
const GRAIN: usize = 16 * 1024;

/// A weight divided by its largest singular value, which `u` and `v` give, as
/// `torch.nn.utils.parametrizations.spectral_norm`.
///
/// `weight` of rank 2 or more, `u` as long as `dim`, `v` as long as all other dimensions together
/// → the shape of weight
///
/// ```text
/// w = W/σ          σ = uᵀ·M·v          M (dim, the others in their order) the weight as a matrix
/// ∂W = (∂w − ⟨∂w, w⟩·u·vᵀ)/σ
/// ```
///
/// `u` and `v` are constants: they come from [`power_iteration`]. An error if the shapes do not fit
/// or the weight is a vector, which PyTorch divides by its length.
///
/// Source: Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial
/// networks", 2018.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let weight = Tensor::new(&[[4f64, 0.], [0., 2.]], &Device::Cpu)?;
/// let first = Tensor::new(&[1f64, 0.], &Device::Cpu)?;
/// let w = dl_autograd::spectral_norm(&weight, &first, &first, 0)?;
/// assert_eq!(w.to_vec2::<f64>()?, [[1., 0.], [0., 0.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn spectral_norm(weight: &Tensor, u: &Tensor, v: &Tensor, dim: usize) -> Result<Tensor> {
    check(weight, u, v, dim)?;
    let rows = to_front(weight, dim)?;
    // Copies: a layer goes on iterating in place while this graph may still live.
    let constant = |x: &Tensor| widen(x.detach().copy()?.to_dtype(weight.dtype())?);
    let (u, v) = (constant(u)?, constant(v)?);
    let w = match has_kernel(weight) {
        true => {
            let op = SpectralNorm {
                u: u.clone(),
                v: v.clone(),
                sigma: OnceLock::new(),
            };
            let w = apply1(&contiguous(&rows)?, op)?;
            differentiable(w, move |i, _, dw| Ok(vec![Some(pull(&i[0], &u, &v, dw)?)]))
        }
        false => rows.broadcast_div(&sigma(&rows, &outer(&rows, &u, &v)?)?)?,
    };
    from_front(&w, dim)
}

/// Brings `u` and `v` closer to the first singular vectors of a weight, without a graph.
///
/// `weight`, `u` and `v` as in [`spectral_norm`] → the new `u` and `v`
///
/// ```text
/// u ← M·v/max(‖M·v‖, ε)          v ← Mᵀ·u/max(‖Mᵀ·u‖, ε)          `iterations` times
/// ```
///
/// PyTorch iterates once before every step of training, with ε = 1e-12. An error if the shapes do
/// not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let weight = Tensor::new(&[[4f64, 0.], [0., 2.]], &Device::Cpu)?;
/// let start = Tensor::new(&[1f64, 1.], &Device::Cpu)?;
/// let (u, _) = dl_autograd::power_iteration(&weight, &start, &start, 0, 30, 1e-12)?;
/// assert!((u.to_vec1::<f64>()?[0] - 1.).abs() < 1e-12);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn power_iteration(
    weight: &Tensor,
    u: &Tensor,
    v: &Tensor,
    dim: usize,
    iterations: usize,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    check(weight, u, v, dim)?;
    let _f32 = Autocast::off();
    let rows = to_front(&weight.detach(), dim)?.flatten_from(1)?;
    let rows = rows.contiguous()?;
    let columns = rows.t()?;
    let (mut u, mut v) = (u.detach().unsqueeze(1)?, v.detach().unsqueeze(1)?);
    for _ in 0..iterations {
        u = unit(&matmul(&rows, &v)?, eps)?;
        v = unit(&matmul(&columns, &u)?, eps)?;
    }
    Ok((u.squeeze(1)?, v.squeeze(1)?))
}

fn unit(x: &Tensor, eps: f64) -> Result<Tensor> {
    let norm = x.sqr()?.sum_keepdim(0)?.sqrt()?;
    x.broadcast_div(&norm.maximum(eps)?)
}

fn check(weight: &Tensor, u: &Tensor, v: &Tensor, dim: usize) -> Result<()> {
    if weight.rank() < 2 || dim >= weight.rank() {
        bail!(
            "spectral_norm over dimension {dim} takes a weight of 2 or more dimensions, got {:?}",
            weight.shape()
        )
    }
    let rows = weight.dims()[dim];
    let columns = weight.elem_count() / rows.max(1);
    if u.dims() != [rows] || v.dims() != [columns] {
        bail!(
            "spectral_norm of a {rows} × {columns} matrix got u {:?} and v {:?}",
            u.shape(),
            v.shape()
        )
    }
    Ok(())
}

fn outer(rows: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor> {
    let product = u.unsqueeze(1)?.broadcast_mul(&v.unsqueeze(0)?)?;
    product.to_dtype(rows.dtype())?.reshape(rows.shape())
}

fn sigma(rows: &Tensor, outer: &Tensor) -> Result<Tensor> {
    (rows * outer)?.sum_all()
}

/// The gradient as operations of its own.
fn pull(rows: &Tensor, u: &Tensor, v: &Tensor, dw: &Tensor) -> Result<Tensor> {
    let outer = outer(rows, u, v)?;
    let sigma = sigma(rows, &outer)?;
    let along = ((rows * dw)?.sum_all()? / &sigma)?;
    (dw - outer.broadcast_mul(&along)?)?.broadcast_div(&sigma)
}

/// Of a matrix that lies row by row.
struct SpectralNorm {
    u: Tensor,
    v: Tensor,
    /// The singular value, kept for backward.
    sigma: OnceLock<f64>,
}

impl SpectralNorm {
    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<CpuStorage> {
        let rows = slice::<T>(s, l)?;
        let sigma = self.with_vectors(|u, v| Ok(form(rows, u, v)))?;
        let factor = T::from_f64(sigma.recip());
        let mut w = vec![T::zero(); rows.len()];
        w.par_chunks_mut(GRAIN)
            .zip(rows.par_chunks(GRAIN))
            .for_each(|(w, rows)| dispatch(Scale { w, rows, factor }));
        // The op is created for one call, so the cell is empty.
        let _ = self.sigma.set(sigma);
        Ok(T::to_cpu_storage_owned(w))
    }

    fn with_vectors<T: Scalar, R>(&self, f: impl FnOnce(&[T], &[T]) -> Result<R>) -> Result<R> {
        read::<T, _>(&self.u, |u| read::<T, _>(&self.v, |v| f(u, v)))
    }

    fn backward<T: Scalar>(&self, w: &Tensor, dw: &Tensor) -> Result<Tensor> {
        let Some(&sigma) = self.sigma.get() else {
            bail!("backward of spectral_norm came before its forward")
        };
        let dx = read::<T, _>(w, |w| {
            read::<T, _>(dw, |dw| {
                let along = dots(w, dw, columns(w, &self.u)).into_iter().sum::<f64>();
                self.with_vectors(|u, v| Ok(grad(dw, u, v, along, sigma)))
            })
        })?;
        tensor(dx, w.shape())
    }
}

fn columns<T>(w: &[T], u: &Tensor) -> usize {
    w.len() / u.elem_count().max(1)
}

/// `uᵀ·M·v`.
fn form<T: Scalar>(rows: &[T], u: &[T], v: &[T]) -> f64 {
    let columns = v.len().max(1);
    let products: Vec<f64> = rows
        .par_chunks(columns)
        .with_min_len(GRAIN.div_ceil(columns))
        .map(|row| dot(row, v))
        .collect();
    products.iter().zip(u).map(|(p, u)| p * u.wide()).sum()
}

fn dot<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    let mut sum = 0.;
    let total = &mut sum;
    dispatch(Dot { a, b, total });
    sum
}

/// The products of the rows of two matrices.
fn dots<T: Scalar>(a: &[T], b: &[T], columns: usize) -> Vec<f64> {
    let columns = columns.max(1);
    a.par_chunks(columns)
        .zip(b.par_chunks(columns))
        .with_min_len(GRAIN.div_ceil(columns))
        .map(|(a, b)| dot(a, b))
        .collect()
}

fn grad<T: Scalar>(dw: &[T], u: &[T], v: &[T], along: f64, sigma: f64) -> Vec<T> {
    let columns = v.len().max(1);
    let factor = T::from_f64(sigma.recip());
    let mut dx = vec![T::zero(); dw.len()];
    dx.par_chunks_mut(columns)
        .with_min_len(GRAIN.div_ceil(columns))
        .zip(dw.par_chunks(columns).zip(u))
        .for_each(|(dx, (dw, u))| {
            let part = T::from_f64(along * u.wide());
            dispatch(Grad {
                dx,
                dw,
                v,
                part,
                factor,
            });
        });
    dx
}

impl CustomOp1 for SpectralNorm {
    fn name(&self) -> &'static str {
        "spectral_norm"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let w = by_dtype!(s.dtype(), "spectral_norm", self.forward::<T>(s, l))?;
        Ok((w, l.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, w: &Tensor, dw: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(w.dtype(), "spectral_norm", self.backward::<T>(w, dw)).map(Some)
    }
}

struct Scale<'a, T> {
    w: &'a mut [T],
    rows: &'a [T],
    factor: T,
}

impl<T: Scalar> Kernel for Scale<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (w, x) in self.w.iter_mut().zip(self.rows) {
            *w = *x * self.factor;
        }
    }
}

struct Dot<'a, T> {
    a: &'a [T],
    b: &'a [T],
    total: &'a mut f64,
}

impl<T: Scalar> Kernel for Dot<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        [*self.total] = sums(self.a, self.b, |a, b, [s]| [a.multiply_add::<FMA>(b, s)]);
    }
}

struct Grad<'a, T> {
    dx: &'a mut [T],
    dw: &'a [T],
    v: &'a [T],
    part: T,
    factor: T,
}

impl<T: Scalar> Kernel for Grad<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((dx, dw), v) in self.dx.iter_mut().zip(self.dw).zip(self.v) {
            *dx = self.factor * v.multiply_add::<FMA>(-self.part, *dw);
        }
    }
}

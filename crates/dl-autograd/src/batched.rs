//! Products of batches of matrices.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use crate::autocast;
use crate::host::{by_dtype, cleared, has_kernel, if_tracked, one_float_type};
use crate::linear::PARALLEL;
use crate::matmul::{Matrix, Write, matmul as product};
use crate::simd::Scalar;
use crate::tape::{apply2, differentiable};
use crate::view::{expand, reshape, sum_to, transpose};

/// The matrix product over the last two dimensions, as `torch.matmul` for ranks of 2 and more.
///
/// `a (…, m, k)`, `b (…, k, n)` → `(…, m, n)`; the batch dimensions broadcast.
///
/// The batch runs in parallel. Transposed and broadcast operands are read where they lie. An error
/// if the shapes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[[[1f32, 2.]], [[3., 4.]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[1f32], [10.]], &Device::Cpu)?;
/// assert_eq!(dl_autograd::matmul(&a, &b)?.to_vec3::<f32>()?, [[[21.]], [[43.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if let Some(scope) = autocast::lowering() {
        return scope.raise(matmul(&scope.lower(a)?, &scope.lower(b)?)?, a);
    }
    let (&[.., m, k], &[.., k_b, n]) = (a.dims(), b.dims()) else {
        bail!(
            "matmul takes a (…, m, k) and b (…, k, n), got {:?} and {:?}",
            a.shape(),
            b.shape()
        )
    };
    if k != k_b {
        bail!(
            "matmul of a {:?} takes b (…, {k}, n), got {:?}",
            a.shape(),
            b.shape()
        )
    }
    one_float_type("matmul", ("a", a), &[("b", b)])?;
    let batch = batch_shape(a, b)?;
    if !has_kernel(a) {
        // candle's own refuses most strides.
        return a.contiguous()?.broadcast_matmul(&b.contiguous()?);
    }
    if b.rank() == 2 && a.rank() > 2 {
        let mut shape = a.dims().to_vec();
        shape[a.rank() - 1] = n;
        return reshape(&matmul(&reshape(a, ((), k))?, b)?, shape);
    }
    let with = |rows, cols| [&batch[..], &[rows, cols]].concat();
    let (a, b) = (expand(a, with(m, k))?, expand(b, with(k, n))?);
    Ok(differentiable(apply2(&a, &b, Batched)?, |i, _, dy| {
        pull(&i[0], &i[1], dy)
    }))
}

fn batch_shape(a: &Tensor, b: &Tensor) -> Result<Vec<usize>> {
    let batch = |x: &Tensor| Shape::from(&x.dims()[..x.rank() - 2]);
    match batch(a).broadcast_shape_binary_op(&batch(b), "matmul") {
        Ok(shape) => Ok(shape.into_dims()),
        Err(_) => bail!(
            "matmul of a {:?} takes b with a batch that broadcasts, got {:?}",
            a.shape(),
            b.shape()
        ),
    }
}

fn pull(a: &Tensor, b: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let t = |x: &Tensor| transpose(x, x.rank() - 2, x.rank() - 1);
    let da = if_tracked(a, || sum_to(&matmul(dy, &t(b)?)?, a.shape()))?;
    let db = if_tracked(b, || sum_to(&matmul(&t(a)?, dy)?, b.shape()))?;
    Ok(vec![da, db])
}

/// Operands with the same batch dimensions and any strides.
struct Batched;

/// A batch of matrices in a slice.
struct Batch<'a, T> {
    values: &'a [T],
    matrix: Matrix,
    dims: &'a [usize],
    strides: &'a [usize],
}

impl<'a, T: Scalar> Batch<'a, T> {
    fn new(s: &'a CpuStorage, l: &'a Layout) -> Result<Self> {
        let (&[ref dims @ .., rows, cols], &[ref strides @ .., by_row, by_col]) =
            (l.dims(), l.stride())
        else {
            bail!("matmul takes ranks of 2 and more, got {:?}", l.shape())
        };
        Ok(Self {
            values: &s.as_slice::<T>()?[l.start_offset()..],
            matrix: Matrix::with_strides((rows, cols), (by_row, by_col)),
            dims,
            strides,
        })
    }

    /// The elements from the first of the matrix with this number in the batch.
    fn at(&self, mut index: usize) -> (&[T], Matrix) {
        let mut offset = 0;
        for (dim, stride) in self.dims.iter().zip(self.strides).rev() {
            offset += index % dim * stride;
            index /= dim;
        }
        (&self.values[offset..], self.matrix)
    }
}

impl Batched {
    fn forward<T: Scalar>(
        &self,
        (s1, l1): (&CpuStorage, &Layout),
        (s2, l2): (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (Batch::<T>::new(s1, l1)?, Batch::<T>::new(s2, l2)?);
        let (rows, cols) = (a.matrix.rows(), b.matrix.cols());
        let shape = [a.dims, &[rows, cols]].concat();
        let mut y = cleared(shape.iter().product());
        let work = y.len() * a.matrix.cols();
        let size = (rows * cols).max(1);
        match (y.len() / size, work) {
            (_, 0) => {}
            (2.., PARALLEL..) => y.par_chunks_exact_mut(size).enumerate().for_each(|(i, y)| {
                product(y, a.at(i), b.at(i), Write::Overwrite, Parallelism::None)
            }),
            (_, PARALLEL..) => product(
                &mut y,
                a.at(0),
                b.at(0),
                Write::Overwrite,
                Parallelism::Rayon(0),
            ),
            _ => y.chunks_exact_mut(size).enumerate().for_each(|(i, y)| {
                product(y, a.at(i), b.at(i), Write::Overwrite, Parallelism::None)
            }),
        }
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }
}

impl CustomOp2 for Batched {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s1.dtype(), "matmul", self.forward::<T>((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dy, plain_a, plain_b) = (dy.detach(), a.detach(), b.detach());
        let t = |x: &Tensor| x.transpose(x.rank() - 2, x.rank() - 1);
        let da = if_tracked(a, || sum_to(&matmul(&dy, &t(&plain_b)?)?, a.shape()))?;
        let db = if_tracked(b, || sum_to(&matmul(&t(&plain_a)?, &dy)?, b.shape()))?;
        Ok((da, db))
    }
}

//! Decompositions of matrices: in f64 on the CPU and on one thread, so that the bits do not depend on
//! the number of threads.

use candle_core::{DType, Device, Result, Tensor, bail};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj as apply_householder,
};
use faer::linalg::qr::no_pivoting::factor::{
    qr_in_place, qr_in_place_scratch, recommended_block_size,
};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Conj, Mat, Par};

/// The eigenvectors of a symmetric matrix, as columns from the largest eigenvalue to the smallest.
pub(crate) fn eigenvectors(matrix: &Tensor) -> Result<Tensor> {
    let (_, vectors) = eigen(matrix)?;
    let last = vectors.ncols().saturating_sub(1);
    narrow(vectors.nrows(), vectors.ncols(), matrix, |i, j| {
        vectors[(i, last - j)]
    })
}

/// V f(λ) Vᵀ of a symmetric matrix; f gets an eigenvalue and the largest.
pub(crate) fn mapped(matrix: &Tensor, f: impl Fn(f64, f64) -> f64) -> Result<Tensor> {
    let (values, vectors) = eigen(matrix)?;
    let largest = values.last().copied().unwrap_or(0.0);
    let scaled = Mat::from_fn(vectors.nrows(), vectors.ncols(), |i, j| {
        vectors[(i, j)] * f(values[j], largest)
    });
    let mut product = Mat::zeros(vectors.nrows(), vectors.nrows());
    faer::linalg::matmul::matmul(
        product.as_mut(),
        faer::Accum::Replace,
        scaled.as_ref(),
        vectors.transpose(),
        1.0,
        Par::Seq,
    );
    narrow(product.nrows(), product.ncols(), matrix, |i, j| {
        product[(i, j)]
    })
}

/// The orthogonal factor of a square matrix.
pub(crate) fn orthogonal(matrix: &Tensor) -> Result<Tensor> {
    let mut basis = wide(matrix)?;
    let n = basis.nrows();
    let block = recommended_block_size::<f64>(n, n);
    let mut coefficients = Mat::zeros(block, n);
    let scratch = qr_in_place_scratch::<f64>(n, n, block, Par::Seq, Default::default());
    qr_in_place(
        basis.as_mut(),
        coefficients.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    let mut q = Mat::identity(n, n);
    let scratch = apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(n, block, n);
    apply_householder(
        basis.as_ref(),
        coefficients.as_ref(),
        Conj::No,
        q.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
    narrow(n, n, matrix, |i, j| q[(i, j)])
}

/// The first `rank` singular vectors of a matrix, left ones as columns and right ones as rows. The
/// largest component of each is positive: a decomposition leaves the sign open.
pub(crate) fn singular_vectors(matrix: &Tensor, rank: usize) -> Result<(Tensor, Tensor)> {
    let all = wide(matrix)?;
    let (rows, columns) = all.shape();
    let size = rows.min(columns);
    let (mut values, mut u, mut v) = (
        Diag::zeros(size),
        Mat::zeros(rows, size),
        Mat::zeros(columns, size),
    );
    let thin = ComputeSvdVectors::Thin;
    let scratch = svd_scratch::<f64>(rows, columns, thin, thin, Par::Seq, Default::default());
    let found = svd(
        all.as_ref(),
        values.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    if found.is_err() {
        bail!("the singular vectors of a {rows}×{columns} matrix were not found");
    }
    let (left, right) = (signs(&u), signs(&v));
    let left = narrow(rows, rank, matrix, |i, j| u[(i, j)] * left[j])?;
    let right = narrow(rank, columns, matrix, |i, j| v[(j, i)] * right[i])?;
    Ok((left, right))
}

/// The sign of the largest component of each column.
fn signs(columns: &Mat<f64>) -> Vec<f64> {
    let sign = |j: usize| {
        let column = (0..columns.nrows()).map(|i| columns[(i, j)]);
        let largest = column.reduce(|a, b| if b.abs() > a.abs() { b } else { a });
        1f64.copysign(largest.unwrap_or(1.0))
    };
    (0..columns.ncols()).map(sign).collect()
}

/// Eigenvalues in rising order and their eigenvectors as columns.
fn eigen(matrix: &Tensor) -> Result<(Vec<f64>, Mat<f64>)> {
    let all = wide(matrix)?;
    let n = all.nrows();
    let (mut values, mut vectors) = (Diag::zeros(n), Mat::zeros(n, n));
    let both = ComputeEigenvectors::Yes;
    let scratch = self_adjoint_evd_scratch::<f64>(n, both, Par::Seq, Default::default());
    let found = self_adjoint_evd(
        all.as_ref(),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    match found {
        Ok(()) => Ok((values.column_vector().iter().copied().collect(), vectors)),
        Err(_) => bail!("the eigenvectors of a {n}×{n} matrix were not found"),
    }
}

fn wide(matrix: &Tensor) -> Result<Mat<f64>> {
    let (rows, columns) = matrix.dims2()?;
    let all = matrix.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let all = all.flatten_all()?.to_vec1::<f64>()?;
    match all.iter().all(|x| x.is_finite()) {
        true => Ok(Mat::from_fn(rows, columns, |i, j| all[i * columns + j])),
        false => bail!("a {rows}×{columns} matrix to decompose has numbers that are not finite"),
    }
}

fn narrow(
    rows: usize,
    columns: usize,
    like: &Tensor,
    element: impl Fn(usize, usize) -> f64,
) -> Result<Tensor> {
    let all = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let all: Vec<f64> = all.map(|(i, j)| element(i, j)).collect();
    let all = Tensor::from_vec(all, (rows, columns), &Device::Cpu)?;
    all.to_dtype(like.dtype())?.to_device(like.device())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matrix(rows: usize, columns: usize) -> Tensor {
        let all = (0..rows * columns).map(|i| ((i * i * 7 + i * 13) % 31) as f64 / 8.0 - 2.0);
        Tensor::from_iter(all, &Device::Cpu)
            .unwrap()
            .reshape((rows, columns))
            .unwrap()
    }

    /// A few hundred roundings of 1e-16 on numbers of order 10.
    fn assert_same(a: &Tensor, b: &Tensor) {
        let apart = (a - b)
            .unwrap()
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap();
        assert!(apart.to_scalar::<f64>().unwrap() < 1e-11, "{a} {b}");
    }

    fn diagonal(matrix: &Tensor) -> Vec<f64> {
        (0..matrix.dims()[0])
            .map(|i| matrix.get(i).unwrap().get(i).unwrap().to_scalar().unwrap())
            .collect()
    }

    #[test]
    fn eigenvectors_turn_their_matrix_into_falling_numbers() {
        let a = matrix(7, 9);
        let a = a.matmul(&a.t().unwrap()).unwrap();
        let v = eigenvectors(&a).unwrap();
        let turned = v.t().unwrap().matmul(&a).unwrap().matmul(&v).unwrap();
        let values = diagonal(&turned);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        let values = Tensor::new(values, &Device::Cpu).unwrap();
        let eye = Tensor::eye(7, DType::F64, &Device::Cpu).unwrap();
        assert_same(&turned, &eye.broadcast_mul(&values).unwrap());
    }

    #[test]
    fn the_inverse_root_four_times_over_undoes_the_matrix() {
        let a = matrix(5, 11);
        let a = a.matmul(&a.t().unwrap()).unwrap();
        let root = mapped(&a, |x, _| x.powf(-0.25)).unwrap();
        let square = root.matmul(&root).unwrap();
        let one = square.matmul(&square).unwrap().matmul(&a).unwrap();
        assert_same(&one, &Tensor::eye(5, DType::F64, &Device::Cpu).unwrap());
    }

    #[test]
    fn the_orthogonal_factor_leaves_a_triangle() {
        let a = matrix(6, 6);
        let q = orthogonal(&a).unwrap();
        let eye = Tensor::eye(6, DType::F64, &Device::Cpu).unwrap();
        assert_same(&q.t().unwrap().matmul(&q).unwrap(), &eye);
        let r = q.t().unwrap().matmul(&a).unwrap().to_vec2::<f64>().unwrap();
        assert!((0..6).all(|i| (0..i).all(|j| r[i][j].abs() < 1e-12)));
    }

    #[test]
    fn all_singular_vectors_give_a_diagonal_and_have_their_largest_component_positive() {
        for (rows, columns) in [(6, 4), (4, 6)] {
            let a = matrix(rows, columns);
            let (u, v) = singular_vectors(&a, 4).unwrap();
            let middle = u
                .t()
                .unwrap()
                .matmul(&a)
                .unwrap()
                .matmul(&v.t().unwrap())
                .unwrap();
            assert_same(&u.matmul(&middle).unwrap().matmul(&v).unwrap(), &a);
            for row in v.to_vec2::<f64>().unwrap() {
                let largest = row
                    .iter()
                    .fold(0.0, |a: f64, b| if b.abs() > a.abs() { *b } else { a });
                assert!(largest > 0.0);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let a = Tensor::new(&[[f64::NAN, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let error = eigenvectors(&a).unwrap_err().to_string();
        assert!(
            error.contains("a 2×2 matrix to decompose has numbers that are not finite"),
            "{error}"
        );
    }
}

//! Orthonormal rows or columns.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::with;
use crate::Params;

/// Rows that are orthogonalised against each other one by one; those before them go through matrix
/// products.
const PANEL: usize = 32;

/// `gain` times a matrix with orthonormal rows or columns, whichever are fewer, uniform over all such.
///
/// ```text
/// θ = gain·Q          normal matrix = Q·R, R upper triangular with a positive diagonal
/// ```
///
/// Dimensions after the first count as one. Computed in f64 by a Gram–Schmidt that is done twice,
/// which is as orthogonal as Householder's and gives PyTorch's signs. A parameter with fewer than two
/// dimensions is an error.
///
/// Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
/// linear neural networks", 2013; Giraud, Langou, Rozložník, "The loss of orthogonality in the
/// Gram–Schmidt orthogonalization process", 2005.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((2, 5), "w")?;
/// init::orthogonal(&params, "w", 2.)?;
/// let w = params.get("w").unwrap();
/// let gram = w.matmul(&w.t()?)?.to_vec2::<f32>()?;
/// assert!((gram[0][0] - 4.).abs() < 1e-5 && gram[0][1].abs() < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn orthogonal(params: &Params, pattern: &str, gain: f64) -> Result<usize> {
    with(params, pattern, |shape, rng| {
        if shape.rank() < 2 {
            bail!("orthogonal needs two dimensions or more, got shape {shape:?}")
        }
        if shape.elem_count() == 0 {
            return Tensor::zeros(shape, DType::F64, &Device::Cpu);
        }
        let mut normal = vec![0f32; shape.elem_count()];
        rng.fill_normal(&mut normal);
        let rows = shape.dims()[0];
        let matrix = Tensor::from_vec(normal, (rows, ()), &Device::Cpu)?.to_dtype(DType::F64)?;
        let q = match rows <= matrix.dim(1)? {
            true => orthonormal_rows(&matrix)?,
            false => orthonormal_rows(&matrix.t()?.contiguous()?)?.t()?,
        };
        (q * gain)?.reshape(shape)
    })
}

/// The rows made orthonormal from the first to the last.
fn orthonormal_rows(matrix: &Tensor) -> Result<Tensor> {
    let rows = matrix.dim(0)?;
    let mut done: Vec<Tensor> = vec![];
    for first in (0..rows).step_by(PANEL) {
        let mut panel = matrix.narrow(0, first, PANEL.min(rows - first))?;
        for _ in 0..2 {
            for q in &done {
                panel = (&panel - panel.matmul(&q.t()?)?.matmul(q)?)?;
            }
            panel = gram_schmidt(&panel)?;
        }
        done.push(panel);
    }
    Tensor::cat(&done, 0)
}

fn gram_schmidt(panel: &Tensor) -> Result<Tensor> {
    let mut rows = panel.to_vec2::<f64>()?;
    for i in 0..rows.len() {
        let (done, rest) = rows.split_at_mut(i);
        let row = &mut rest[0];
        for q in done {
            let along = dot(row, q);
            row.iter_mut().zip(q).for_each(|(x, q)| *x -= along * *q);
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    Tensor::new(rows, &Device::Cpu)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

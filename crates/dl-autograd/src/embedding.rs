//! Rows of a table by their numbers.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::host::{by_dtype, cleared, float, has_kernel, read, slice, tensor};
use crate::simd::Scalar;
use crate::tape::{apply1, differentiable};
use crate::view::contiguous;

/// The rows of `weight` with the given numbers, as `torch.nn.functional.embedding`.
///
/// `weight (vocabulary, dim)`, `ids (…)` of u8, u32 or i64 → `(…, dim)`
///
/// The gradient adds up the rows of equal numbers: these are sorted first, and each row of the table
/// is the work of one task, so the bits depend on no number of threads. The row `padding_index` gets
/// no gradient. An error names an id that the table does not have.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let table = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let ids = Tensor::new(&[1u32, 0, 1], &Device::Cpu)?;
/// let rows = dl_autograd::embedding(&table, &ids, None)?;
/// assert_eq!(rows.to_vec2::<f32>()?, [[3., 4.], [1., 2.], [3., 4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn embedding(weight: &Tensor, ids: &Tensor, padding_index: Option<usize>) -> Result<Tensor> {
    let op = Embedding::new(weight, ids, padding_index)?;
    if has_kernel(weight) {
        let (y, ids) = (apply1(&contiguous(weight)?, op)?, ids.clone());
        return Ok(differentiable(y, move |w, _, dy| {
            Ok(vec![Some(scatter_rows(&w[0], &ids, dy, padding_index)?)])
        }));
    }
    let index = ids.flatten_all()?.to_device(weight.device())?;
    let index_of_rows = index.to_dtype(DType::U32)?;
    let rows = weight.contiguous()?.index_select(&index_of_rows, 0)?;
    let rows = match padding_index {
        Some(padding) => without_gradient(&rows, &index, padding)?,
        None => rows,
    };
    rows.reshape(op.shape)
}

/// The same rows, those of the padding cut off from the graph.
fn without_gradient(rows: &Tensor, index: &Tensor, padding: usize) -> Result<Tensor> {
    let index = index.to_dtype(DType::I64)?;
    let is_padding = index.eq(padding as i64)?.unsqueeze(1)?;
    is_padding
        .broadcast_as(rows.shape())?
        .where_cond(&rows.detach(), rows)
}

/// The gradient of the table as candle's operations.
fn scatter_rows(
    weight: &Tensor,
    ids: &Tensor,
    dy: &Tensor,
    padding_index: Option<usize>,
) -> Result<Tensor> {
    let index = ids.flatten_all()?.to_dtype(DType::U32)?;
    let dy = dy.reshape(((), weight.dim(1)?))?;
    let dy = match padding_index {
        Some(padding) => {
            let kept = index.ne(padding as u32)?.to_dtype(dy.dtype())?;
            dy.broadcast_mul(&kept.unsqueeze(1)?)?
        }
        None => dy,
    };
    weight.detach().zeros_like()?.index_add(&index, &dy, 0)
}

struct Embedding {
    ids: Vec<usize>,
    shape: Vec<usize>,
    rows: usize,
    padding_index: Option<usize>,
}

impl Embedding {
    fn new(weight: &Tensor, ids: &Tensor, padding_index: Option<usize>) -> Result<Self> {
        let &[rows, dim] = weight.dims() else {
            bail!(
                "embedding takes a weight (vocabulary, dim), got {:?}",
                weight.shape()
            )
        };
        float("embedding", ("weight", weight))?;
        if !ids.dtype().is_int() {
            bail!(
                "embedding takes ids of an integer type, got {:?}",
                ids.dtype()
            )
        }
        if let Some(padding) = padding_index.filter(|p| *p >= rows) {
            bail!("padding_index {padding} is not below the {rows} rows of the embedding")
        }
        let wide = ids.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        if let Some(id) = wide.iter().find(|id| !(0..rows as i64).contains(*id)) {
            bail!("embedding of {rows} rows got the id {id}")
        }
        Ok(Self {
            ids: wide.into_iter().map(|id| id as usize).collect(),
            shape: [ids.dims(), &[dim]].concat(),
            rows,
            padding_index,
        })
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (weight, dim) = (slice::<T>(s, l)?, l.dims()[1]);
        let mut y = cleared(self.ids.len() * dim);
        if dim > 0 {
            y.par_chunks_exact_mut(dim)
                .with_min_len(256)
                .zip(&self.ids)
                .for_each(|(y, id)| y.copy_from_slice(&weight[id * dim..][..dim]));
        }
        Ok((T::to_cpu_storage_owned(y), self.shape.clone().into()))
    }

    /// The positions of each id side by side, and where those of every id start: a counting sort.
    fn sorted(&self) -> (Vec<usize>, Vec<usize>) {
        let mut starts = vec![0; self.rows + 1];
        self.ids.iter().for_each(|id| starts[id + 1] += 1);
        for row in 0..self.rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut positions = vec![0; self.ids.len()];
        for (position, id) in self.ids.iter().enumerate() {
            positions[next[*id]] = position;
            next[*id] += 1;
        }
        (positions, starts)
    }

    fn backward<T: Scalar>(&self, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (positions, starts) = self.sorted();
        let dim = weight.dim(1)?;
        let mut dw: Vec<T> = cleared(weight.elem_count());
        read::<T, _>(dy, |dy| {
            dw.par_chunks_exact_mut(dim.max(1))
                .enumerate()
                .with_min_len(64)
                .filter(|(row, _)| Some(*row) != self.padding_index)
                .for_each(|(row, dw)| {
                    for position in &positions[starts[row]..starts[row + 1]] {
                        let dy = &dy[position * dim..][..dim];
                        dw.iter_mut().zip(dy).for_each(|(w, y)| *w += *y);
                    }
                });
            Ok(())
        })?;
        tensor(dw, weight.dims())
    }
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "embedding", self.forward::<T>(s, l))
    }

    fn bwd(&self, weight: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(weight.dtype(), "embedding", self.backward::<T>(weight, dy)).map(Some)
    }
}

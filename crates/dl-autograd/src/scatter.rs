//! Writing and adding elements at indices.

use candle_core::{DType, Result, Tensor, bail};

use crate::host::{if_tracked, same_type};
use crate::many_inputs::CustomOpN;
use crate::tape::{apply_n, differentiable};

/// `init` with `src` written over it at the indices of one dimension, as `torch.scatter`.
///
/// `init (…, n, …)`, `index (…, k, …)` of u8, u32 or i64, `src (…, k, …)` → `(…, n, …)`
///
/// ```text
/// y = init, then y[index[i], j] = src[i, j]   (for dimension 0 of two)
/// ∂init = dy where nothing was written, 0 elsewhere          ∂src = dy[index]
/// ```
///
/// Where an index is written more than once the last one stays, and it alone gets the gradient;
/// PyTorch leaves both open. The indices have the size of `init` in every other dimension. candle's
/// own op hands the whole gradient to `init`. An error names an index that `init` does not have.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let init = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let (index, src) = (Tensor::new(&[2u32], &Device::Cpu)?, Tensor::new(&[9f32], &Device::Cpu)?);
/// let y = dl_autograd::scatter(&init, 0, &index, &src)?;
/// assert_eq!(y.to_vec1::<f32>()?, [1., 2., 9.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scatter(init: &Tensor, dim: usize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
    let op = Scatter::new(init, dim, index, src, Write::Over)?;
    let (start, values) = (init.detach(), src.detach().contiguous()?);
    let y = start.scatter(&op.index, &values, dim)?;
    op.apply(init, src, y)
}

/// `init` with `src` added to it at the indices of one dimension, as `torch.scatter_add`.
///
/// `init (…, n, …)`, `index (…, k, …)` of u8, u32 or i64, `src (…, k, …)` → `(…, n, …)`
///
/// ```text
/// y = init, then y[index[i], j] += src[i, j]   (for dimension 0 of two)
/// ∂init = dy          ∂src = dy[index]
/// ```
///
/// Added in the order of `src`. The indices have the size of `init` in every other dimension. candle's
/// own op takes the gradient of `init` away at the indices.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let init = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let index = Tensor::new(&[2u32, 2], &Device::Cpu)?;
/// let y = dl_autograd::scatter_add(&init, 0, &index, &Tensor::new(&[4f32, 5.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f32>()?, [1., 2., 12.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scatter_add(init: &Tensor, dim: usize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
    let op = Scatter::new(init, dim, index, src, Write::Add)?;
    let (start, values) = (init.detach(), src.detach().contiguous()?);
    let y = start.scatter_add(&op.index, &values, dim)?;
    op.apply(init, src, y)
}

#[derive(Clone, Copy, PartialEq)]
enum Write {
    Over,
    Add,
}

impl Write {
    fn name(self) -> &'static str {
        match self {
            Self::Over => "scatter",
            Self::Add => "scatter_add",
        }
    }
}

#[derive(Clone)]
struct Scatter {
    dim: usize,
    index: Tensor,
    write: Write,
}

impl Scatter {
    fn new(init: &Tensor, dim: usize, index: &Tensor, src: &Tensor, write: Write) -> Result<Self> {
        let fits = dim < init.rank()
            && index.dims() == src.dims()
            && index.rank() == init.rank()
            && (0..init.rank()).all(|d| d == dim || index.dims()[d] == init.dims()[d]);
        if !fits || !matches!(index.dtype(), DType::U8 | DType::U32 | DType::I64) {
            bail!(
                "{} along dimension {dim} of init {:?} got an index {:?} of {:?} and src {:?}",
                write.name(),
                init.shape(),
                index.shape(),
                index.dtype(),
                src.shape()
            )
        }
        same_type(write.name(), ("init", init), &[("src", src)])?;
        let size = init.dims()[dim];
        let wide = index
            .flatten_all()?
            .to_dtype(DType::I64)?
            .to_vec1::<i64>()?;
        if let Some(i) = wide.iter().find(|i| !(0..size as i64).contains(*i)) {
            bail!(
                "{} along a dimension of {size} got the index {i}",
                write.name()
            )
        }
        Ok(Self {
            dim,
            index: index.to_device(init.device())?.contiguous()?,
            write,
        })
    }

    /// `y` as the result of the operation, whose gradients can be differentiated again.
    fn apply(self, init: &Tensor, src: &Tensor, y: Tensor) -> Result<Tensor> {
        let y = apply_n(&[init, src], y, self.clone())?;
        Ok(differentiable(y, move |inputs, y, dy| {
            self.bwd(inputs, y, dy)
        }))
    }

    fn grad_init(&self, dy: &Tensor) -> Result<Tensor> {
        if self.write == Write::Add {
            return Ok(dy.clone());
        }
        let nothing = Tensor::zeros(self.index.shape(), dy.dtype(), dy.device())?;
        scatter(dy, self.dim, &self.index, &nothing)
    }

    fn grad_src(&self, dy: &Tensor) -> Result<Tensor> {
        let taken = dy.contiguous()?.gather(&self.index, self.dim)?;
        if self.write == Write::Add {
            return Ok(taken);
        }
        self.stays(dy)?.where_cond(&taken, &taken.zeros_like()?)
    }

    /// Whether each element of the source is the last one written to its place.
    fn stays(&self, dy: &Tensor) -> Result<Tensor> {
        let (count, device) = (self.index.elem_count() as u32, dy.device());
        let number = Tensor::arange(0, count, device)?.reshape(self.index.shape())?;
        let place = Tensor::zeros(dy.shape(), DType::U32, device)?;
        let last = place.scatter(&self.index, &number, self.dim)?;
        last.gather(&self.index, self.dim)?.eq(&number)
    }
}

impl CustomOpN for Scatter {
    fn name(&self) -> &'static str {
        self.write.name()
    }

    fn bwd(&self, inputs: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![
            if_tracked(&inputs[0], || self.grad_init(dy))?,
            if_tracked(&inputs[1], || self.grad_src(dy))?,
        ])
    }
}

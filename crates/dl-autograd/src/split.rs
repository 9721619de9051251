//! Slices of a tensor, whose gradients meet in one buffer.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor,
    bail,
};

use crate::no_grad::operand;
use crate::tape::{apply1, apply2, differentiable};
use crate::view::{pad, reshape, slice};

/// `x` cut into slices of the given sizes along one dimension, as `torch.split`.
///
/// `(…, Σ sizes, …)` → one `(…, size, …)` for each
///
/// A slice of a tracked tensor is a copy, of another one a view. In backward the gradients of all
/// slices are laid side by side once, where candle's `narrow` pads the gradient of each to the full
/// size and adds it up: `n` slices cost one pass instead of `3·n`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let parts = dl_autograd::split(&x, &[1, 2], 0)?;
/// assert_eq!(parts[1].to_vec1::<f32>()?, [2., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn split(x: &Tensor, sizes: &[usize], dim: usize) -> Result<Vec<Tensor>> {
    let total = sizes.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
    if dim >= x.rank() || total != Some(x.dims()[dim]) {
        bail!(
            "split of {:?} along dimension {dim} cannot give the sizes {sizes:?}",
            x.shape()
        )
    }
    let x = operand(x);
    let spans = sizes.iter().scan(0, |end, &size| {
        *end += size;
        Some((*end - size, size))
    });
    if !x.track_op() {
        return spans
            .map(|(start, len)| slice(&x, dim, start, len))
            .collect();
    }
    let gradients = Gradients::default();
    let hub = apply1(&x, Hub::new(dim, sizes, &gradients))?;
    // With a graph, the gradient of the hub is that of the whole tensor.
    let hub = differentiable(hub, |_, _, dy| Ok(vec![Some(dy.clone())]));
    let values = x.detach();
    let part = |(index, (start, len))| {
        let op = Slice::new(index, &gradients);
        let y = apply2(&hub, &slice(&values, dim, start, len)?, op)?;
        let behind = values.dims()[dim] - start - len;
        Ok(differentiable(y, move |_, _, dy| {
            Ok(vec![Some(pad(dy, dim, (start, behind))?), None])
        }))
    };
    spans.enumerate().map(part).collect()
}

/// `x` cut into `chunks` slices along one dimension, as `torch.chunk`: all of `⌈n/chunks⌉` but the
/// last, so that there may be fewer of them.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::zeros((2, 5), DType::F32, &Device::Cpu)?;
/// let parts = dl_autograd::chunk(&x, 2, 1)?;
/// assert_eq!([parts[0].dims(), parts[1].dims()], [[2, 3], [2, 2]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn chunk(x: &Tensor, chunks: usize, dim: usize) -> Result<Vec<Tensor>> {
    if dim >= x.rank() || chunks == 0 {
        bail!(
            "chunk of {:?} along dimension {dim} needs chunks of 1 or more, got {chunks}",
            x.shape()
        )
    }
    let whole = x.dims()[dim];
    let size = whole.div_ceil(chunks).max(1);
    let sizes: Vec<usize> = (0..whole)
        .step_by(size)
        .map(|start| size.min(whole - start))
        .collect();
    split(x, &sizes, dim)
}

/// The slices of one dimension without that dimension, as `torch.unbind`: `(…, n, …)` → `n` of `(…)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let columns = dl_autograd::unbind(&x, 1)?;
/// assert_eq!(columns[1].to_vec1::<f32>()?, [2., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn unbind(x: &Tensor, dim: usize) -> Result<Vec<Tensor>> {
    if dim >= x.rank() {
        bail!("unbind of {:?} along dimension {dim}", x.shape())
    }
    let mut shape = x.dims().to_vec();
    let count = shape.remove(dim);
    let slices = split(x, &vec![1; count], dim)?;
    slices
        .iter()
        .map(|s| reshape(s, shape.as_slice()))
        .collect()
}

/// The gradients of the slices, laid aside until that of the whole is asked for.
type Gradients = Arc<Mutex<Vec<Option<Tensor>>>>;

/// Stands for the whole tensor in the graph: one element, which every slice depends on.
struct Hub {
    dim: usize,
    sizes: Vec<usize>,
    gradients: Gradients,
}

impl Hub {
    fn new(dim: usize, sizes: &[usize], gradients: &Gradients) -> Self {
        let none = vec![None; sizes.len()];
        *gradients.lock().unwrap_or_else(PoisonError::into_inner) = none;
        Self {
            dim,
            sizes: sizes.to_vec(),
            gradients: gradients.clone(),
        }
    }

    fn zeros_like_slice(&self, x: &Tensor, size: usize) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        shape[self.dim] = size;
        Tensor::zeros(shape, x.dtype(), x.device())
    }
}

fn one_element<S: BackendStorage>(s: &S) -> Result<(S, Shape)>
where
    S::Device: BackendDevice<Storage = S>,
{
    let shape = Shape::from(1);
    Ok((s.device().zeros_impl(&shape, s.dtype())?, shape))
}

fn copy<S: BackendStorage>(s: &S, l: &Layout) -> Result<(S, Shape)>
where
    S::Device: BackendDevice<Storage = S>,
{
    let mut copy = s.device().zeros_impl(l.shape(), s.dtype())?;
    s.copy_strided_src(&mut copy, 0, l)?;
    Ok((copy, l.shape().clone()))
}

impl CustomOp1 for Hub {
    fn name(&self) -> &'static str {
        "split"
    }

    fn cpu_fwd(&self, s: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        one_element(s)
    }

    fn cuda_fwd(&self, s: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        one_element(s)
    }

    fn metal_fwd(&self, s: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        one_element(s)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let gradients: Vec<Option<Tensor>> = {
            let mut held = self
                .gradients
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            held.iter_mut().map(Option::take).collect()
        };
        let slices: Vec<Tensor> = gradients
            .into_iter()
            .zip(&self.sizes)
            .map(|(g, &size)| g.map_or_else(|| self.zeros_like_slice(x, size), Ok))
            .collect::<Result<_>>()?;
        Tensor::cat(&slices, self.dim).map(Some)
    }
}

struct Slice {
    index: usize,
    gradients: Gradients,
}

impl Slice {
    fn new(index: usize, gradients: &Gradients) -> Self {
        Self {
            index,
            gradients: gradients.clone(),
        }
    }
}

impl CustomOp2 for Slice {
    fn name(&self) -> &'static str {
        "a slice of a split"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        s: &CpuStorage,
        l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        copy(s, l)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        s: &CudaStorage,
        l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        copy(s, l)
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        s: &MetalStorage,
        l: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        copy(s, l)
    }

    fn bwd(
        &self,
        hub: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut held = self
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held[self.index] = Some(dy.detach());
        Ok((Some(hub.detach().zeros_like()?), None))
    }
}

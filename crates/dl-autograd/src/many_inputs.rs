//! Operations with any number of inputs, made of candle's with at most three.
//!
//! The result is a custom op of a one-element tensor, the end of a chain that has one custom op for
//! every tracked input. Its backward computes all gradients and lays them aside; each link of the
//! chain, visited later, hands out its own.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Layout, MetalStorage, Result, Shape, Storage,
    Tensor, bail,
};

use crate::host::whole;

/// The backward of an operation with any number of inputs.
pub(crate) trait CustomOpN: Send + Sync {
    fn name(&self) -> &'static str;

    /// The gradient of every tracked input; `None` for the others.
    fn bwd(&self, inputs: &[Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

type Aside = Arc<Mutex<Vec<Option<Tensor>>>>;

pub(crate) fn link(inputs: &[Tensor], value: &Tensor, op: &Arc<dyn CustomOpN>) -> Result<Tensor> {
    let aside = Aside::default();
    let mut chain = Tensor::zeros(1, value.dtype(), value.device())?;
    for (index, input) in inputs.iter().enumerate().filter(|(_, x)| x.track_op()) {
        let aside = aside.clone();
        chain = chain.apply_op2(input, Link { index, aside })?;
    }
    chain.apply_op1(Head {
        inputs: inputs.to_vec(),
        value: Mutex::new(Some(whole(&value.detach())?)),
        op: op.clone(),
        aside,
    })
}

struct Link {
    index: usize,
    aside: Aside,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        l: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        s: &CudaStorage,
        l: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn metal_fwd(
        &self,
        s: &MetalStorage,
        l: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Ok((s.try_clone(l)?, l.shape().clone()))
    }

    fn bwd(
        &self,
        chain: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let own = aside.get_mut(self.index).and_then(Option::take);
        Ok((chain.track_op().then(|| grad.clone()), own))
    }
}

struct Head {
    inputs: Vec<Tensor>,
    /// Until it has become the result, which has a memory of its own.
    value: Mutex<Option<Tensor>>,
    op: Arc<dyn CustomOpN>,
    aside: Aside,
}

impl Head {
    fn take(&self) -> Result<Tensor> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        match value.take() {
            Some(value) => Ok(value),
            None => bail!("{} has given its result already", self.op.name()),
        }
    }

    fn elsewhere<T>(&self, value: &Tensor) -> Result<T> {
        bail!("{} was computed on {:?}", self.op.name(), value.device())
    }
}

impl CustomOp1 for Head {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Cpu(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => self.elsewhere(&value),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let value = self.take()?;
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Cuda(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => self.elsewhere(&value),
        }
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        let value = self.take()?;
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Metal(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => self.elsewhere(&value),
        }
    }

    fn bwd(&self, chain: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let grads = self.op.bwd(&self.inputs, y, dy)?;
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = grads;
        chain.zeros_like().map(Some)
    }
}

//! Operations with any number of inputs, made of candle's with at most three.
//!
//! The result is a custom op of a one-element tensor, the end of a chain that has one custom op for
//! every tracked input. Its backward computes all gradients and lays them aside; each link of the
//! chain, visited later, hands out its own.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Device, Layout, MetalStorage, Result, Shape,
    Storage, Tensor, bail,
};

use crate::host::whole;

/// The backward of an operation with any number of inputs.
pub(crate) trait CustomOpN: Send + Sync {
    fn name(&self) -> &'static str;

    /// The gradient of every tracked input; `None` for the others.
    fn bwd(&self, inputs: &[Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// A result before it is part of a graph.
pub(crate) enum Value {
    Of(Tensor),
    /// One that nothing else refers to, and which need not be copied therefore.
    Host(CpuStorage, Shape),
}

impl From<Tensor> for Value {
    fn from(value: Tensor) -> Self {
        Self::Of(value.detach())
    }
}

impl Value {
    /// Outside of any graph.
    pub(crate) fn tensor(self) -> Tensor {
        match self {
            Self::Of(value) => value,
            Self::Host(s, shape) => {
                Tensor::from_storage(Storage::Cpu(s), shape, BackpropOp::none(), false)
            }
        }
    }

    /// Storage of its own.
    fn host(self, op: &str) -> Result<(CpuStorage, Shape)> {
        let value = match self {
            Self::Host(s, shape) => return Ok((s, shape)),
            Self::Of(value) => value,
        };
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Cpu(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => elsewhere(op, &value),
        }
    }

    /// Zeros of its type and on its device.
    fn chain(&self) -> Result<Tensor> {
        match self {
            Self::Of(value) => Tensor::zeros(1, value.dtype(), value.device()),
            Self::Host(s, _) => Tensor::zeros(1, s.dtype(), &Device::Cpu),
        }
    }
}

fn elsewhere<T>(op: &str, value: &Tensor) -> Result<T> {
    bail!("{op} was computed on {:?}", value.device())
}

type Aside = Arc<Mutex<Vec<Option<Tensor>>>>;

pub(crate) fn link(inputs: &[Tensor], value: Value, op: &Arc<dyn CustomOpN>) -> Result<Tensor> {
    let aside = Aside::default();
    let mut chain = value.chain()?;
    for (index, input) in inputs.iter().enumerate().filter(|(_, x)| x.track_op()) {
        let aside = aside.clone();
        chain = chain.apply_op2(input, Link { index, aside })?;
    }
    let value = match value {
        Value::Of(value) => Value::Of(whole(&value)?),
        host => host,
    };
    chain.apply_op1(Head {
        inputs: inputs.to_vec(),
        value: Mutex::new(Some(value)),
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
    value: Mutex<Option<Value>>,
    op: Arc<dyn CustomOpN>,
    aside: Aside,
}

impl Head {
    fn take(&self) -> Result<Value> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        match value.take() {
            Some(value) => Ok(value),
            None => bail!("{} has given its result already", self.op.name()),
        }
    }
}

impl CustomOp1 for Head {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()?.host(self.op.name())
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let value = self.take()?.tensor();
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Cuda(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => elsewhere(self.op.name(), &value),
        }
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        let value = self.take()?.tensor();
        let (s, l) = value.storage_and_layout();
        match &*s {
            Storage::Metal(s) => Ok((s.try_clone(l)?, l.shape().clone())),
            _ => elsewhere(self.op.name(), &value),
        }
    }

    fn bwd(&self, chain: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let grads = self.op.bwd(&self.inputs, y, dy)?;
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = grads;
        chain.zeros_like().map(Some)
    }
}

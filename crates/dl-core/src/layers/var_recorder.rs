//! Which Vars a layer is built on.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

/// The Vars that were handed out, each once.
type Seen = Arc<Mutex<Vec<Var>>>;

/// Builds a layer on `vb`, and tells which Vars it was given: not what is frozen, nor buffers.
pub(super) fn recorded<'a, L>(
    vb: VarBuilder<'a>,
    layer: impl FnOnce(VarBuilder<'a>) -> Result<L>,
) -> Result<(L, Vec<Var>)> {
    let (seen, prefix) = (Seen::default(), vb.prefix());
    let recorder = VarRecorder {
        inner: vb.root(),
        seen: Arc::clone(&seen),
    };
    let (dtype, device) = (vb.dtype(), vb.device().clone());
    let recording = VarBuilder::from_backend(Box::new(recorder), dtype, device);
    let layer = layer(match prefix.is_empty() {
        true => recording,
        false => recording.set_prefix(prefix),
    })?;
    // Nothing panics while it holds the lock.
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((layer, std::mem::take(&mut seen)))
}

struct VarRecorder<'a> {
    inner: VarBuilder<'a>,
    seen: Seen,
}

impl VarRecorder<'_> {
    fn record(&self, tensor: Tensor) -> Result<Tensor> {
        if tensor.is_variable() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.iter().all(|var| var.id() != tensor.id()) {
                seen.push(Var::from_tensor(&tensor)?);
            }
        }
        Ok(tensor)
    }
}

impl SimpleBackend for VarRecorder<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.inner.get_with_hints_dtype(shape, name, init, dtype)?;
        self.record(tensor.to_device(device)?)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.inner.get_unchecked_dtype(name, dtype)?;
        self.record(tensor.to_device(device)?)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.contains_tensor(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use crate::layers::{BatchNormConfig, batch_norm, linear};

    /// The names of the Vars that a layer below `block` is given, sorted.
    fn given(params: &Params) -> Vec<String> {
        let ((), vars) = recorded(params.vb().pp("block"), |vb| {
            assert_eq!(vb.prefix(), "block");
            linear(2, 3, vb.pp("fc"))?;
            batch_norm(3, BatchNormConfig::default(), vb.pp("bn"))?;
            // Twice the same, and one that is shared with another place.
            linear(2, 3, vb.pp("fc"))?;
            vb.root().get(4, "shared").map(drop)
        })
        .unwrap();
        let all = params.all();
        let name = |var: &Var| all.iter().find(|(_, known)| known.id() == var.id());
        let mut names: Vec<_> = vars.iter().map(|v| name(v).unwrap().0.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn vars_are_told_once_and_neither_buffers_nor_what_is_frozen() {
        let params = Params::new(0, &Device::Cpu);
        params.vb().get(5, "other").unwrap();
        let wanted = [
            "block.bn.bias",
            "block.bn.weight",
            "block.fc.bias",
            "block.fc.weight",
            "shared",
        ];
        assert_eq!(given(&params), wanted);
        params.freeze("block.fc.*").unwrap();
        assert_eq!(given(&params), [wanted[0], wanted[1], wanted[4]]);
    }
}

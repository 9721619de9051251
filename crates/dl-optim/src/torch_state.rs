//! PyTorch's `optimizer.state_dict()`, in and out.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::update::slot_dtype;
use crate::{Error, Optimizer, OptimizerState, Result};

/// Rules of which PyTorch keeps no step count; what they do depends on the first step only.
const WITHOUT_STEP: &[&str] = &["muon", "sgd"];

impl Optimizer {
    /// Goes on from a PyTorch optimizer: `state.NUMBER.slot` → tensor, as dl-transfer's `Checkpoint`
    /// reads a saved `state_dict()` and as [`Optimizer::torch_state`] gives it. Slots have the same
    /// names and meaning.
    ///
    /// `order` names the parameters as PyTorch numbers them: `[name for name, _ in
    /// model.named_parameters()]` where they were passed as they are, else group by group. Rates
    /// and options stay this optimizer's, and steps without any state (PyTorch's SGD keeps none)
    /// count as one.
    ///
    /// Fails, before anything is changed, if a parameter is not in `order`, if a tensor is missing or
    /// does not fit, or has no place here.
    pub fn load_torch_state<S: AsRef<str>>(
        &mut self,
        tensors: &BTreeMap<String, Tensor>,
        order: &[S],
    ) -> Result<()> {
        let mut state = self.state()?;
        // Master weights are not PyTorch's: those of this optimizer stay.
        state.tensors.retain(|key, _| key.ends_with(".master"));
        state.header.steps = 0;
        let mut numbers = BTreeMap::new();
        for (number, name) in order.iter().enumerate() {
            numbers.insert(name.as_ref().to_string(), number);
        }
        let mut slots: BTreeMap<usize, Vec<(&str, &Tensor)>> = BTreeMap::new();
        for (key, tensor) in tensors {
            if let Some((number, slot)) = numbered(key) {
                slots.entry(number).or_default().push((slot, tensor));
            }
        }
        if let (Some(parameter), true, false) = (
            self.parameters.first(),
            slots.is_empty(),
            tensors.is_empty(),
        ) {
            let (parameter, slot) = (parameter.name.clone(), "state".to_string());
            return Err(Error::MissingState { parameter, slot });
        }
        for parameter in &self.parameters {
            let name = parameter.name.clone();
            let Some(number) = numbers.remove(&name) else {
                let (parameter, slot) = (name, "number".to_string());
                return Err(Error::MissingState { parameter, slot });
            };
            let rule = self.rules[parameter.rule].basics().name;
            let slots = slots.remove(&number).unwrap_or_default();
            let dtype = slot_dtype(parameter.var.dtype());
            let step = insert(&mut state, &name, rule, slots, dtype)?;
            state.header.steps = state.header.steps.max(step);
        }
        if let Some((number, slots)) = slots.into_iter().next() {
            let name = order.get(number).map(|name| name.as_ref().to_string());
            return Err(Error::UnexpectedState {
                parameter: name.unwrap_or_else(|| format!("number {number}")),
                slot: slots
                    .first()
                    .map(|(slot, _)| slot.to_string())
                    .unwrap_or_default(),
            });
        }
        self.load_state(&state)
    }

    /// The state as PyTorch has it: `state.NUMBER.slot` → tensor, for parameters numbered in `order`.
    /// Fails if a parameter is not in it.
    pub fn torch_state<S: AsRef<str>>(&self, order: &[S]) -> Result<BTreeMap<String, Tensor>> {
        let state = self.state()?;
        let mut tensors = BTreeMap::new();
        for parameter in &self.parameters {
            let name = &parameter.name;
            let Some(number) = order.iter().position(|other| other.as_ref() == name) else {
                let (parameter, slot) = (name.clone(), "number".to_string());
                return Err(Error::MissingState { parameter, slot });
            };
            if parameter.step == 0 {
                continue;
            }
            let rule = &self.rules[parameter.rule];
            if !WITHOUT_STEP.contains(&rule.basics().name) {
                let step = Tensor::new(parameter.step as f32, &Device::Cpu)?;
                tensors.insert(format!("state.{number}.step"), step);
            }
            for slot in rule.slots(parameter.var.dims()) {
                if let Some(tensor) = state.tensors.get(&format!("{name}.{}", slot.name)) {
                    let key = format!("state.{number}.{}", slot.name);
                    tensors.insert(key, tensor.to_device(&Device::Cpu)?);
                }
            }
        }
        Ok(tensors)
    }

    /// Writes [`Optimizer::torch_state`] to a safetensors file. In Python:
    ///
    /// ```python
    /// state = {}
    /// for key, tensor in safetensors.torch.load_file(path).items():
    ///     _, number, slot = key.split(".")
    ///     state.setdefault(int(number), {})[slot] = tensor
    /// optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    /// ```
    pub fn save_torch_state<S: AsRef<str>>(
        &self,
        path: impl AsRef<Path>,
        order: &[S],
    ) -> Result<()> {
        let tensors = self.torch_state(order)?;
        Ok(dl_files::save_safetensors(path, &tensors, &[])?)
    }
}

/// Number and slot of `state.NUMBER.slot`.
fn numbered(key: &str) -> Option<(usize, &str)> {
    let (number, slot) = key.strip_prefix("state.")?.split_once('.')?;
    Some((number.parse().ok()?, slot))
}

/// Puts the slots of one parameter into a state of ours; returns its steps.
fn insert(
    state: &mut OptimizerState,
    name: &str,
    rule: &str,
    slots: Vec<(&str, &Tensor)>,
    dtype: DType,
) -> Result<usize> {
    let mut step = None;
    let any = !slots.is_empty();
    for (slot, tensor) in slots {
        if slot == "step" {
            let number = tensor
                .flatten_all()?
                .to_dtype(DType::F64)?
                .to_vec1::<f64>()?;
            step = number.first().map(|step| step.max(0.0) as usize);
        } else {
            let tensor = tensor.to_dtype(dtype)?;
            state.tensors.insert(format!("{name}.{slot}"), tensor);
        }
    }
    let step = match step {
        Some(step) => step,
        None if !any => 0,
        None if WITHOUT_STEP.contains(&rule) => 1,
        None => {
            let (parameter, slot) = (name.to_string(), "step".to_string());
            return Err(Error::MissingState { parameter, slot });
        }
    };
    let count = Tensor::new(step as i64, &Device::Cpu)?;
    state.tensors.insert(format!("{name}.step"), count);
    Ok(step)
}

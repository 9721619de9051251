//! What an optimizer remembers, in memory and on disk.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::optimizer::{Parameter, slot_device};
use crate::update::slot_dtype;
use crate::{Error, LowPrecision, Optimizer, Result};

/// The key of the header in the metadata of the file.
const HEADER: &str = "optimizer";

/// The slot of master weights.
const MASTER: &str = "master";

/// Everything an optimizer needs to go on as if it had never stopped.
///
/// The file is safetensors, with the header as JSON in its metadata under `optimizer`.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adam, Optimizer};
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Adam::default())?;
/// optimizer.step(&x.sqr()?.backward()?)?;
/// let state = optimizer.state()?;
/// assert_eq!(state.header.steps, 1);
/// let names: Vec<_> = state.tensors.keys().collect();
/// assert_eq!(names, ["x.exp_avg", "x.exp_avg_sq", "x.step"]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// `parameter.slot` → tensor, with PyTorch's slot names, `parameter.step`, an `i64` scalar, and
    /// `parameter.master` where there are master weights.
    pub tensors: BTreeMap<String, Tensor>,
    /// What is not a tensor.
    pub header: StateHeader,
}

/// The part of an optimizer's state that is not tensors.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Sgd};
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let optimizer = Optimizer::new([("x".to_string(), x)], Sgd::default())?;
/// assert_eq!(optimizer.state()?.header.lr, 1e-3);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateHeader {
    /// The version of this crate that wrote it.
    pub version: String,
    /// Steps taken.
    pub steps: usize,
    /// Steps skipped for gradients that were not finite.
    #[serde(default)]
    pub skipped: usize,
    /// Whether the parameters held what is to be evaluated; see [`Optimizer::eval`].
    #[serde(default)]
    pub evaluating: bool,
    /// How f16 and bf16 parameters are updated; a record, as the rules' options are.
    #[serde(default)]
    pub low_precision: LowPrecision,
    /// The scheduled learning rate.
    pub lr: f64,
    /// Parameters that are treated alike.
    pub groups: Vec<GroupHeader>,
}

/// Parameters that are treated alike, and how.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Sgd};
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let optimizer = Optimizer::new([("x".to_string(), x)], Sgd::default())?;
/// let header = optimizer.state()?.header;
/// assert_eq!((header.groups[0].rule.as_str(), header.groups[0].lr_scale), ("sgd", 1.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupHeader {
    /// The name of the rule.
    pub rule: String,
    /// Its options.
    pub options: serde_json::Value,
    /// The learning rate that the group had.
    pub lr: f64,
    /// What the scheduled rate is multiplied by.
    pub lr_scale: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// The names, in order.
    pub parameters: Vec<String>,
}

impl OptimizerState {
    /// Writes the state to a file, or leaves the old file as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let header = serde_json::to_string(&self.header)
            .map_err(|error| not_a_state(path, &error.to_string()))?;
        let metadata = [(HEADER, header.as_str())];
        Ok(dl_files::save_safetensors(path, &self.tensors, &metadata)?)
    }

    /// Reads a state, onto the CPU.
    ///
    /// Fails if the file cannot be read, is damaged, or was not written by [`OptimizerState::save`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::File {
            path: path.to_path_buf(),
            source,
        })?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| not_a_state(path, &error.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|all| all.get(HEADER));
        let header = header.ok_or_else(|| not_a_state(path, "it has no `optimizer` metadata"))?;
        let header =
            serde_json::from_str(header).map_err(|error| not_a_state(path, &error.to_string()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| not_a_state(path, &error.to_string()))?;
        Ok(Self {
            tensors: tensors.into_iter().collect(),
            header,
        })
    }
}

fn not_a_state(path: &Path, reason: &str) -> Error {
    Error::NotAState {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

impl Optimizer {
    /// A copy of all that the optimizer remembers; later steps do not change it.
    pub fn state(&self) -> Result<OptimizerState> {
        let OptimizerState { tensors, header } = self.live_state()?;
        let copies = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.copy()?)));
        let tensors = copies.collect::<candle_core::Result<_>>()?;
        Ok(OptimizerState { tensors, header })
    }

    /// Goes on from a state: steps, learning rate and slots are the state's; the rules' options and
    /// the groups stay this optimizer's (PyTorch takes the file's).
    ///
    /// Fails, before anything is changed, if a parameter's rule is another, if a tensor is missing,
    /// or has another shape or type, or has no place here.
    pub fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        let mut rest: BTreeMap<_, _> = state.tensors.iter().collect();
        let mut loaded = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            self.check_rule(parameter, &state.header)?;
            loaded.push(self.load_parameter(parameter, &mut rest)?);
        }
        if let Some((key, _)) = rest.into_iter().next() {
            let (parameter, slot) = key.rsplit_once('.').unwrap_or((key, ""));
            let (parameter, slot) = (parameter.to_string(), slot.to_string());
            return Err(Error::UnexpectedState { parameter, slot });
        }
        for (parameter, loaded) in self.parameters.iter_mut().zip(loaded) {
            (parameter.step, parameter.slots) = (loaded.step, loaded.slots);
            if !loaded.shared.is_empty() {
                self.shared[parameter.rule] = loaded.shared;
            }
            parameter.master = loaded.master;
        }
        (self.steps, self.lr) = (state.header.steps, state.header.lr);
        self.skipped = state.header.skipped;
        self.evaluating = state.header.evaluating;
        Ok(())
    }

    /// Writes the state to a file, or leaves the old file as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.live_state()?.save(path)
    }

    /// Goes on from a file that [`Optimizer::save`] wrote. Fails as [`OptimizerState::load`] and
    /// [`Optimizer::load_state`] do.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.load_state(&OptimizerState::load(path)?)
    }

    /// The state with the slots themselves instead of copies.
    fn live_state(&self) -> Result<OptimizerState> {
        let mut tensors = BTreeMap::new();
        for parameter in &self.parameters {
            let name = &parameter.name;
            let step = Tensor::new(parameter.step as i64, &Device::Cpu)?;
            tensors.insert(format!("{name}.step"), step);
            let slots = self.rules[parameter.rule].slots(parameter.var.dims());
            for (slot, tensor) in slots.iter().zip(&parameter.slots) {
                tensors.insert(format!("{name}.{}", slot.name), tensor.clone());
            }
            let names = self.rules[parameter.rule].shared().into_iter();
            let numbers = names.zip(&self.shared[parameter.rule]);
            for ((slot, _), &number) in numbers.filter(|_| parameter.step > 0) {
                let number = Tensor::new(number, &Device::Cpu)?;
                tensors.insert(format!("{name}.{slot}"), number);
            }
            if let Some(master) = &parameter.master {
                tensors.insert(format!("{name}.{MASTER}"), master.detach());
            }
        }
        Ok(OptimizerState {
            tensors,
            header: self.header(),
        })
    }

    fn header(&self) -> StateHeader {
        let mut groups: Vec<GroupHeader> = Vec::new();
        let mut keys = Vec::new();
        for parameter in &self.parameters {
            let decay = parameter.weight_decay.map(f64::to_bits);
            let key = (parameter.rule, parameter.lr_scale.to_bits(), decay);
            let at = keys
                .iter()
                .position(|known| *known == key)
                .unwrap_or(keys.len());
            if at == keys.len() {
                keys.push(key);
                groups.push(self.group_header(parameter));
            }
            groups[at].parameters.push(parameter.name.clone());
        }
        let version = env!("CARGO_PKG_VERSION").to_string();
        StateHeader {
            version,
            steps: self.steps,
            skipped: self.skipped,
            evaluating: self.evaluating,
            low_precision: self.low_precision,
            lr: self.lr,
            groups,
        }
    }

    fn group_header(&self, parameter: &Parameter) -> GroupHeader {
        let rule = self.rules[parameter.rule].as_ref();
        GroupHeader {
            rule: rule.basics().name.to_string(),
            options: rule.options(),
            lr: self.lr * parameter.lr_scale,
            lr_scale: parameter.lr_scale,
            weight_decay: parameter.weight_decay.unwrap_or(rule.basics().weight_decay),
            parameters: Vec::new(),
        }
    }

    fn check_rule(&self, parameter: &Parameter, header: &StateHeader) -> Result<()> {
        let wanted = self.rules[parameter.rule].basics().name;
        let holds = |group: &&GroupHeader| group.parameters.contains(&parameter.name);
        match header.groups.iter().find(holds) {
            Some(group) if group.rule != wanted => {
                let (parameter, got) = (parameter.name.clone(), group.rule.clone());
                Err(Error::RuleMismatch {
                    parameter,
                    wanted,
                    got,
                })
            }
            // A parameter in no group has no tensors either, which is reported with their names.
            _ => Ok(()),
        }
    }

    /// Takes what belongs to a parameter out of `rest`: its steps, its slots and its master weights.
    fn load_parameter(
        &self,
        parameter: &Parameter,
        rest: &mut BTreeMap<&String, &Tensor>,
    ) -> Result<Loaded> {
        let mut take = |slot: &str, dtype: DType, shape: &[usize]| {
            let tensor = rest.remove(&format!("{}.{slot}", parameter.name));
            fit(tensor, &parameter.name, slot, dtype, shape)
        };
        let step = take("step", DType::I64, &[])?.to_scalar::<i64>()?;
        let step = usize::try_from(step).map_err(|_| Error::StateMismatch {
            parameter: parameter.name.clone(),
            slot: "step".to_string(),
            wanted: ">= 0".to_string(),
            got: step.to_string(),
        })?;
        let mut slots = Vec::new();
        if step > 0 {
            let dtype = slot_dtype(parameter.var.dtype());
            for slot in self.rules[parameter.rule].slots(parameter.var.dims()) {
                let dtype = slot.dtype.unwrap_or(dtype);
                let tensor = take(slot.name, dtype, &slot.shape)?;
                let device = slot_device(slot.host, &parameter.var);
                // A copy: the step writes in place, and the state is the caller's.
                slots.push(tensor.contiguous()?.copy()?.to_device(device)?);
            }
        }
        let mut shared = Vec::new();
        for (name, _) in self.rules[parameter.rule].shared() {
            if step > 0 {
                shared.push(take(name, DType::F64, &[])?.to_scalar()?);
            }
        }
        let master = match &parameter.master {
            Some(own) => {
                let master = take(MASTER, DType::F32, own.dims())?.contiguous()?.copy()?;
                Some(Var::from_tensor(
                    &master.to_device(parameter.var.device())?,
                )?)
            }
            None => None,
        };
        Ok(Loaded {
            step,
            slots,
            shared,
            master,
        })
    }
}

/// What a state holds about one parameter.
struct Loaded {
    step: usize,
    slots: Vec<Tensor>,
    shared: Vec<f64>,
    master: Option<Var>,
}

pub(crate) fn fit(
    tensor: Option<&Tensor>,
    parameter: &str,
    slot: &str,
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor> {
    let (parameter, slot) = (parameter.to_string(), slot.to_string());
    let Some(tensor) = tensor else {
        return Err(Error::MissingState { parameter, slot });
    };
    if tensor.dtype() == dtype && tensor.dims() == shape {
        return Ok(tensor.detach());
    }
    let wanted = format!("{dtype:?} {shape:?}");
    let got = format!("{:?} {:?}", tensor.dtype(), tensor.dims());
    Err(Error::StateMismatch {
        parameter,
        slot,
        wanted,
        got,
    })
}

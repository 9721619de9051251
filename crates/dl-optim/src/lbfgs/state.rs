//! What L-BFGS remembers, with PyTorch's names.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::{Iteration, Lbfgs, Memory, Pair};
use crate::state::fit;
use crate::{Error, GroupHeader, LowPrecision, OptimizerState, Options, Result, StateHeader};

/// The name of the rule in files.
const NAME: &str = "lbfgs";

impl Lbfgs {
    /// A copy of all that is remembered.
    ///
    /// Vectors are over all parameters in name order; there is one state for all of them, so their
    /// names are not in front: `d`, `t`, `old_dirs` and `old_stps` (one row a pair), `ro`, `H_diag`,
    /// `prev_flat_grad`, `prev_loss`, `n_iter`, `func_evals`.
    pub fn state(&self) -> Result<OptimizerState> {
        let memory = &self.memory;
        let mut tensors = BTreeMap::new();
        let mut put = |name: &str, tensor: Tensor| tensors.insert(name.to_string(), tensor);
        put("n_iter", count(memory.iterations)?);
        put("func_evals", count(memory.evaluations)?);
        if let Some(last) = &memory.last {
            put("d", last.direction.copy()?);
            put("prev_flat_grad", last.gradient.copy()?);
            put("t", number(last.t)?);
            put("prev_loss", number(last.loss)?);
            put("H_diag", number(memory.scale)?);
        }
        if !memory.pairs.is_empty() {
            let pairs = memory.pairs.iter();
            let rho: Vec<_> = pairs.clone().map(|pair| pair.rho).collect();
            let (y, s): (Vec<_>, Vec<_>) = pairs.map(|pair| (&pair.y, &pair.s)).unzip();
            put("old_dirs", Tensor::stack(&y, 0)?);
            put("old_stps", Tensor::stack(&s, 0)?);
            put("ro", Tensor::new(rho, &Device::Cpu)?);
        }
        Ok(OptimizerState {
            tensors,
            header: self.header(),
        })
    }

    /// Goes on from a state; the options stay these, the learning rate is the state's.
    ///
    /// Fails, before anything is changed, if the state is of another rule or of other parameters, or
    /// if a tensor is missing or does not fit.
    pub fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        self.check(&state.header)?;
        let memory = self.read(&state.tensors)?;
        (self.memory, self.lr) = (memory, state.header.lr);
        Ok(())
    }

    /// Writes the state to a file, or leaves the old file as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.state()?.save(path)
    }

    /// Goes on from a file that [`Lbfgs::save`] wrote. Fails as [`OptimizerState::load`] and
    /// [`Lbfgs::load_state`] do.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.load_state(&OptimizerState::load(path)?)
    }

    fn header(&self) -> StateHeader {
        let names = self
            .parameters
            .iter()
            .map(|parameter| parameter.name.clone());
        StateHeader {
            version: env!("CARGO_PKG_VERSION").to_string(),
            steps: self.memory.iterations,
            lr: self.lr,
            evaluating: false,
            skipped: 0,
            low_precision: LowPrecision::default(),
            groups: vec![GroupHeader {
                rule: NAME.to_string(),
                options: self.options.options(),
                lr: self.lr,
                lr_scale: 1.0,
                weight_decay: 0.0,
                parameters: names.collect(),
            }],
        }
    }

    fn check(&self, header: &StateHeader) -> Result<()> {
        let theirs = header.groups.iter().flat_map(|group| &group.parameters);
        let theirs: Vec<_> = theirs.collect();
        for parameter in &self.parameters {
            let parameter = parameter.name.clone();
            let holds = |group: &&GroupHeader| group.parameters.contains(&parameter);
            let slot = "d".to_string();
            match header.groups.iter().find(holds) {
                None => return Err(Error::MissingState { parameter, slot }),
                Some(group) if group.rule != NAME => {
                    let got = group.rule.clone();
                    return Err(Error::RuleMismatch {
                        parameter,
                        wanted: NAME,
                        got,
                    });
                }
                Some(_) => {}
            }
        }
        let ours = |name: &str| self.parameters.iter().any(|ours| ours.name == name);
        match theirs.into_iter().find(|name| !ours(name)) {
            None => Ok(()),
            Some(name) => Err(Error::UnexpectedState {
                parameter: name.clone(),
                slot: "d".to_string(),
            }),
        }
    }

    fn read(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Memory> {
        let len: usize = self.parameters.iter().map(|it| it.var.elem_count()).sum();
        let device = self.parameters.first().map(|it| it.var.device().clone());
        let device = device.unwrap_or(Device::Cpu);
        let vector = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let tensor = fit(tensors.get(name), NAME, name, self.dtype, shape)?;
            // A copy: the state is the caller's.
            Ok(tensor.contiguous()?.copy()?.to_device(&device)?)
        };
        let number = |name: &str| -> Result<f64> {
            Ok(fit(tensors.get(name), NAME, name, DType::F64, &[])?.to_scalar()?)
        };
        let mut memory = Memory {
            iterations: read_count(tensors, "n_iter")?,
            evaluations: read_count(tensors, "func_evals")?,
            ..Memory::default()
        };
        if memory.iterations == 0 {
            return Ok(memory);
        }
        memory.scale = number("H_diag")?;
        memory.last = Some(Iteration {
            direction: vector("d", &[len])?,
            t: number("t")?,
            gradient: vector("prev_flat_grad", &[len])?,
            loss: number("prev_loss")?,
        });
        if let Some(rho) = tensors.get("ro") {
            let pairs = rho.elem_count();
            let rho = fit(Some(rho), NAME, "ro", DType::F64, &[pairs])?.to_vec1::<f64>()?;
            let y = vector("old_dirs", &[pairs, len])?;
            let s = vector("old_stps", &[pairs, len])?;
            let newest = pairs.saturating_sub(self.options.history_size);
            for (i, rho) in rho.into_iter().enumerate().skip(newest) {
                let (y, s) = (y.get(i)?.copy()?, s.get(i)?.copy()?);
                memory.pairs.push_back(Pair { y, s, rho });
            }
        }
        Ok(memory)
    }
}

fn count(count: usize) -> candle_core::Result<Tensor> {
    Tensor::new(count as i64, &Device::Cpu)
}

fn number(number: f64) -> candle_core::Result<Tensor> {
    Tensor::new(number, &Device::Cpu)
}

fn read_count(tensors: &BTreeMap<String, Tensor>, name: &str) -> Result<usize> {
    let count = fit(tensors.get(name), NAME, name, DType::I64, &[])?.to_scalar::<i64>()?;
    usize::try_from(count).map_err(|_| Error::StateMismatch {
        parameter: NAME.to_string(),
        slot: name.to_string(),
        wanted: ">= 0".to_string(),
        got: count.to_string(),
    })
}

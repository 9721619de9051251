//! What most runs consist of, as parts.

use dl_optim::{Optimizer, OptimizerState};

use super::{CheckpointError, Part};
use crate::Params;
use crate::train::TrainError;

impl Part {
    /// All parameters and buffers.
    ///
    /// ```
    /// use candle_core::Device;
    /// use dl_core::{Params, checkpoint::Part, layers::linear};
    /// let params = Params::new(0, &Device::Cpu);
    /// linear(2, 3, params.vb())?;
    /// let part = Part::of_params(&params);
    /// assert_eq!(part.tensors["weight"].dims(), [3, 2]);
    /// part.load_params("model", &params)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_params(params: &Params) -> Self {
        let all = params.all().into_iter();
        let all = all.map(|(name, var)| (name, var.as_detached_tensor()));
        Self::tensors(all.collect())
    }

    /// Sets every parameter and buffer from the part, which must have the same names and shapes; `part`
    /// is its name in an error.
    pub fn load_params(&self, part: &str, params: &Params) -> Result<(), TrainError> {
        let names = params.names();
        let unfit = |reason| CheckpointError::Part {
            part: part.to_string(),
            reason,
        };
        if let Some(extra) = self.tensors.keys().find(|name| !names.contains(name)) {
            return Err(unfit(format!("the model has no `{extra}`")).into());
        }
        for name in names {
            let tensor = self.tensors.get(&name);
            let tensor = tensor.ok_or_else(|| unfit(format!("it has no `{name}`")))?;
            params.set(&name, tensor)?;
        }
        Ok(())
    }

    /// The slots, counts and rates of an optimizer.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use dl_core::checkpoint::Part;
    /// use dl_optim::{Optimizer, Sgd};
    /// let x = Var::new(1f32, &Device::Cpu)?;
    /// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd::default())?;
    /// sgd.step(&x.sqr()?.backward()?)?;
    /// let mut other = Optimizer::new([("x".to_string(), x)], Sgd::default())?;
    /// Part::of_optimizer(&sgd)?.load_optimizer("optimizer", &mut other)?;
    /// assert_eq!(other.steps(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_optimizer(optimizer: &Optimizer) -> Result<Self, TrainError> {
        let state = optimizer.state()?;
        Ok(Self {
            tensors: state.tensors,
            ..Self::values(&state.header)?
        })
    }

    /// Sets an optimizer from the part, which must be of the same rule and parameters; `part` is its
    /// name in an error.
    pub fn load_optimizer(&self, part: &str, optimizer: &mut Optimizer) -> Result<(), TrainError> {
        Ok(optimizer.load_state(&OptimizerState {
            header: self.read(part)?,
            tensors: self.tensors.clone(),
        })?)
    }
}

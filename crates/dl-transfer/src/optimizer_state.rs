//! The state of a PyTorch optimizer in a checkpoint.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};

use crate::checkpoint::Checkpoint;
use crate::error::Error;

impl Checkpoint {
    /// The tensors of a saved `optimizer.state_dict()` as `state.NUMBER.slot`, for
    /// [`Optimizer::load_torch_state`]: open the entry that holds it with [`Checkpoint::open_entry`].
    ///
    /// NUMBER is the place of the parameter in the groups, one after the other. Before PyTorch 1.5
    /// files had Python's identities instead, and before 1.12 steps were plain integers: both are
    /// translated.
    ///
    /// Fails if there is no state, or one of a parameter that is in no group.
    ///
    /// [`Optimizer::load_torch_state`]: https://docs.rs/dl-optim/latest/dl_optim/struct.Optimizer.html#method.load_torch_state
    pub fn optimizer_state(&self, device: &Device) -> Result<BTreeMap<String, Tensor>, Error> {
        let places = self.places();
        let mut state = BTreeMap::new();
        for name in self.names().filter(|name| of_state(name).is_some()) {
            state.insert(self.numbered(name, &places)?, self.tensor(name, device)?);
        }
        if state.is_empty() {
            return Err(self.not_a_state("it has no tensor `state.NUMBER.slot`"));
        }
        for (name, number) in self.numbers() {
            if of_state(name).is_some() {
                let number = Tensor::new(*number, device)?;
                state.insert(self.numbered(name, &places)?, number);
            }
        }
        Ok(state)
    }

    /// The place of every parameter by the number that the groups have for it.
    fn places(&self) -> HashMap<String, usize> {
        let listed = self.numbers().iter();
        let mut listed: Vec<_> = listed
            .filter_map(|(name, number)| Some((in_groups(name)?, number)))
            .collect();
        listed.sort();
        let places = listed.into_iter().enumerate();
        places
            .map(|(place, (_, number))| (number.to_string(), place))
            .collect()
    }

    fn numbered(&self, name: &str, places: &HashMap<String, usize>) -> Result<String, Error> {
        let found = of_state(name).and_then(|(id, slot)| Some((places.get(id)?, slot)));
        match found {
            Some((place, slot)) => Ok(format!("state.{place}.{slot}")),
            None => Err(self.not_a_state(&format!("`{name}` is of no parameter of its groups"))),
        }
    }

    fn not_a_state(&self, reason: &str) -> Error {
        Error::NotAnOptimizerState {
            path: self.path().to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

/// Number and slot of `state.NUMBER.slot`.
pub(crate) fn of_state(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("state.")?.split_once('.')
}

/// Group and place of `param_groups.GROUP.params.PLACE`.
pub(crate) fn in_groups(name: &str) -> Option<(usize, usize)> {
    let (group, rest) = name.strip_prefix("param_groups.")?.split_once('.')?;
    let place = rest.strip_prefix("params.")?;
    Some((group.parse().ok()?, place.parse().ok()?))
}

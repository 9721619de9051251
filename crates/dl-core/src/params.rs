//! The named parameters of a model: seeded initialisation, freezing, one order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, Init, NonLinearity, NormalOrUniform};
use candle_nn::var_builder::{SimpleBackend, VarBuilder};
use dl_autograd::{Purpose, Rng};

use crate::init::{normal_values, uniform_values};

/// The Vars of a model by name, in name order, with a candle [`VarBuilder`] on top.
///
/// A model asks the builder for its tensors; what is missing is created from the seed and the name
/// alone, so the same model has the same weights whatever is built before it. A frozen name is
/// handed out as a plain tensor that shares the Var's storage: candle computes no gradient for it.
/// Freezing therefore takes effect when the model is built again, which copies nothing.
///
/// Clones share the store.
///
/// ```
/// use candle_core::{DType, Device};
/// use dl_core::Params;
/// let params = Params::new(0, &Device::Cpu);
/// let weight = params.vb().pp("fc").get((10, 4), "weight")?;
/// assert!(weight.track_op());
/// assert_eq!(params.freeze("fc.*")?, 1);
/// assert!(!params.vb().pp("fc").get((10, 4), "weight")?.track_op());
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Params {
    store: Arc<Mutex<Store>>,
    device: Device,
    seed: u64,
}

#[derive(Debug, Default)]
struct Store {
    vars: BTreeMap<String, Var>,
    frozen: BTreeSet<String>,
}

impl Params {
    /// An empty store whose tensors will live on `device` and be initialised from `seed`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            store: Arc::default(),
            device: device.clone(),
            seed,
        }
    }

    /// A builder that creates what is missing, in f32.
    pub fn vb(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// The device of every tensor.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Every name, parameters and buffers, sorted.
    pub fn names(&self) -> Vec<String> {
        self.lock().vars.keys().cloned().collect()
    }

    /// The Var of a name.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().vars.get(name).cloned()
    }

    /// Copies `value` into the Var of `name`, cast to its dtype and device. An error if the name
    /// is unknown or the shapes differ.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let Some(var) = self.get(name) else {
            candle_core::bail!("no parameter `{name}` to set")
        };
        if var.shape() != value.shape() {
            candle_core::bail!(
                "parameter `{name}` has shape {:?}, the value has {:?}",
                var.shape(),
                value.shape()
            )
        }
        let value = value.to_device(&self.device)?.to_dtype(var.dtype())?;
        // The Var may be the very tensor that is set, which candle refuses.
        var.set(&value.detach().force_contiguous()?)
    }

    /// Every name with its Var, buffers included: what a checkpoint holds.
    pub fn all(&self) -> Vec<(String, Var)> {
        let store = self.lock();
        store
            .vars
            .iter()
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// The parameters that train: neither frozen nor buffers.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut all = self.all();
        all.retain(|(name, _)| self.is_trainable(name));
        all
    }

    /// Whether `name` is a parameter that is not frozen.
    pub fn is_trainable(&self, name: &str) -> bool {
        let store = self.lock();
        !Self::is_buffer(name) && store.vars.contains_key(name) && !store.frozen.contains(name)
    }

    /// Whether `name` is state that is not trained: PyTorch's buffers of batch and spectral norm.
    pub fn is_buffer(name: &str) -> bool {
        let last = name.rsplit('.').next().unwrap_or(name);
        matches!(
            last,
            "running_mean" | "running_var" | "num_batches_tracked" | "_u" | "_v"
        )
    }

    /// Number of scalars in the parameters that exist, buffers excluded.
    pub fn parameter_count(&self) -> usize {
        let count = |(name, var): &(String, Var)| match Self::is_buffer(name) {
            true => 0,
            false => var.elem_count(),
        };
        self.all().iter().map(count).sum()
    }

    /// Freezes the parameters whose name matches the glob `pattern` (`*` crosses dots) and returns
    /// how many matched. Models built from now on compute no gradient for them.
    pub fn freeze(&self, pattern: &str) -> Result<usize> {
        self.mark(pattern, |frozen, name| frozen.insert(name))
    }

    /// The inverse of [`freeze`](Self::freeze).
    pub fn unfreeze(&self, pattern: &str) -> Result<usize> {
        self.mark(pattern, |frozen, name| frozen.remove(&name))
    }

    /// Forgets the names that match the glob `pattern`, so that the next model that asks for them
    /// gets them freshly initialised, and returns how many there were.
    pub fn remove(&self, pattern: &str) -> Result<usize> {
        let names = self.matching(pattern)?;
        let mut store = self.lock();
        for name in &names {
            store.vars.remove(name);
            store.frozen.remove(name);
        }
        Ok(names.len())
    }

    fn mark(
        &self,
        pattern: &str,
        change: impl Fn(&mut BTreeSet<String>, String) -> bool,
    ) -> Result<usize> {
        let names = self.matching(pattern)?;
        let count = names.len();
        let mut store = self.lock();
        for name in names {
            change(&mut store.frozen, name);
        }
        Ok(count)
    }

    /// The names that match the glob `pattern` (`*` crosses dots), sorted.
    pub(crate) fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        let glob = globset::Glob::new(pattern)
            .map_err(candle_core::Error::wrap)?
            .compile_matcher();
        let mut names = self.names();
        names.retain(|name| glob.is_match(name));
        Ok(names)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // No code panics while it holds the lock half-way through a change.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, shape: &Shape, name: &str, init: Init, dtype: DType) -> Result<Var> {
        let values = initial_values(&Rng::named(self.seed, Purpose::Init, name), shape, init);
        if dtype == DType::F32 {
            // Without the copy that a tensor's becoming a Var takes.
            return Var::from_vec(values, shape, &self.device);
        }
        let value = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
        Var::from_tensor(&value.to_device(&self.device)?)
    }
}

impl SimpleBackend for Params {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        _: &Device,
    ) -> Result<Tensor> {
        if self.get(name).is_none() {
            let var = self.create(&shape, name, init, dtype)?;
            self.lock().vars.insert(name.to_string(), var);
        }
        let tensor = self.get_unchecked(name, dtype, &self.device)?;
        if tensor.shape() != &shape {
            candle_core::bail!(
                "parameter `{name}` exists with shape {:?}, the model asks for {shape:?}",
                tensor.shape()
            )
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        let Some(var) = self.get(name) else {
            candle_core::bail!("no parameter `{name}`")
        };
        match self.is_trainable(name) {
            true => Ok(var.as_tensor().clone()),
            false => Ok(var.as_detached_tensor()),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn initial_values(rng: &Rng, shape: &Shape, init: Init) -> Vec<f32> {
    let count = shape.elem_count();
    match init {
        Init::Const(value) => vec![value as f32; count],
        Init::Randn { mean, stdev } => normal_values(rng, count, mean, stdev),
        Init::Uniform { lo, up } => uniform_values(rng, count, lo, up),
        Init::Kaiming {
            dist,
            fan,
            non_linearity,
        } => {
            let std = kaiming_std(shape, fan, non_linearity);
            let bound = 3f64.sqrt() * std;
            match dist {
                NormalOrUniform::Normal => normal_values(rng, count, 0., std),
                NormalOrUniform::Uniform => uniform_values(rng, count, -bound, bound),
            }
        }
    }
}

fn kaiming_std(shape: &Shape, fan: FanInOut, non_linearity: NonLinearity) -> f64 {
    non_linearity.gain() / (fan.for_shape(shape).max(1) as f64).sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn weights_depend_on_seed_and_name_and_not_on_the_order_of_building() {
        let values = |seed, names: [&str; 2]| {
            let params = Params::new(seed, &Device::Cpu);
            for name in names {
                let hint = candle_nn::init::DEFAULT_KAIMING_NORMAL;
                params.vb().get_with_hints(5, name, hint).unwrap();
            }
            params.get("a").unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(values(1, ["a", "b"]), values(1, ["b", "a"]));
        assert_ne!(values(1, ["a", "b"]), values(2, ["a", "b"]));
    }

    #[test]
    fn setting_a_frozen_parameter_is_seen_through_the_tensor_already_handed_out() {
        let params = Params::new(0, &Device::Cpu);
        params.vb().get(2, "w").unwrap();
        params.freeze("w").unwrap();
        let tensor = params.vb().get(2, "w").unwrap();
        params
            .set("w", &Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap())
            .unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [3., 4.]);
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused_by_name() {
        let params = Params::new(0, &Device::Cpu);
        params.vb().get(2, "w").unwrap();
        let error = params.vb().get(3, "w").unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("[2]") && error.contains("[3]"));
    }

    #[test]
    fn buffers_are_kept_but_never_trained() {
        let params = Params::new(0, &Device::Cpu);
        params.vb().pp("bn").get(2, "weight").unwrap();
        params.vb().pp("bn").get(2, "running_mean").unwrap();
        let names: Vec<_> = params.trainable().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["bn.weight"]);
        assert_eq!(params.names().len(), 2);
    }
}

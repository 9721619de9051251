//! Layers by name.

use candle_core::{Error, Result};
use candle_nn::VarBuilder;

use super::sequential::check_name;

/// Layers of one type with the weights `name.*`, as `torch.nn.ModuleDict`, in the order given.
///
/// The model that holds it says what its forward is. Layers of several types are a dictionary of
/// `Box<dyn ModuleT>`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{linear, module_dict}};
/// let params = Params::new(0, &Device::Cpu);
/// let heads = module_dict([("age", 1), ("sex", 2)], params.vb(), |classes, vb| linear(4, classes, vb))?;
/// assert_eq!(params.names()[3], "sex.weight");
/// let x = Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(heads.get("sex")?.forward(&x)?.dims(), [3, 2]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleDict<L> {
    layers: Vec<(String, L)>,
}

/// A layer for every name and what `layer` needs to know for it, besides the builder of its weights;
/// an error for a name that is empty, has a dot or comes twice.
pub fn module_dict<'a, N: Into<String>, C, L>(
    names: impl IntoIterator<Item = (N, C)>,
    vb: VarBuilder<'a>,
    mut layer: impl FnMut(C, VarBuilder<'a>) -> Result<L>,
) -> Result<ModuleDict<L>> {
    let mut layers: Vec<(String, L)> = vec![];
    for (name, config) in names {
        let name = name.into();
        let taken = layers.iter().map(|(name, _)| name.as_str());
        check_name("ModuleDict", &name, taken)?;
        let layer = layer(config, vb.pp(&name))?;
        layers.push((name, layer));
    }
    Ok(ModuleDict { layers })
}

impl<L> ModuleDict<L> {
    /// The layer of this name; an error that lists the names there are.
    pub fn get(&self, name: &str) -> Result<&L> {
        let found = self.layers.iter().find(|(key, _)| key == name);
        found.map(|(_, layer)| layer).ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            Error::msg(format!("no layer `{name}`; there are {}", known.join(", ")))
        })
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(name, _)| name.as_str())
    }

    /// The names and layers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &L)> {
        let layers = self.layers.iter();
        layers.map(|(name, layer)| (name.as_str(), layer))
    }
}

//! Layers in a list.

use std::ops::Deref;

use candle_core::Result;
use candle_nn::VarBuilder;

/// Layers of one type with the weights `0.*`, `1.*`, …, as `torch.nn.ModuleList`: a slice.
///
/// The model that holds it says what its forward is. Layers of several types are a list of
/// `Box<dyn ModuleT>`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::{linear, module_list}};
/// let params = Params::new(0, &Device::Cpu);
/// let widths = [5, 4, 3];
/// let layers = module_list(2, params.vb().pp("layers"), |i, vb| linear(widths[i], widths[i + 1], vb))?;
/// assert_eq!(params.names()[3], "layers.1.weight");
/// let mut x = Tensor::zeros((1, 5), DType::F32, &Device::Cpu)?;
/// for layer in layers.iter() {
///     x = layer.forward(&x)?;
/// }
/// assert_eq!(x.dims(), [1, 3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleList<L> {
    layers: Vec<L>,
}

/// A list of `len` layers; `layer` gets the place of each and the builder of its weights.
pub fn module_list<'a, L>(
    len: usize,
    vb: VarBuilder<'a>,
    mut layer: impl FnMut(usize, VarBuilder<'a>) -> Result<L>,
) -> Result<ModuleList<L>> {
    let layers = (0..len).map(|i| layer(i, vb.pp(i)));
    Ok(ModuleList {
        layers: layers.collect::<Result<_>>()?,
    })
}

impl<L> Deref for ModuleList<L> {
    type Target = [L];

    fn deref(&self) -> &[L] {
        &self.layers
    }
}

impl<'a, L> IntoIterator for &'a ModuleList<L> {
    type Item = &'a L;
    type IntoIter = std::slice::Iter<'a, L>;

    fn into_iter(self) -> Self::IntoIter {
        self.layers.iter()
    }
}

//! Layers one after the other.

use std::fmt;

use candle_core::{Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};

type Layer = Box<dyn ModuleT + Send + Sync>;

/// Layers one after the other, as `torch.nn.Sequential`; no layer at all passes its input through.
///
/// Weights are named by the place of their layer, `0.weight`, `2.weight`, …, or by the name given to
/// it. `train` reaches every layer. Layers without weights count too, so that the numbers are those of
/// a model of PyTorch; an operation becomes a layer by [`candle_nn::func`](candle_nn::func()).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{ModuleT, func};
/// use dl_core::{Params, layers::{Dropout, linear, sequential}};
/// let params = Params::new(0, &Device::Cpu);
/// let model = sequential(params.vb())
///     .add(|vb| linear(4, 8, vb))?
///     .push(func(dl_autograd::gelu))
///     .push(Dropout::new(0.1))
///     .add_named("head", |vb| linear(8, 2, vb))?
///     .build();
/// assert_eq!(params.names(), ["0.bias", "0.weight", "head.bias", "head.weight"]);
/// let y = model.forward_t(&Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?, false)?;
/// assert_eq!(y.dims(), [3, 2]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Layer)>,
}

/// Begins a [`Sequential`] whose weights live below `vb`.
pub fn sequential(vb: VarBuilder) -> SequentialBuilder {
    let model = Sequential::default();
    SequentialBuilder { vb, model }
}

/// A [`Sequential`] to which layers are added.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, layers::{linear, sequential}};
/// let vb = Params::new(0, &Device::Cpu).vb();
/// assert_eq!(sequential(vb).add(|vb| linear(4, 8, vb))?.build().len(), 1);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub struct SequentialBuilder<'a> {
    vb: VarBuilder<'a>,
    model: Sequential,
}

impl<'a> SequentialBuilder<'a> {
    /// Adds a layer named by its place; `layer` gets the builder of its weights.
    // The name that candle's containers have.
    #[allow(clippy::should_implement_trait)]
    pub fn add<L: ModuleT + Send + Sync + 'static>(
        self,
        layer: impl FnOnce(VarBuilder<'a>) -> Result<L>,
    ) -> Result<Self> {
        let name = self.model.len().to_string();
        self.add_named(&name, layer)
    }

    /// Adds a layer under a name, as PyTorch's `add_module`; an error if it is empty, has a dot or is
    /// taken.
    pub fn add_named<L: ModuleT + Send + Sync + 'static>(
        mut self,
        name: &str,
        layer: impl FnOnce(VarBuilder<'a>) -> Result<L>,
    ) -> Result<Self> {
        check_name("Sequential", name, self.model.names())?;
        let layer = Box::new(layer(self.vb.pp(name))?);
        self.model.layers.push((name.to_string(), layer));
        Ok(self)
    }

    /// Adds a layer without weights, named by its place.
    pub fn push(mut self, layer: impl ModuleT + Send + Sync + 'static) -> Self {
        let name = self.model.len().to_string();
        self.model.layers.push((name, Box::new(layer)));
        self
    }

    /// The layers so far.
    pub fn build(self) -> Sequential {
        self.model
    }
}

impl Sequential {
    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The names of the layers, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(name, _)| name.as_str())
    }

    /// The layers, in order.
    pub fn iter(&self) -> impl Iterator<Item = &(dyn ModuleT + Send + Sync)> {
        self.layers.iter().map(|(_, layer)| layer.as_ref())
    }
}

impl ModuleT for Sequential {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.iter()
            .try_fold(x.clone(), |x, layer| layer.forward_t(&x, train))
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        f.debug_tuple("Sequential").field(&names).finish()
    }
}

/// PyTorch's rule for the name of a layer in a container.
pub(super) fn check_name<'a>(
    container: &str,
    name: &str,
    mut taken: impl Iterator<Item = &'a str>,
) -> Result<()> {
    if name.is_empty() || name.contains('.') {
        bail!("{container} takes names that are not empty and have no dot, got `{name}`")
    }
    match taken.any(|other| other == name) {
        true => bail!("{container} has a layer `{name}` already"),
        false => Ok(()),
    }
}

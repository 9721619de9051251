//! A layer with its input added.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;

/// `y = x + f(x)`, for a layer `f` that keeps the shape. The weights keep the names of `f`.
///
/// Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::{ModuleT, func};
/// use dl_core::layers::Residual;
/// let layer = Residual::new(func(dl_autograd::relu));
/// let x = Tensor::new(&[-1f32, 2.], &Device::Cpu)?;
/// assert_eq!(layer.forward_t(&x, true)?.to_vec1::<f32>()?, [-1., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual<F> {
    layer: F,
}

impl<F: ModuleT> Residual<F> {
    /// Adds the input of `layer` to its result; another shape is an error of forward.
    pub fn new(layer: F) -> Self {
        Self { layer }
    }
}

impl<F: ModuleT> ModuleT for Residual<F> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        dl_autograd::add(&self.layer.forward_t(x, train)?, x)
    }
}

//! Products in half precision, within a scope.

use std::cell::Cell;

use candle_core::{DType, Result, Tensor, bail};

use crate::host::is_half;
use crate::view::cast;

thread_local! {
    static TO: Cell<Option<DType>> = const { Cell::new(None) };
}

/// While it lives, the products that run on this thread take their f32 operands in half precision, as
/// in PyTorch's `torch.autocast`: dense layers, matrix products, convolutions, attention, LSTM and GRU.
///
/// ```text
/// y = f32(op(half(x), half(w), half(b)))          ∂w = f32(half gradient)
/// ```
///
/// Weights stay in f32 and get their gradients in f32. Norms, softmax, losses and activations are those
/// of f32, f64 is left alone. A [`backward`](crate::backward()) inside the scope does not round beyond
/// what its forward did, and a [`checkpoint`](crate::checkpoint()) computes again as at first. Dropping
/// the scope restores the one around it.
///
/// Differs from PyTorch in that a product gives its result back in the type of its first operand: no
/// other operation meets two types, so a model of candle's own operations works as it is. On the CPU the
/// operands are rounded and the arithmetic is that of f32, which shows what half precision does to a
/// training and makes it no faster.
///
/// Source: P. Micikevicius et al., 2018, Mixed Precision Training.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Autocast, linear};
/// let x = Tensor::new(&[[1f32 + 1. / 1024.]], &Device::Cpu)?;
/// let w = Tensor::new(&[[1f32]], &Device::Cpu)?;
/// let y = {
///     let _scope = Autocast::new(DType::BF16)?;
///     linear(&x, &w, None)?
/// };
/// // bf16 has 8 bits.
/// assert_eq!(y.to_vec2::<f32>()?, [[1.]]);
/// assert_eq!(linear(&x, &w, None)?.to_vec2::<f32>()?, [[1. + 1. / 1024.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[must_use = "the scope ends when it is dropped"]
#[derive(Debug)]
pub struct Autocast(Option<DType>);

impl Autocast {
    /// Products in `dtype`, f16 or bf16; an error if it is another type.
    pub fn new(dtype: DType) -> Result<Self> {
        match is_half(dtype) {
            true => Ok(Self::of(Some(dtype))),
            false => bail!("autocast takes F16 or BF16, got {dtype:?}"),
        }
    }

    /// Products in their operands' types, inside another scope.
    pub fn off() -> Self {
        Self::of(None)
    }

    pub(crate) fn of(dtype: Option<DType>) -> Self {
        Self(TO.replace(dtype))
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        TO.set(self.0);
    }
}

/// The type of the current scope.
pub(crate) fn current() -> Option<DType> {
    TO.get()
}

/// The current scope for the length of one product, which is closed meanwhile.
pub(crate) struct Lowering {
    to: DType,
    _off: Autocast,
}

/// Nothing where no scope is open.
pub(crate) fn lowering() -> Option<Lowering> {
    let to = current()?;
    let _off = Autocast::off();
    Some(Lowering { to, _off })
}

impl Lowering {
    /// An operand in the scope's type, if it is of f32 or the other half type.
    pub(crate) fn lower(&self, x: &Tensor) -> Result<Tensor> {
        match x.dtype() {
            dtype if dtype == self.to => Ok(x.clone()),
            DType::F32 | DType::F16 | DType::BF16 => cast(x, self.to),
            _ => Ok(x.clone()),
        }
    }

    /// A result in the type that its first operand had.
    pub(crate) fn raise(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        match y.dtype() == x.dtype() {
            true => Ok(y),
            false => cast(&y, x.dtype()),
        }
    }
}

//! Reading and making candle tensors as slices of the CPU's memory.

use std::cell::Cell;
use std::ops::Deref;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::simd::Scalar;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with every op of this crate composed of candle's ops instead of run by a kernel of ours.
///
/// This is what happens by itself on a device without kernels of ours; on the CPU it lets a test
/// compare the two. It holds for the calling thread. Backward follows the forward it belongs to.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f32, 0.5], &Device::Cpu)?;
/// let y = dl_autograd::composed(|| dl_autograd::relu(&x))?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn composed<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _restore = Restore(COMPOSED.replace(true));
    f()
}

/// Whether a kernel of ours can run on this tensor.
pub(crate) fn has_kernel(x: &Tensor) -> bool {
    !COMPOSED.get()
        && matches!(x.device(), Device::Cpu)
        && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// The elements of a contiguous operand.
pub(crate) fn slice<'a, T: Scalar>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "expected a contiguous operand, got strides {:?}",
            layout.stride()
        )
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Calls `f` with the elements of a tensor that lives on the CPU.
pub(crate) fn read<T: Scalar, R>(x: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match storage.deref() {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("expected a tensor on the CPU, got one on {:?}", x.device()),
    }
}

/// A tensor on the CPU that owns `values`.
pub(crate) fn tensor<T: Scalar>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Calls a generic function with the element type of a tensor: f32 or f64.
macro_rules! by_dtype {
    ($dtype:expr, $name:literal, $f:ident :: <T> ( $($arg:expr),* )) => {
        match $dtype {
            candle_core::DType::F32 => $f::<f32>($($arg),*),
            candle_core::DType::F64 => $f::<f64>($($arg),*),
            dtype => candle_core::bail!("{} has no kernel for {dtype:?}", $name),
        }
    };
    ($dtype:expr, $name:literal, $this:ident . $f:ident :: <T> ( $($arg:expr),* )) => {
        match $dtype {
            candle_core::DType::F32 => $this.$f::<f32>($($arg),*),
            candle_core::DType::F64 => $this.$f::<f64>($($arg),*),
            dtype => candle_core::bail!("{} has no kernel for {dtype:?}", $name),
        }
    };
}
pub(crate) use by_dtype;

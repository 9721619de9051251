//! Reading and making candle tensors as slices of the CPU's memory.

use std::cell::Cell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use crate::simd::Scalar;
use crate::view::cast;

/// Numbers that one thread writes at a time.
const CHUNK: usize = 1 << 16;

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

/// Whether a kernel of ours can run on this tensor: half precision is widened to f32 on the way.
pub(crate) fn has_kernel(x: &Tensor) -> bool {
    !COMPOSED.get()
        && matches!(x.device(), Device::Cpu)
        && (matches!(x.dtype(), DType::F32 | DType::F64) || is_half(x.dtype()))
}

/// Sizes that a call asks for end below this, so that no product of two overflows.
pub(crate) const LIMIT: usize = 1 << 31;

/// An error unless `x` is of a float type.
pub(crate) fn float(op: &str, (name, x): (&str, &Tensor)) -> Result<()> {
    match x.dtype() {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Ok(()),
        dtype => bail!("{op} takes {name} of a float type, got {dtype:?}"),
    }
}

/// An error unless the others are of the type of `x`.
pub(crate) fn same_type(
    op: &str,
    (name, x): (&str, &Tensor),
    others: &[(&str, &Tensor)],
) -> Result<()> {
    let wanted = x.dtype();
    match others.iter().find(|(_, t)| t.dtype() != wanted) {
        None => Ok(()),
        Some((other, t)) => bail!(
            "{op} of {name} in {wanted:?} takes {other} in {wanted:?}, got {:?}",
            t.dtype()
        ),
    }
}

/// An error unless the other has the shape of `x`.
pub(crate) fn same_shape(
    op: &str,
    (name, x): (&str, &Tensor),
    (other, t): (&str, &Tensor),
) -> Result<()> {
    match x.shape() == t.shape() {
        true => Ok(()),
        false => bail!(
            "{op} of {name} {:?} takes {other} of that shape, got {:?}",
            x.shape(),
            t.shape()
        ),
    }
}

/// An error unless all are of one float type.
pub(crate) fn one_float_type(
    op: &str,
    x: (&str, &Tensor),
    others: &[(&str, &Tensor)],
) -> Result<()> {
    float(op, x)?;
    same_type(op, x, others)
}

/// The elements of a contiguous operand.
pub(crate) fn slice<'a, T: Scalar>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    Ok(&storage.as_slice::<T>()?[range(layout)?])
}

/// Where the elements of a contiguous operand lie in its storage.
pub(crate) fn range(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!(
            "expected a contiguous operand, got strides {:?}",
            layout.stride()
        ),
    }
}

/// A tensor whose storage starts with its first element and holds its elements in order.
pub(crate) fn whole(x: &Tensor) -> Result<Tensor> {
    match x.is_contiguous() && x.layout().start_offset() == 0 {
        true => Ok(x.clone()),
        false => x.force_contiguous(),
    }
}

/// The gradient of an operand that is tracked; a frozen one costs nothing.
pub(crate) fn if_tracked(
    x: &Tensor,
    gradient: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    x.track_op().then(gradient).transpose()
}

/// A half-precision operand of a kernel as f32, in which the kernel computes and accumulates.
pub(crate) fn widen(x: Tensor) -> Result<Tensor> {
    match is_half(x.dtype()) && matches!(x.device(), Device::Cpu) {
        true => cast(&x, DType::F32),
        false => Ok(x),
    }
}

/// The result of a kernel in the type of its first operand.
pub(crate) fn narrow_to(y: Tensor, dtype: DType) -> Result<Tensor> {
    match is_half(dtype) && y.dtype() == DType::F32 {
        true => cast(&y, dtype),
        false => Ok(y),
    }
}

pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
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

/// Room for a result of which every element is written once: clearing it first would cost a pass over
/// memory. In debug builds an element that no kernel wrote is NaN, which the tests of every op see.
pub(crate) fn room<T: Scalar>(len: usize) -> Vec<MaybeUninit<T>> {
    let mut room = Vec::with_capacity(len);
    if cfg!(debug_assertions) {
        room.resize(len, MaybeUninit::new(T::nan()));
    }
    // SAFETY: the capacity is `len`, and a `MaybeUninit` may hold anything.
    unsafe { room.set_len(len) };
    room
}

/// Zeros, written by all threads: one alone would be in front of them.
pub(crate) fn cleared<T: Scalar>(len: usize) -> Vec<T> {
    let mut room = room(len);
    room.par_chunks_mut(CHUNK).for_each(|part| {
        zeros(part);
    });
    // SAFETY: the chunks are all of it.
    unsafe { written(room) }
}

/// A row, so many times, written by all threads.
pub(crate) fn repeated<T: Scalar>(row: &[T], count: usize) -> Vec<T> {
    let len = row.len().max(1);
    let mut room = room(row.len() * count);
    let rows = room.par_chunks_mut(CHUNK.div_ceil(len) * len);
    rows.for_each(|rows| {
        for to in rows.chunks_exact_mut(len) {
            to.write_copy_of_slice(row);
        }
    });
    // SAFETY: the chunks are whole rows and all of it.
    unsafe { written(room) }
}

/// Room filled with zeros, by the thread that goes on to use it.
pub(crate) fn zeros<T: Scalar>(room: &mut [MaybeUninit<T>]) -> &mut [T] {
    room.fill(MaybeUninit::new(T::zero()));
    // SAFETY: all of it was just written.
    unsafe { room.assume_init_mut() }
}

/// The result that was written into its [`room`].
///
/// # Safety
/// Every element has been written.
pub(crate) unsafe fn written<T: Scalar>(room: Vec<MaybeUninit<T>>) -> Vec<T> {
    let mut room = ManuallyDrop::new(room);
    let (start, len, capacity) = (room.as_mut_ptr(), room.len(), room.capacity());
    // SAFETY: the parts of a vector whose elements have the layout of `T` and are initialised.
    unsafe { Vec::from_raw_parts(start.cast(), len, capacity) }
}

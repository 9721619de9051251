//! Running operations without a graph.

use std::cell::Cell;

use candle_core::Tensor;

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with no graph built by the operations of this crate: their results are not tracked and
/// nothing is kept for a backward.
///
/// It holds for the calling thread. candle's own operations on a Var go on being tracked; behind an
/// operation of this crate there is nothing left for them to track.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[-1f32, 2.], &Device::Cpu)?;
/// let y = dl_autograd::no_grad(|| dl_autograd::relu(&x))?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 2.]);
/// assert!(!y.track_op());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(true));
    f()
}

/// An operand as the graph shall see it.
pub(crate) fn operand(x: &Tensor) -> Tensor {
    if OFF.get() { x.detach() } else { x.clone() }
}

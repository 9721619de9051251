//! Which threads compute.

use candle_core::{Error, Result};

/// Computes on so many threads, of which the calling one is one; 0 for as many as the CPU has cores.
///
/// Without this call the kernels run on threads of their own, and the one that trains hands every
/// operation to them and sleeps: some microseconds each, which a small model feels. To be called once,
/// first in `main`, from the thread that trains. An error if the threads have been chosen already, or
/// have begun to compute.
///
/// ```
/// dl_core::threads::compute_on(2)?;
/// assert_eq!(rayon::current_num_threads(), 2);
/// assert!(dl_core::threads::compute_on(4).is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn compute_on(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .use_current_thread()
        .build_global()
        .map_err(Error::wrap)
}

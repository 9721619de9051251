//! Which threads compute.

use std::thread::available_parallelism;

use candle_core::{Error, Result};

/// Computes on so many threads, of which the calling one is one; 0 for as many as `RAYON_NUM_THREADS` says,
/// else as the CPU has cores, but then 2 at least.
///
/// Without this call the kernels run on threads of their own, and the one that trains hands every
/// operation to them and sleeps: some microseconds each, which a small model feels. To be called once,
/// first in `main`, from the thread that trains. An error if the threads have been chosen already, or
/// have begun to compute.
///
/// With 1 there is no thread but the caller's: what another one wants computed, such as a loader's worker
/// in a transform, waits until the caller computes something itself, and for ever if that waits for it.
///
/// ```
/// dl_core::threads::compute_on(2)?;
/// assert_eq!(rayon::current_num_threads(), 2);
/// assert!(dl_core::threads::compute_on(4).is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn compute_on(threads: usize) -> Result<()> {
    let told = threads != 0 || std::env::var_os("RAYON_NUM_THREADS").is_some();
    let threads = match available_parallelism() {
        Ok(cores) if cores.get() == 1 && !told => 2,
        _ => threads,
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .use_current_thread()
        .build_global()
        .map_err(Error::wrap)
}

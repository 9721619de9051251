//! What the timing of every peer shares: the loop, the line it prints and the made-up batches.

mod batch;
mod timing;

pub use batch::{ids, normal};
pub use timing::{Build, Workload, run};

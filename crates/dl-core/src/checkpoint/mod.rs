//! The state of a run on disk, from which it goes on as if it had never stopped.
//!
//! A folder holds one sub-folder for each checkpoint:
//!
//! ```text
//! step-00000120/
//!   model.safetensors        a part's tensors; weights load by name elsewhere
//!   optimizer.safetensors
//!   state.json               every part's values that are not tensors
//!   manifest.json            step, metrics, size and SHA-256 of each file; written last
//! ```
//!
//! It is written under another name, synced, and renamed when it is whole. What was cut off or
//! changed later is found by its manifest, refused by name, and the newest good one is used.

mod checkpoints;
mod error;
mod manifest;
mod non_finite;
mod parts;
mod snapshot;
mod writer;

pub use checkpoints::{Checkpoints, Goal, Keep, Saved};
pub use error::CheckpointError;
pub use manifest::{FileSum, Manifest};
pub use snapshot::{Part, Snapshot};
pub use writer::Writer;

pub(crate) use non_finite::Values;

//! Files that appear whole or not at all, and tensors in them as safetensors.
//!
//! | what | where |
//! |---|---|
//! | a file that replaces another in one step | [`AtomicFile`], [`replace`] |
//! | renames made durable | [`sync_folder`] |
//! | tensors to a file that other frameworks load by name | [`save_safetensors()`] |
//! | the same to any writer | [`write_safetensors`] |
//!
//! ```
//! let path = std::env::temp_dir().join(format!("whole-{}.txt", std::process::id()));
//! dl_files::replace(&path, b"either this or what was there")?;
//! assert_eq!(std::fs::read(&path)?.len(), 29);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod atomic_file;
mod error;
mod save_safetensors;

pub use atomic_file::{AtomicFile, replace, sync_folder};
pub use error::Error;
pub use save_safetensors::{save_safetensors, write_safetensors};

//! Pretrained weights for candle: files in and out by their own names.
//!
//! | to do | use |
//! |---|---|
//! | open `.safetensors`, `.pth`, `.pt`, `.bin` | [`Checkpoint`] |
//! | copy a file into a model, strictly and with a report | [`load_into`] |
//! | translate the file's names, drop what is not wanted | [`KeyMap`] |
//! | write a file other frameworks load by name | [`save_safetensors()`] |
//! | go on from a PyTorch optimizer's state | [`Checkpoint::optimizer_state`] |
//! | run a frozen backbone once over a data set | [`extract_features`] |
//! | turn `--weights FILE` or a hub id into a local file | [`resolve_weights`] |
//!
//! | feature | what it adds |
//! |---|---|
//! | `hub` (default) | downloads from the Hugging Face hub |
//! | `cuda`, `metal` | forwarded to `dl-core` |

mod byte_file;
mod checkpoint;
mod contents;
mod element;
mod error;
mod features;
mod hub;
mod key_map;
mod load;
mod load_report;
mod nearest_name;
mod optimizer_state;
pub mod pth;
mod safetensors_header;

pub use checkpoint::{Checkpoint, Format, TensorInfo};
pub use error::Error;
pub use features::extract_features;
pub use hub::{HubOptions, resolve_weights, resolve_weights_with};
pub use key_map::KeyMap;
pub use load::{LoadOptions, load_into};
pub use load_report::{Comparison, LoadReport, Mismatch, Missing};
pub use pth::PthError;

pub use dl_files::save_safetensors;

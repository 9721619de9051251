//! What can go wrong with weights from outside.

use std::path::PathBuf;

use crate::load_report::{Comparison, LoadReport};
use crate::pth::PthError;

/// An error about a weights file, its names or where it comes from.
///
/// ```
/// use dl_transfer::{Checkpoint, Error};
/// let error = Checkpoint::open("no/such.safetensors").unwrap_err();
/// assert!(matches!(error, Error::Io { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; nothing half-written is left behind.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// The first bytes belong to no format that is read here.
    #[error("{}: not safetensors and not a PyTorch checkpoint; {looks_like}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the bytes look like instead.
        looks_like: &'static str,
    },

    /// A PyTorch file that is damaged or holds more than plain tensors.
    #[error("{}: {source}", path.display())]
    Pth {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: PthError,
    },

    /// A safetensors file whose header is damaged.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: safetensors::SafeTensorError,
    },

    /// An element type that candle has no counterpart for.
    #[error("{}: tensor `{name}` has element type {dtype}, which candle cannot hold", path.display())]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The file's word for the type.
        dtype: String,
    },

    /// A tensor was asked for by a name that the file lacks.
    #[error("no tensor `{name}` in {}{}", path.display(), nearest_note(nearest))]
    NoSuchTensor {
        /// The name.
        name: String,
        /// The most similar name in the file.
        nearest: Option<String>,
        /// The file.
        path: PathBuf,
    },

    /// What was read as the state of an optimizer is none.
    #[error("{} is not the state of an optimizer: {reason}", path.display())]
    NotAnOptimizerState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor whose values cannot be held in the type asked for.
    #[error("tensor `{name}`: {value} does not fit in {dtype}")]
    OutOfRange {
        /// The tensor.
        name: String,
        /// The first value that does not fit.
        value: f64,
        /// The type.
        dtype: &'static str,
    },

    /// The key map sends two tensors of a file to one name.
    #[error("{}: the key map sends both `{first}` and `{second}` to `{target}`", path.display())]
    DuplicateTarget {
        /// The file.
        path: PathBuf,
        /// The first name in the file.
        first: String,
        /// The second name in the file.
        second: String,
        /// Our name for both.
        target: String,
    },

    /// A key map's rule whose right side uses more wildcards than its left side has.
    #[error("key map rule `{from}` → `{to}`: the right side has more wildcards than the left side")]
    BadRule {
        /// The left side.
        from: String,
        /// The right side.
        to: String,
    },

    /// There is nothing to load into: build the model on these `Params` first.
    #[error("no parameters to load {} into; build the model first", path.display())]
    EmptyParams {
        /// The file.
        path: PathBuf,
    },

    /// The file belongs to another model, or its names need a key map.
    #[error("{} does not hold this model: {comparison}", path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// How far apart they are.
        comparison: Box<Comparison>,
    },

    /// The file does not fit and the options do not allow for it. Nothing was loaded.
    #[error("cannot load {}: {}", path.display(), report.problems())]
    Refused {
        /// The file.
        path: PathBuf,
        /// All that does not fit, by name.
        report: Box<LoadReport>,
    },

    /// `--weights` names a file that does not exist.
    #[error("no weights file {}", path.display())]
    NoSuchFile {
        /// The file.
        path: PathBuf,
    },

    /// A folder without a weights file in it.
    #[error("no weights file in folder {}; looked for {}", path.display(), looked_for.join(", "))]
    NoWeightsInFolder {
        /// The folder.
        path: PathBuf,
        /// The names tried.
        looked_for: Vec<&'static str>,
    },

    /// A hub id was given to a build that cannot reach the hub.
    #[error(
        "`{id}` is not a file, and this build cannot download from the hub; \
         build with `--features hub` or give a file"
    )]
    HubDisabled {
        /// The hub id.
        id: String,
    },

    /// Neither a file nor an id of the form `owner/name`.
    #[error(
        "`{id}` is neither a file nor a hub id of the form `owner/name` or `owner/name@revision`"
    )]
    BadHubId {
        /// What was given.
        id: String,
    },

    /// Offline, and the local cache does not have the model.
    #[error(
        "`{id}` is not in the local cache {} and HF_HUB_OFFLINE is set; \
         unset it to download, or give a file",
        cache.display()
    )]
    HubOffline {
        /// The hub id.
        id: String,
        /// The cache folder.
        cache: PathBuf,
    },

    /// The hub has the model but no file of weights that is read here.
    #[error("`{id}` on the hub has no weights file; looked for {}", looked_for.join(", "))]
    HubNoWeights {
        /// The hub id.
        id: String,
        /// The names tried.
        looked_for: Vec<&'static str>,
    },

    /// The hub, or the way to it, failed.
    #[error("cannot fetch `{id}` from the hub: {source}")]
    Hub {
        /// The hub id.
        id: String,
        /// The client's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Candle refused an operation on a tensor.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

fn nearest_note(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; nearest is `{name}`"),
        None => String::new(),
    }
}

//! A place in the stream of batches.

use serde::{Deserialize, Serialize};

/// The batch that comes next: kept in a checkpoint, it lets a run go on where it stopped.
///
/// ```
/// use dl_core::data::Position;
/// let position = Position { epoch: 3, batch: 120 };
/// let text = serde_json::to_string(&position).unwrap();
/// assert_eq!(text, r#"{"epoch":3,"batch":120}"#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch within the epoch, from 0.
    pub batch: u64,
}

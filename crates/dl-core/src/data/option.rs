//! Options and their ranges.

use super::DataError;

/// Refuses 0.
pub(super) fn above_zero(option: &'static str, value: usize) -> Result<(), DataError> {
    match value {
        0 => Err(DataError::Option {
            option,
            wanted: "above 0",
            came: "0".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses what is no probability.
pub(super) fn probability(option: &'static str, value: f64) -> Result<(), DataError> {
    match value {
        0.0..=1.0 => Ok(()),
        came => Err(DataError::Option {
            option,
            wanted: "in [0, 1]",
            came: came.to_string(),
        }),
    }
}

//! The columns of predictions of values.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Columns, PredictionFile};
use crate::train::{TrainError, ValuePrediction};

/// The columns of a [`PredictionFile`] of values.
///
/// ```
/// use dl_core::train::{PredictionFile, ValueColumns};
/// let path = std::env::temp_dir().join(format!("values-{}.csv", std::process::id()));
/// let file: PredictionFile<ValueColumns> = PredictionFile::values(&path, &["rooms", "area"])?;
/// file.finish()?;
/// assert_eq!(std::fs::metadata(&path)?.len(), 0);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValueColumns {
    names: Vec<String>,
}

impl PredictionFile<ValueColumns> {
    /// Begins a file of values. Where a sample has not as many targets, or predictions, as there are
    /// names, they have their numbers; a value that is the only one needs no name. Fails as
    /// [`PredictionFile::create`], and on a name that comes twice.
    pub fn values<S: AsRef<str>>(
        path: impl AsRef<Path>,
        value_names: &[S],
    ) -> Result<Self, TrainError> {
        let names: Vec<String> = value_names.iter().map(|n| n.as_ref().to_string()).collect();
        if BTreeSet::from_iter(&names).len() < names.len() {
            return Err(TrainError::Option {
                field: "value_names",
                wanted: "names of which no two are the same",
                came: names.join(", "),
            });
        }
        Self::begin(path.as_ref(), ValueColumns { names })
    }

    /// Adds a sample. Fails where it cannot be written, and in a table if it has not as many values as
    /// the first.
    pub fn write(&mut self, prediction: &ValuePrediction) -> Result<(), TrainError> {
        self.add(prediction)
    }
}

impl ValueColumns {
    /// `target_rooms`, `target_1` or `target`.
    fn named(&self, side: &str, values: usize) -> Vec<String> {
        match values == self.names.len() {
            true => self.names.iter().map(|n| format!("{side}_{n}")).collect(),
            false if values == 1 => vec![side.to_string()],
            false => (0..values).map(|i| format!("{side}_{i}")).collect(),
        }
    }
}

impl Columns<ValuePrediction> for ValueColumns {
    fn header(&self, found: &ValuePrediction) -> Vec<String> {
        let mut header = vec!["index".to_string(), "name".to_string()];
        header.extend(self.named("target", found.target.len()));
        header.extend(self.named("prediction", found.predicted.len()));
        header.push("loss".to_string());
        header
    }

    fn cells(&self, found: &ValuePrediction) -> Vec<String> {
        let mut cells = vec![found.index.to_string(), found.name.clone()];
        let values = found.target.iter().chain(&found.predicted);
        cells.extend(values.chain([&found.loss]).map(f64::to_string));
        cells
    }

    fn object(&self, found: &ValuePrediction) -> Map<String, Value> {
        let values = found.target.iter().chain(&found.predicted);
        let numbers = values.chain([&found.loss]).map(|value| json!(value));
        let cells = [json!(found.index), json!(found.name)].into_iter();
        let header = self.header(found).into_iter();
        header.zip(cells.chain(numbers)).collect()
    }
}

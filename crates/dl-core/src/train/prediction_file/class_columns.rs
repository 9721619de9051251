//! The columns of predictions of classes.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Columns, PredictionFile, format_of};
use crate::train::{Prediction, TrainError};

/// The columns of a [`PredictionFile`] of classes.
///
/// ```
/// use dl_core::train::{ClassColumns, PredictionFile};
/// let path = std::env::temp_dir().join(format!("classes-{}.csv", std::process::id()));
/// let file: PredictionFile<ClassColumns> = PredictionFile::create(&path, &["cat", "dog"])?.top(1);
/// file.finish()?;
/// assert_eq!(std::fs::metadata(&path)?.len(), 0);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassColumns {
    names: Vec<String>,
    top: Option<usize>,
}

impl PredictionFile {
    /// Begins a file of classes. Fails on an ending other than `.csv` and `.jsonl`, and where it cannot
    /// be written.
    pub fn create<S: AsRef<str>>(
        path: impl AsRef<Path>,
        class_names: &[S],
    ) -> Result<Self, TrainError> {
        let names = class_names.iter().map(|name| name.as_ref().to_string());
        let names = names.collect();
        Self::begin(path.as_ref(), ClassColumns { names, top: None })
    }

    /// Writes the `k` likeliest classes in place of all of them.
    pub fn top(mut self, k: usize) -> Self {
        self.columns.top = Some(k);
        self
    }

    /// Whether a file of this name can be written at all, before anything is.
    pub fn check(path: impl AsRef<Path>) -> Result<(), TrainError> {
        format_of(path.as_ref()).map(drop)
    }

    /// Adds a sample. Fails where it cannot be written.
    pub fn write(&mut self, prediction: &Prediction) -> Result<(), TrainError> {
        self.add(prediction)
    }
}

impl Columns<Prediction> for ClassColumns {
    fn header(&self, found: &Prediction) -> Vec<String> {
        let header = ["index", "name", "target", "prediction", "loss"];
        let mut header = header.map(String::from).to_vec();
        let classes = found.probabilities.len();
        match self.top {
            None => {
                let classes = (0..classes).map(|class| self.class(class));
                header.extend(classes.map(|class| format!("probability_{class}")));
            }
            Some(k) => {
                let places = 1..=k.min(classes);
                header
                    .extend(places.flat_map(|n| [format!("top_{n}"), format!("probability_{n}")]));
            }
        }
        header
    }

    fn cells(&self, found: &Prediction) -> Vec<String> {
        let mut cells = vec![
            found.index.to_string(),
            found.name.clone(),
            self.class(found.target),
            self.class(found.predicted),
            found.loss.to_string(),
        ];
        match self.top {
            None => cells.extend(found.probabilities.iter().map(f32::to_string)),
            Some(k) => {
                let top = found.top(k).into_iter();
                cells.extend(top.flat_map(|(class, p)| [self.class(class), p.to_string()]));
            }
        }
        cells
    }

    fn object(&self, found: &Prediction) -> Map<String, Value> {
        let (name, values) = match self.top {
            None => ("probabilities", self.by_class(&found.probabilities)),
            Some(k) => ("top", self.likeliest(&found.top(k))),
        };
        let pairs = [
            ("index", json!(found.index)),
            ("name", json!(found.name)),
            ("target", json!(self.class(found.target))),
            ("prediction", json!(self.class(found.predicted))),
            ("loss", json!(found.loss)),
            (name, values),
        ];
        let owned = pairs.map(|(name, value)| (name.to_string(), value));
        owned.into_iter().collect()
    }
}

impl ClassColumns {
    fn by_class(&self, probabilities: &[f32]) -> Value {
        let all = probabilities.iter().enumerate();
        Value::Object(
            all.map(|(class, p)| (self.class(class), decimal(*p)))
                .collect(),
        )
    }

    fn likeliest(&self, top: &[(usize, f32)]) -> Value {
        let one = |&(class, p): &(usize, f32)| json!({"class": self.class(class), "probability": decimal(p)});
        Value::Array(top.iter().map(one).collect())
    }

    fn class(&self, class: usize) -> String {
        let name = self.names.get(class);
        name.cloned().unwrap_or_else(|| class.to_string())
    }
}

/// With the digits that an f32 needs and no more.
fn decimal(p: f32) -> Value {
    p.to_string().parse().map_or(Value::Null, |p: f64| p.into())
}

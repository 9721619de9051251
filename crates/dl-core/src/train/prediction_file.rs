//! Predictions as a table or as JSON lines.

use std::io::{Result as IoResult, Write};
use std::path::{Path, PathBuf};

use dl_files::AtomicFile;
use serde_json::{Map, Value, json};

use super::{Prediction, TrainError};

/// Writes predictions to a file, one a row, which appears whole when it is finished.
///
/// | ending | a sample |
/// |---|---|
/// | `.csv` | `index`, `name`, `target`, `prediction`, `loss`, then `probability_CLASS` for each class |
/// | `.csv`, top k | the same, then `top_1`, `probability_1`, … in place of the classes |
/// | `.jsonl` | an object of the same names, with `probabilities`: class → probability |
/// | `.jsonl`, top k | the same with `top`: a list of `{"class": …, "probability": …}` |
///
/// A class without a name has its number. In JSON a number that is not finite is `null`.
///
/// ```
/// use dl_core::train::{Prediction, PredictionFile};
/// let path = std::env::temp_dir().join(format!("predictions-{}.csv", std::process::id()));
/// let mut file = PredictionFile::create(&path, &["cat", "dog"])?;
/// file.write(&Prediction {
///     index: 0,
///     name: "a.png".to_string(),
///     target: 1,
///     predicted: 0,
///     loss: 1.5,
///     probabilities: vec![0.75, 0.25],
/// })?;
/// file.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "\
/// index,name,target,prediction,loss,probability_cat,probability_dog
/// 0,a.png,dog,cat,1.5,0.75,0.25
/// ");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PredictionFile {
    file: AtomicFile,
    path: PathBuf,
    format: Format,
    class_names: Vec<String>,
    top: Option<usize>,
    begun: bool,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    JsonLines,
}

impl PredictionFile {
    /// Begins a file. Fails on an ending other than `.csv` and `.jsonl`, and where it cannot be
    /// written.
    pub fn create<S: AsRef<str>>(
        path: impl AsRef<Path>,
        class_names: &[S],
    ) -> Result<Self, TrainError> {
        let path = path.as_ref().to_path_buf();
        let format = Self::format(&path)?;
        let names = class_names.iter().map(|name| name.as_ref().to_string());
        Ok(Self {
            file: AtomicFile::create(&path).map_err(failed(&path))?,
            path,
            format,
            class_names: names.collect(),
            top: None,
            begun: false,
        })
    }

    /// Writes the `k` likeliest classes in place of all of them.
    pub fn top(self, k: usize) -> Self {
        let top = Some(k);
        Self { top, ..self }
    }

    /// Whether a file of this name can be written at all, before anything is.
    pub fn check(path: impl AsRef<Path>) -> Result<(), TrainError> {
        Self::format(path.as_ref()).map(drop)
    }

    fn format(path: &Path) -> Result<Format, TrainError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(Format::Csv),
            Some("jsonl") => Ok(Format::JsonLines),
            _ => Err(TrainError::Option {
                field: "predictions",
                wanted: "a file that ends in .csv or .jsonl",
                came: path.display().to_string(),
            }),
        }
    }

    /// Adds a sample.
    pub fn write(&mut self, prediction: &Prediction) -> Result<(), TrainError> {
        let written = match self.format {
            Format::Csv => self.row(prediction),
            Format::JsonLines => self.object(prediction),
        };
        written.map_err(failed(&self.path))
    }

    /// Puts the file in its place.
    pub fn finish(self) -> Result<(), TrainError> {
        self.file.commit().map_err(failed(&self.path))
    }

    fn row(&mut self, found: &Prediction) -> IoResult<()> {
        if !self.begun {
            let header = self.header(found.probabilities.len());
            self.record(header)?;
            self.begun = true;
        }
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
        self.record(cells)
    }

    fn header(&self, classes: usize) -> Vec<String> {
        let mut header = ["index", "name", "target", "prediction", "loss"]
            .map(String::from)
            .to_vec();
        match self.top {
            None => {
                let classes = 0..classes;
                header.extend(classes.map(|class| format!("probability_{}", self.class(class))));
            }
            Some(k) => {
                let places = 1..=k.min(classes);
                header
                    .extend(places.flat_map(|n| [format!("top_{n}"), format!("probability_{n}")]));
            }
        }
        header
    }

    fn record(&mut self, cells: Vec<String>) -> IoResult<()> {
        let mut writer = csv::Writer::from_writer(&mut self.file);
        writer.write_record(cells)?;
        writer.flush()
    }

    fn object(&mut self, found: &Prediction) -> IoResult<()> {
        let mut object = Map::new();
        object.insert("index".to_string(), json!(found.index));
        object.insert("name".to_string(), json!(found.name));
        object.insert("target".to_string(), json!(self.class(found.target)));
        object.insert("prediction".to_string(), json!(self.class(found.predicted)));
        object.insert("loss".to_string(), json!(found.loss));
        let (name, values) = match self.top {
            None => ("probabilities", self.by_class(&found.probabilities)),
            Some(k) => ("top", self.likeliest(&found.top(k))),
        };
        object.insert(name.to_string(), values);
        writeln!(self.file, "{}", Value::Object(object))
    }

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
        let name = self.class_names.get(class);
        name.cloned().unwrap_or_else(|| class.to_string())
    }
}

/// With the digits that an f32 needs and no more.
fn decimal(p: f32) -> Value {
    p.to_string().parse().map_or(Value::Null, |p: f64| p.into())
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> TrainError {
    move |reason| TrainError::Write {
        path: path.to_path_buf(),
        reason,
    }
}

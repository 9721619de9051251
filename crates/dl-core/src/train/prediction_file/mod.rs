//! Predictions as a table or as JSON lines.

mod class_columns;
mod value_columns;

pub use class_columns::ClassColumns;
pub use value_columns::ValueColumns;

use std::io::{Error, ErrorKind, Result as IoResult, Write};
use std::path::{Path, PathBuf};

use dl_files::AtomicFile;
use serde_json::{Map, Value};

use super::TrainError;

/// Writes predictions to a file, one a row, which appears whole when it is finished.
///
/// Of classes, from [`PredictionFile::create`]:
///
/// | ending | a sample |
/// |---|---|
/// | `.csv` | `index`, `name`, `target`, `prediction`, `loss`, then `probability_CLASS` for each class |
/// | `.csv`, top k | the same, then `top_1`, `probability_1`, … in place of the classes |
/// | `.jsonl` | an object of the same names, with `probabilities`: class → probability |
/// | `.jsonl`, top k | the same with `top`: a list of `{"class": …, "probability": …}` |
///
/// Of values, from [`PredictionFile::values`]:
///
/// | ending | a sample |
/// |---|---|
/// | `.csv` | `index`, `name`, `target_VALUE` and then `prediction_VALUE` for each value, `loss` |
/// | `.jsonl` | an object of the same names |
///
/// A class without a name has its number. In JSON a number that is not finite is `null`.
///
/// ```
/// use dl_core::train::{Prediction, PredictionFile, ValuePrediction};
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
/// let mut file = PredictionFile::values(&path, &["rooms", "area"])?;
/// file.write(&ValuePrediction {
///     index: 0,
///     name: "house".to_string(),
///     target: vec![2., 140.],
///     predicted: vec![2.5, 139.],
///     loss: 0.625,
/// })?;
/// file.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "\
/// index,name,target_rooms,target_area,prediction_rooms,prediction_area,loss
/// 0,house,2,140,2.5,139,0.625
/// ");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PredictionFile<C = ClassColumns> {
    file: AtomicFile,
    path: PathBuf,
    format: Format,
    columns: C,
    /// Columns of the table, once it has a header.
    width: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    JsonLines,
}

/// How a prediction becomes a row.
trait Columns<P> {
    /// The names of the columns, as the first sample has them.
    fn header(&self, found: &P) -> Vec<String>;
    fn cells(&self, found: &P) -> Vec<String>;
    fn object(&self, found: &P) -> Map<String, Value>;
}

impl<C> PredictionFile<C> {
    fn begin(path: &Path, columns: C) -> Result<Self, TrainError> {
        Ok(Self {
            format: format_of(path)?,
            file: AtomicFile::create(path).map_err(failed(path))?,
            path: path.to_path_buf(),
            columns,
            width: None,
        })
    }

    fn add<P>(&mut self, found: &P) -> Result<(), TrainError>
    where
        C: Columns<P>,
    {
        let written = match self.format {
            Format::Csv => self.row(found),
            Format::JsonLines => self.object(found),
        };
        written.map_err(failed(&self.path))
    }

    /// Puts the file in its place.
    pub fn finish(self) -> Result<(), TrainError> {
        self.file.commit().map_err(failed(&self.path))
    }

    fn row<P>(&mut self, found: &P) -> IoResult<()>
    where
        C: Columns<P>,
    {
        if self.width.is_none() {
            let header = self.columns.header(found);
            self.width = Some(header.len());
            self.record(header)?;
        }
        let (cells, wanted) = (self.columns.cells(found), self.width.unwrap_or(0));
        if cells.len() != wanted {
            let came = cells.len();
            let reason = format!("the table has {wanted} columns, came a sample of {came}");
            return Err(Error::new(ErrorKind::InvalidData, reason));
        }
        self.record(cells)
    }

    fn record(&mut self, cells: Vec<String>) -> IoResult<()> {
        let mut writer = csv::Writer::from_writer(&mut self.file);
        writer.write_record(cells)?;
        writer.flush()
    }

    fn object<P>(&mut self, found: &P) -> IoResult<()>
    where
        C: Columns<P>,
    {
        let object = self.columns.object(found);
        writeln!(self.file, "{}", Value::Object(object))
    }
}

fn format_of(path: &Path) -> Result<Format, TrainError> {
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

fn failed(path: &Path) -> impl Fn(Error) -> TrainError {
    move |reason| TrainError::Write {
        path: path.to_path_buf(),
        reason,
    }
}

//! The metrics of every epoch as a table.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Callback, Epoch, Flow, Plan, TrainError};

/// Appends one row an epoch to a CSV file: the fields of [`Epoch`] and some of one's own; Keras'
/// `CSVLogger`.
///
/// The first row is the header. Columns keep their places: one that comes later, such as a metric that
/// is not found in every epoch, is added at the end, and rows without it have an empty cell. A number
/// that is not finite is `NaN`, `inf` or `-inf`. A run that goes on from a checkpoint, or begins again
/// with `Resume::IfAny` before it had one, first takes off its own rows (those with the same fields of
/// one's own) that lie behind it.
///
/// ```
/// use dl_core::train::CsvLog;
/// let path = std::env::temp_dir().join(format!("csv-log-{}.csv", std::process::id()));
/// let log = CsvLog::append(&path)?.with("run", "a");
/// assert_eq!(std::fs::metadata(&path)?.len(), 0);
/// # drop(log);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    file: File,
    columns: Vec<String>,
    extra: Vec<(String, String)>,
}

/// A row by columns.
type Row = Vec<(String, String)>;

impl CsvLog {
    /// Appends to `path`, which is created if it is missing. Fails if it cannot be read or written.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = path.as_ref().to_path_buf();
        let open = || -> std::io::Result<_> {
            let file = opened(&path)?;
            let columns = reader(&fs::read_to_string(&path)?).headers()?.clone();
            Ok((file, columns.iter().map(String::from).collect()))
        };
        let (file, columns) = open().map_err(failed(&path))?;
        Ok(Self {
            path,
            file,
            columns,
            extra: vec![],
        })
    }

    /// Adds a column with the same text in every row, such as the name of the run.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.extra.push((name.to_string(), value.to_string()));
        self
    }

    fn write(&mut self, row: &Row) -> std::io::Result<()> {
        let new: Vec<_> = row.iter().map(|(name, _)| name).collect();
        let new: Vec<_> = new
            .into_iter()
            .filter(|name| !self.columns.contains(name))
            .cloned()
            .collect();
        if !new.is_empty() {
            self.columns.extend(new);
            self.rewrite(|_| true)?;
        }
        let cell = |name: &String| row.iter().find(|(column, _)| column == name);
        let cells = self.columns.iter();
        let cells = cells.map(|name| cell(name).map_or("", |(_, value)| value));
        self.file.write_all(&line(cells)?)
    }

    /// Writes the file again with the present columns and the rows that stay.
    fn rewrite(&mut self, stays: impl Fn(&Row) -> bool) -> std::io::Result<()> {
        let mut text = line(self.columns.iter().map(String::as_str))?;
        for row in self.rows()?.iter().filter(|row| stays(row)) {
            let value = |name: &String| row.iter().find(|(column, _)| column == name);
            let cells = self.columns.iter().map(value);
            text.extend(line(cells.map(|cell| cell.map_or("", |(_, v)| v)))?);
        }
        dl_files::replace(&self.path, &text)?;
        self.file = opened(&self.path)?;
        Ok(())
    }

    /// The rows in the file, without a last one that was cut off.
    fn rows(&self) -> std::io::Result<Vec<Row>> {
        let text = fs::read_to_string(&self.path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut reader = reader(whole);
        let header = reader.headers()?.clone();
        let records = reader.records().filter_map(Result::ok);
        let row = |record: csv::StringRecord| {
            let pairs = header.iter().zip(record.iter());
            pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
        };
        Ok(records.map(row).collect())
    }

    /// Takes off this run's rows behind `step`.
    fn cut(&mut self, step: usize) -> std::io::Result<()> {
        let extra = self.extra.clone();
        self.rewrite(|row| {
            let of = |name: &str| row.iter().find(|(column, _)| column == name);
            let ours = extra.iter().all(|pair| of(&pair.0) == Some(pair));
            let at = of("step").and_then(|(_, step)| step.parse::<usize>().ok());
            !(ours && at > Some(step))
        })
    }
}

impl Callback for CsvLog {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        match plan.cut_after {
            Some(step) if !self.columns.is_empty() => {
                self.cut(step).map_err(failed(&self.path.clone()))
            }
            _ => Ok(()),
        }
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        let path = self.path.clone();
        let row = row(&self.extra, epoch).map_err(|error| failed(&path)(error.into()))?;
        self.write(&row).map_err(failed(&path))?;
        Ok(Flow::Continue)
    }
}

fn row(extra: &Row, epoch: &Epoch) -> serde_json::Result<Row> {
    let mut row = extra.clone();
    if let Value::Object(fields) = serde_json::to_value(epoch)? {
        row.extend(fields.into_iter().map(|(name, value)| {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                number => number.to_string(),
            };
            (name, text)
        }));
    }
    Ok(row)
}

fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(cells)?;
    writer.into_inner().map_err(|error| error.into_error())
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::Reader::from_reader(text.as_bytes())
}

fn opened(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> TrainError {
    move |reason| TrainError::Write {
        path: path.to_path_buf(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Row {
        let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        owned.collect()
    }

    #[test]
    fn columns_keep_their_places_and_new_ones_come_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let mut log = CsvLog::append(&path).unwrap();
        log.write(&row(&[("step", "1"), ("loss", "0.5")])).unwrap();
        log.write(&row(&[("step", "2"), ("a,\"b\"", "7"), ("loss", "NaN")]))
            .unwrap();
        let mut again = CsvLog::append(&path).unwrap();
        again
            .write(&row(&[("loss", "0.25"), ("step", "3")]))
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "step,loss,\"a,\"\"b\"\"\"\n1,0.5,\n2,NaN,7\n3,0.25,\n"
        );
    }

    #[test]
    fn a_cut_takes_off_what_is_behind_the_step_of_this_run_and_a_torn_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        fs::write(&path, "run,step,loss\na,2,1\nb,9,1\na,4,1\na,6,0.12").unwrap();
        let mut log = CsvLog::append(&path).unwrap().with("run", "a");
        log.cut(3).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "run,step,loss\na,2,1\nb,9,1\n");
        log.write(&row(&[("run", "a"), ("step", "4")])).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("a,4,\n"));
    }
}

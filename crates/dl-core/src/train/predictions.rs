//! What a model said of each sample, as a table.

use std::path::{Path, PathBuf};

use candle_core::{D, DType, Result as CandleResult, Tensor};
use dl_files::AtomicFile;

use super::TrainError;

/// A CSV file that appears when it is whole.
pub(super) struct Predictions {
    path: PathBuf,
    table: csv::Writer<AtomicFile>,
    /// Whether the header is written.
    begun: bool,
}

impl Predictions {
    pub(super) fn create(path: PathBuf) -> Result<Self, TrainError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|reason| failed(&path, reason))?;
        }
        let file = AtomicFile::create(&path).map_err(|reason| failed(&path, reason))?;
        Ok(Self {
            path,
            table: csv::Writer::from_writer(file),
            begun: false,
        })
    }

    /// A row for each sample of a batch. `items` are its indices, or fewer if some were left out.
    pub(super) fn write(
        &mut self,
        items: &[usize],
        targets: &Tensor,
        outputs: &Tensor,
    ) -> Result<(), TrainError> {
        let rows = Rows::new(targets, outputs)?;
        if !std::mem::replace(&mut self.begun, true) {
            self.record(rows.header())?;
        }
        let known = items.len() == rows.outputs.len();
        for row in 0..rows.outputs.len() {
            let item = items.get(row).filter(|_| known);
            self.record(rows.cells(item, row))?;
        }
        Ok(())
    }

    fn record(&mut self, cells: Vec<String>) -> Result<(), TrainError> {
        let written = self.table.write_record(cells);
        written.map_err(|error| failed(&self.path, error.into()))
    }

    pub(super) fn commit(self) -> Result<PathBuf, TrainError> {
        let path = self.path;
        let file = self.table.into_inner();
        let file = file.map_err(|error| failed(&path, error.into_error()))?;
        file.commit().map_err(|reason| failed(&path, reason))?;
        Ok(path)
    }
}

fn failed(path: &Path, reason: std::io::Error) -> TrainError {
    let path = path.to_path_buf();
    TrainError::Write { path, reason }
}

/// A batch as text.
struct Rows {
    targets: Vec<Vec<String>>,
    /// The classes of the largest outputs.
    classes: Option<Vec<u32>>,
    outputs: Vec<Vec<String>>,
}

impl Rows {
    fn new(targets: &Tensor, outputs: &Tensor) -> CandleResult<Self> {
        let classified = targets.rank() == 1 && targets.dtype().is_int() && outputs.rank() == 2;
        let classes = classified.then(|| outputs.argmax(D::Minus1)?.to_vec1::<u32>());
        Ok(Self {
            targets: text(targets)?,
            classes: classes.transpose()?,
            outputs: text(outputs)?,
        })
    }

    fn header(&self) -> Vec<String> {
        let width = |rows: &[Vec<String>]| rows.first().map_or(0, Vec::len);
        let numbered = |name: &str, n| (0..n).map(|i| format!("{name}_{i}")).collect::<Vec<_>>();
        let mut header = vec!["item".to_string()];
        match width(&self.targets) {
            1 => header.push("target".to_string()),
            n => header.extend(numbered("target", n)),
        }
        header.extend(self.classes.as_ref().map(|_| "prediction".to_string()));
        header.extend(numbered("output", width(&self.outputs)));
        header
    }

    fn cells(&self, item: Option<&usize>, row: usize) -> Vec<String> {
        let mut cells = vec![item.map_or_else(String::new, usize::to_string)];
        cells.extend(self.targets[row].iter().cloned());
        cells.extend(
            self.classes
                .as_ref()
                .map(|classes| classes[row].to_string()),
        );
        cells.extend(self.outputs[row].iter().cloned());
        cells
    }
}

/// A row for each sample; numbers with as many digits as bring them back.
fn text(x: &Tensor) -> CandleResult<Vec<Vec<String>>> {
    let x = x.reshape((x.dim(0)?, ()))?;
    Ok(match x.dtype() {
        DType::F64 => strings(x.to_vec2::<f64>()?),
        dtype if dtype.is_int() => strings(x.to_dtype(DType::I64)?.to_vec2::<i64>()?),
        _ => strings(x.to_dtype(DType::F32)?.to_vec2::<f32>()?),
    })
}

fn strings<T: ToString>(rows: Vec<Vec<T>>) -> Vec<Vec<String>> {
    let row = |row: Vec<T>| row.iter().map(T::to_string).collect();
    rows.into_iter().map(row).collect()
}

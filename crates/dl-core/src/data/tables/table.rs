//! A table in memory.

use std::path::Path;
use std::sync::Arc;

use super::header::Header;
use super::rows::{Rows, empty};
use super::{ClassLabels, Row, TableClassification, TableFormat, TableRegression};
use crate::data::{DataError, Dataset, OnError};

/// The rows of a CSV or TSV file, plain or compressed, held in memory.
///
/// Lines end in `\n` or `\r\n`, a byte order mark and empty lines are passed over. Every row has as many
/// cells as the first. A cell becomes a number when it is asked for, so that one which is none is an
/// error of its item, for the loader to stop at or to skip.
///
/// ```
/// use dl_core::data::{Dataset, Labelled, Table, TableFormat};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.csv");
/// std::fs::write(&path, "length,width,kind\n5.1,3.5,rose\n4.9,3,lily\n")?;
/// let flowers = Table::open(&path, &TableFormat::csv())?;
/// assert_eq!(flowers.get(1)?.text("kind")?, "lily");
/// let data = flowers.classification(&["length", "width"], "kind")?;
/// assert_eq!((data.labels(), data.class_names()), (&[1, 0][..], &["lily".into(), "rose".into()][..]));
/// assert_eq!(data.get(0)?.0.to_vec1::<f32>()?, [5.1, 3.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    header: Arc<Header>,
    rows: Vec<Row>,
    skipped: usize,
}

impl Table {
    /// Reads the file; fails when it cannot be read, has no row, ends within quotes, or, as the format
    /// has it, on the first damaged row.
    pub fn open(path: impl AsRef<Path>, format: &TableFormat) -> Result<Self, DataError> {
        let read = Rows::open(path.as_ref(), format)?;
        let header = Arc::clone(read.header());
        let (mut rows, mut skipped) = (Vec::new(), 0);
        for row in read {
            match (row, format.on_error) {
                (Ok(row), _) => rows.push(row),
                (Err(error @ DataError::Line { .. }), OnError::Skip) => {
                    tracing::warn!("skipped {error}");
                    skipped += 1;
                }
                (Err(error), _) => return Err(error),
            }
        }
        match rows.is_empty() {
            true => Err(empty(path.as_ref())),
            false => Ok(Self {
                header,
                rows,
                skipped,
            }),
        }
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.header.columns
    }

    /// Damaged rows that were left out.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The classes that a column names, numbered in their sorted order. Fails on an empty cell.
    pub fn classes(&self, column: &str) -> Result<ClassLabels, DataError> {
        ClassLabels::of(&self.rows, self.header.find(column)?)
    }

    /// The classes of a column by the names of another table's, so that both have the same numbers:
    /// those of the training data for the evaluation. Fails on a row of another class.
    ///
    /// ```
    /// use dl_core::data::{Table, TableFormat};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("eval.csv");
    /// std::fs::write(&path, "kind\nrose\n")?;
    /// let table = Table::open(&path, &TableFormat::csv())?;
    /// let train = ["lily".to_owned(), "rose".to_owned()];
    /// assert_eq!(table.classes_named("kind", &train)?.labels, [1]);
    /// let error = table.classes_named("kind", &train[..1]).unwrap_err().to_string();
    /// assert!(error.ends_with(r#"eval.csv:2, `kind`: wanted one of lily, came "rose""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn classes_named(&self, column: &str, names: &[String]) -> Result<ClassLabels, DataError> {
        ClassLabels::with_names(&self.rows, self.header.find(column)?, names.to_vec())
    }

    /// As [`Table::classification`], with the classes of [`Table::classes_named`].
    pub fn classification_named(
        &self,
        features: &[&str],
        label: &str,
        names: &[String],
    ) -> Result<TableClassification, DataError> {
        let classes = self.classes_named(label, names)?;
        let features = self.header.find_all(features)?;
        Ok(TableClassification::new(self.clone(), features, classes))
    }

    /// Rows as items `f32 (features,)` and `u32 ()`, the class that `label` names.
    pub fn classification(
        &self,
        features: &[&str],
        label: &str,
    ) -> Result<TableClassification, DataError> {
        let classes = self.classes(label)?;
        let features = self.header.find_all(features)?;
        Ok(TableClassification::new(self.clone(), features, classes))
    }

    /// Rows as items `f32 (features,)` and `f32 (targets,)`.
    pub fn regression(
        &self,
        features: &[&str],
        targets: &[&str],
    ) -> Result<TableRegression, DataError> {
        let features = self.header.find_all(features)?;
        let targets = self.header.find_all(targets)?;
        Ok(TableRegression::new(self.clone(), features, targets))
    }

    pub(super) fn row(&self, index: usize) -> Result<&Row, DataError> {
        let len = self.rows.len();
        let row = self.rows.get(index);
        row.ok_or(DataError::OutOfRange { index, len })
    }
}

impl Dataset for Table {
    type Item = Row;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize) -> Result<Row, DataError> {
        self.row(index).cloned()
    }

    fn name(&self, index: usize) -> String {
        match self.row(index) {
            Ok(row) => row.place(),
            Err(_) => format!("#{index}"),
        }
    }
}

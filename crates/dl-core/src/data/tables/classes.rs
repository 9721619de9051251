//! The classes that a column names.

use std::collections::{BTreeSet, HashMap};

use super::Row;
use crate::data::DataError;

/// The class of every row, and what the classes are called.
///
/// Classes are numbered by their sorted names; names that are all whole numbers are sorted as such, so
/// that `10` comes behind `9`.
///
/// ```
/// use dl_core::data::{Table, TableFormat};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("digits.csv");
/// std::fs::write(&path, "digit\n10\n9\n10\n")?;
/// let classes = Table::open(&path, &TableFormat::csv())?.classes("digit")?;
/// assert_eq!((classes.labels, classes.names), (vec![1, 0, 1], vec!["9".to_owned(), "10".to_owned()]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassLabels {
    /// The class of every row, in the order of the rows.
    pub labels: Vec<u32>,
    /// The name of every class.
    pub names: Vec<String>,
}

impl ClassLabels {
    pub(super) fn of(rows: &[Row], place: usize) -> Result<Self, DataError> {
        let names: BTreeSet<&str> = rows
            .iter()
            .map(|row| name(row, place))
            .collect::<Result<_, _>>()?;
        Self::with_names(rows, place, sorted(names))
    }

    /// Fails on a row of another class.
    pub(super) fn with_names(
        rows: &[Row],
        place: usize,
        names: Vec<String>,
    ) -> Result<Self, DataError> {
        let number: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let label = |row: &Row| {
            let label = number.get(name(row, place)?).copied();
            label.ok_or_else(|| row.error(place, &format!("one of {}", names.join(", "))))
        };
        let labels = rows.iter().map(label).collect::<Result<_, _>>()?;
        Ok(Self { labels, names })
    }
}

fn name(row: &Row, place: usize) -> Result<&str, DataError> {
    match row.cell(place).trim() {
        "" => Err(row.error(place, "the name of a class")),
        name => Ok(name),
    }
}

fn sorted(names: BTreeSet<&str>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let value = |name: &String| name.parse::<i64>().ok();
    if names.iter().all(|name| value(name).is_some()) {
        names.sort_by_key(value);
    }
    names
}

//! A table with columns of targets.

use candle_core::{Device, Tensor};

use super::Table;
use crate::data::{DataError, Dataset};

/// Numbers and targets for each row, made by [`Table::regression`]: `f32 (features,)`, `f32 (targets,)`.
///
/// ```
/// use dl_core::data::{Dataset, Table, TableFormat};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("houses.tsv");
/// std::fs::write(&path, "rooms\tprice\n3\t1e5\n")?;
/// let houses = Table::open(&path, &TableFormat::tsv())?.regression(&["rooms"], &["price"])?;
/// assert_eq!(houses.get(0)?.1.to_vec1::<f32>()?, [100_000.]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableRegression {
    table: Table,
    features: Vec<usize>,
    targets: Vec<usize>,
}

impl TableRegression {
    pub(super) fn new(table: Table, features: Vec<usize>, targets: Vec<usize>) -> Self {
        Self {
            table,
            features,
            targets,
        }
    }
}

impl Dataset for TableRegression {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.table.len()
    }

    fn get(&self, index: usize) -> Result<(Tensor, Tensor), DataError> {
        let row = self.table.row(index)?;
        let numbers = |places: &[usize]| -> Result<Tensor, DataError> {
            let numbers = row.numbers_at(places)?;
            Ok(Tensor::from_vec(numbers, places.len(), &Device::Cpu)?)
        };
        Ok((numbers(&self.features)?, numbers(&self.targets)?))
    }

    fn name(&self, index: usize) -> String {
        self.table.name(index)
    }
}

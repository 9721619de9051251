//! Tables in text: CSV and TSV.

mod classes;
mod classification;
mod format;
mod header;
mod records;
mod regression;
mod row;
mod rows;
mod table;

pub use classes::ClassLabels;
pub use classification::TableClassification;
pub use format::TableFormat;
pub use regression::TableRegression;
pub use row::Row;
pub use table::Table;

pub(super) use rows::Rows;

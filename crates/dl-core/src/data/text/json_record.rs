//! One JSON object of a file.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Line;
use crate::data::DataError;
use crate::data::error::shown;

/// The fields of one line, by name; what is wrong with one is an error that names file, line and field.
///
/// ```
/// use dl_core::data::{Dataset, JsonLines};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.jsonl");
/// std::fs::write(&path, r#"{"x": [1, 2.5], "y": "cat"}"#)?;
/// let record = JsonLines::open(&path)?.get(0)?;
/// assert_eq!(record.numbers("x")?, [1., 2.5]);
/// let error = record.index("y").unwrap_err().to_string();
/// assert!(error.ends_with(r#"x.jsonl:1, `y`: wanted a whole number from 0 to 4294967295, came "cat""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct JsonRecord {
    path: Arc<Path>,
    line: u64,
    fields: Map<String, Value>,
}

impl JsonRecord {
    pub(in crate::data) fn parse(line: Line, path: &Arc<Path>) -> Result<Self, DataError> {
        Ok(Self {
            path: Arc::clone(path),
            line: line.number,
            fields: line.object()?,
        })
    }

    /// All fields, as they came.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A field that is a string.
    pub fn text(&self, field: &str) -> Result<&str, DataError> {
        let value = self.value(field)?;
        let text = value.as_str();
        text.ok_or_else(|| self.error(field, "a string", value))
    }

    /// A field that is a number which an f32 can hold.
    pub fn number(&self, field: &str) -> Result<f32, DataError> {
        let value = self.value(field)?;
        number(value).ok_or_else(|| self.error(field, NUMBER, value))
    }

    /// A field that is a list of such numbers.
    pub fn numbers(&self, field: &str) -> Result<Vec<f32>, DataError> {
        self.list(field, NUMBER, number)
    }

    /// A field that is a whole number, such as a class or a token.
    pub fn index(&self, field: &str) -> Result<u32, DataError> {
        let value = self.value(field)?;
        index(value).ok_or_else(|| self.error(field, INDEX, value))
    }

    /// A field that is a list of whole numbers, such as tokens.
    pub fn indices(&self, field: &str) -> Result<Vec<u32>, DataError> {
        self.list(field, INDEX, index)
    }

    /// The record as a type of one's own.
    ///
    /// ```
    /// # use dl_core::data::{Dataset, JsonLines};
    /// #[derive(serde::Deserialize)]
    /// struct Point { x: f64, y: f64 }
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("x.jsonl");
    /// std::fs::write(&path, r#"{"x": 3, "y": 4}"#)?;
    /// let point: Point = JsonLines::open(&path)?.get(0)?.to()?;
    /// assert_eq!(point.x.hypot(point.y), 5.);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, DataError> {
        T::deserialize(Value::Object(self.fields.clone())).map_err(|reason| DataError::Line {
            path: self.path.to_path_buf(),
            line: self.line,
            wanted: std::any::type_name::<T>().to_owned(),
            came: reason.to_string(),
        })
    }

    fn list<T>(
        &self,
        field: &str,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, DataError> {
        let value = self.value(field)?;
        let Some(items) = value.as_array() else {
            return Err(self.error(field, &format!("a list, each {wanted}"), value));
        };
        let read = |item| read(item).ok_or_else(|| self.error(field, wanted, item));
        items.iter().map(read).collect()
    }

    fn value(&self, field: &str) -> Result<&Value, DataError> {
        self.fields.get(field).ok_or_else(|| {
            let known: Vec<&str> = self.fields.keys().map(String::as_str).collect();
            let came = format!("none; there are {}", known.join(", "));
            self.cell(field, "a field of this name", came)
        })
    }

    fn error(&self, field: &str, wanted: &str, value: &Value) -> DataError {
        let came = match value {
            Value::String(text) => shown(text),
            value => value.to_string().chars().take(60).collect(),
        };
        self.cell(field, wanted, came)
    }

    fn cell(&self, field: &str, wanted: &str, came: String) -> DataError {
        DataError::Cell {
            path: self.path.to_path_buf(),
            line: self.line,
            column: field.to_owned(),
            wanted: wanted.to_owned(),
            came,
        }
    }
}

/// How errors call what [`number`] reads.
const NUMBER: &str = "a number that an f32 can hold";

/// How errors call what [`index`] reads.
const INDEX: &str = "a whole number from 0 to 4294967295";

fn number(value: &Value) -> Option<f32> {
    let number = value.as_f64()? as f32;
    number.is_finite().then_some(number)
}

fn index(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

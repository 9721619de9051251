//! Files of one record a line: text and JSON lines.
//!
//! Both may be compressed; lines end in `\n` or `\r\n`, and a byte order mark is passed over. What is
//! wrong with one line is an error of that item, for the loader to stop at or to skip; what is wrong
//! with the file, such as a missing end of a compressed one, is an error of the opening.

mod json_lines;
mod json_record;
mod line;
mod lines;
mod text_lines;

pub use json_lines::JsonLines;
pub use json_record::JsonRecord;
pub use text_lines::TextLines;

pub(super) use line::{Line, without_end};

//! From text to the cells of records.

use std::io::{self, BufRead};

use csv::{ByteRecord, Position};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::TableFormat;

/// The records of a text, each with the line at which it begins.
///
/// `csv::Reader` has the line before the one where that follows `\r\n` or empty lines.
pub(super) struct Records<T> {
    text: T,
    core: Reader,
    /// The line that comes next, from 1.
    line: u64,
    bytes: Vec<u8>,
    /// Where each cell ends in the bytes.
    ends: Vec<usize>,
}

impl<T: BufRead> Records<T> {
    pub fn new(text: T, format: &TableFormat) -> Self {
        let mut core = ReaderBuilder::new();
        core.delimiter(format.delimiter).quoting(format.quoted);
        Self {
            text,
            core: core.build(),
            line: 1,
            bytes: vec![0; 1024],
            ends: vec![0; 32],
        }
    }

    /// The next record, `None` behind the last.
    pub fn read(&mut self) -> io::Result<Option<ByteRecord>> {
        self.skip_empty_lines()?;
        let (first, mut written, mut cells) = (self.line, 0, 0);
        loop {
            let input = self.text.fill_buf()?;
            let (bytes, ends) = (&mut self.bytes[written..], &mut self.ends[cells..]);
            let (result, taken, wrote, ended) = self.core.read_record(input, bytes, ends);
            self.line += lines(&input[..taken]);
            self.text.consume(taken);
            (written, cells) = (written + wrote, cells + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => return Ok(Some(self.record(first, cells))),
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// Passes over what the parser would pass over too, to see where the record begins.
    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            let input = self.text.fill_buf()?;
            let ends = input
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let empty = ends.count();
            let over = empty < input.len() || input.is_empty();
            self.line += lines(&input[..empty]);
            self.text.consume(empty);
            if over {
                return Ok(());
            }
        }
    }

    fn record(&self, line: u64, cells: usize) -> ByteRecord {
        let (mut record, mut start) = (ByteRecord::new(), 0);
        for &end in &self.ends[..cells] {
            record.push_field(&self.bytes[start..end]);
            start = end;
        }
        let mut position = Position::new();
        position.set_line(line);
        record.set_position(Some(position));
        record
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

//! The legacy container of PyTorch before 1.6: five pickles, then the storages.
//!
//! ```text
//! pickle(magic)  pickle(protocol = 1001)  pickle(sys_info)  pickle(object)  pickle([key, …])
//! then for each key: elements as i64 little-endian, data
//! ```
//! Source: PyTorch, `torch/serialization.py`, `_legacy_save` and `_legacy_load`.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::PthError;
use super::object::storages;
use super::pickle::{Node, Pickle, Source};
use super::pth_contents::{Data, contents};
use super::tensor_view::StorageRef;
use crate::byte_file::ByteFile;
use crate::contents::Contents;

type Result<T> = std::result::Result<T, PthError>;

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Whether a file that begins with these bytes is a pickle, and so perhaps a legacy `.pth`.
pub(crate) fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// Reads everything but the data.
pub(crate) fn read(file: &ByteFile, key: Option<&str>) -> Result<Contents> {
    let end = file.len();
    let mut source = Source::new(BufReader::new(file.reader()?), end);
    preamble(&mut source)?;
    let object = Pickle::read(&mut source)?;
    let keys = key_list(&mut source)?;
    let data = data(file, source.position(), &keys, &storages(&object)?)?;
    contents(&object, key, &data, file.len())
}

fn preamble(source: &mut Source<impl Read>) -> Result<()> {
    let magic = Pickle::read(source)?;
    if magic.node(magic.root()) != &Node::BigInt(MAGIC.to_vec()) {
        return Err(source.malformed("the magic number of torch.save is missing"));
    }
    let protocol = Pickle::read(source)?;
    if protocol.node(protocol.root()) != &Node::Int(PROTOCOL) {
        return Err(source.malformed("an unknown protocol version"));
    }
    let system = Pickle::read(source)?;
    let Node::Dict(items) = system.node(system.root()) else {
        return Err(source.malformed("no description of the system"));
    };
    let little = items
        .iter()
        .find(|(k, _)| system.str(*k) == Some("little_endian"));
    match little.map(|(_, v)| system.node(*v)) {
        Some(Node::Bool(false)) => Err(PthError::BigEndian),
        _ => Ok(()),
    }
}

fn key_list(source: &mut Source<impl Read>) -> Result<Vec<String>> {
    let keys = Pickle::read(source)?;
    let Node::List(items) = keys.node(keys.root()) else {
        return Err(source.malformed("no list of storages"));
    };
    let texts = items.iter().map(|id| keys.str(*id).map(str::to_string));
    let texts: Option<Vec<_>> = texts.collect();
    texts.ok_or_else(|| source.malformed("a storage key that is no text"))
}

/// Where each storage's data lies, checked against the end of the file.
fn data(
    file: &ByteFile,
    start: u64,
    keys: &[String],
    storages: &BTreeMap<String, StorageRef>,
) -> Result<BTreeMap<String, Data>> {
    let mut reader = BufReader::new(file.reader()?);
    let mut position = start;
    let mut all = BTreeMap::new();
    for key in keys {
        reader.seek(SeekFrom::Start(position))?;
        let mut count = Source::new(&mut reader, file.len().saturating_sub(position));
        let count = i64::from_le_bytes(count.array().map_err(|_| missing(key, 0, 8))?);
        let width = storages.get(key).map_or(1, |s| s.element.bytes());
        let wanted = u64::try_from(count).ok().and_then(|n| n.checked_mul(width));
        let wanted = wanted.unwrap_or(u64::MAX);
        let found = file.len() - position - 8;
        if wanted > found {
            return Err(missing(key, found, wanted));
        }
        let data = Data {
            start: position + 8,
            len: wanted,
        };
        position = data.start + data.len;
        all.insert(key.clone(), data);
    }
    Ok(all)
}

fn missing(key: &str, found: u64, wanted: u64) -> PthError {
    PthError::StorageData {
        key: key.to_string(),
        found,
        wanted,
    }
}

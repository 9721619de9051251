//! The zip container of PyTorch 1.6 and later: `NAME/data.pkl` and one entry for each storage.
//!
//! `torch.save` stores the entries without compression, so a tensor is read straight from its
//! place in the file. Source: PyTorch, `torch/serialization.py`, `_save` and `_load`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};

use zip::{CompressionMethod, ZipArchive};

use super::PthError;
use super::object::storages;
use super::pickle::{Pickle, Source};
use super::pth_contents::{Data, contents};
use crate::byte_file::ByteFile;
use crate::contents::Contents;

type Result<T> = std::result::Result<T, PthError>;
type Archive = ZipArchive<BufReader<File>>;

/// Whether a file that begins with these bytes is a zip archive.
pub(crate) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

/// Reads everything but the data.
pub(crate) fn read(file: &ByteFile, key: Option<&str>) -> Result<Contents> {
    let mut archive = Archive::new(BufReader::new(file.reader()?)).map_err(damaged)?;
    let folder = folder(&archive)?;
    check_byte_order(&mut archive, file, &folder)?;
    let object = object(&mut archive, file, &folder)?;
    let mut data = BTreeMap::new();
    for key in storages(&object)?.into_keys() {
        let place = locate(&mut archive, file, &format!("{folder}data/{key}"))?;
        data.insert(key, place);
    }
    contents(&object, key, &data, file.len())
}

/// The folder of the first `data.pkl`, with its slash.
fn folder(archive: &Archive) -> Result<String> {
    let names = archive.file_names().flatten();
    let mut folders = names.filter_map(|name| name.strip_suffix("data.pkl").map(str::to_string));
    let own = folders.find(|folder| folder.is_empty() || folder.ends_with('/'));
    own.ok_or_else(|| PthError::Zip {
        what: "no entry `data.pkl`, so not written by torch.save".into(),
    })
}

fn object(archive: &mut Archive, file: &ByteFile, folder: &str) -> Result<Pickle> {
    let name = format!("{folder}data.pkl");
    let place = locate(archive, file, &name)?;
    let entry = archive.by_name(&name).map_err(damaged)?;
    Pickle::read(&mut Source::new(BufReader::new(entry), place.len))
}

fn check_byte_order(archive: &mut Archive, file: &ByteFile, folder: &str) -> Result<()> {
    let name = format!("{folder}byteorder");
    if archive.index_for_name(&name).is_none() {
        // Files before PyTorch 2.1 do not say; all of them that are in use are little-endian.
        return Ok(());
    }
    let place = locate(archive, file, &name)?;
    let mut order = Vec::new();
    let start = file.read(place.start, place.len.min(16))?;
    start.as_slice().read_to_end(&mut order)?;
    match order.starts_with(b"big") {
        true => Err(PthError::BigEndian),
        false => Ok(()),
    }
}

/// Where an entry's bytes lie in the file.
fn locate(archive: &mut Archive, file: &ByteFile, name: &str) -> Result<Data> {
    let index = archive.index_for_name(name).ok_or_else(|| PthError::Zip {
        what: format!("no entry `{name}`"),
    })?;
    let entry = archive.by_index_raw(index).map_err(damaged)?;
    if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
        return Err(PthError::Zip {
            what: format!("entry `{name}` is compressed; torch.save stores entries as they are"),
        });
    }
    let (start, len) = (entry.data_start().unwrap_or(u64::MAX), entry.size());
    match start.checked_add(len).is_some_and(|end| end <= file.len()) {
        true => Ok(Data { start, len }),
        false => Err(PthError::Zip {
            what: format!("entry `{name}` reaches past the end of the file"),
        }),
    }
}

fn damaged(error: zip::result::ZipError) -> PthError {
    PthError::Zip {
        what: error.to_string(),
    }
}

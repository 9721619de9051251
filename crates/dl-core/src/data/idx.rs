//! IDX files, the format of MNIST.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{DataError, plain_or_gzip};

/// The values of an IDX file; numbers are big-endian in the file.
///
/// ```
/// use dl_core::data::{Idx, IdxData};
/// let idx = Idx::read(&[0, 0, 0x0b, 1, 0, 0, 0, 1, 1, 2][..], "one.idx".as_ref())?;
/// assert_eq!(idx.data, IdxData::I16(vec![258]));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IdxData {
    /// Type `08`.
    U8(Vec<u8>),
    /// Type `09`.
    I8(Vec<i8>),
    /// Type `0b`.
    I16(Vec<i16>),
    /// Type `0c`.
    I32(Vec<i32>),
    /// Type `0d`.
    F32(Vec<f32>),
    /// Type `0e`.
    F64(Vec<f64>),
}

impl IdxData {
    fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::I16(_) => "i16",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }
}

/// An IDX file: a header with a type and dimensions, checked, and the values.
///
/// ```text
/// 00 00 │ type │ number of dimensions │ each dimension, u32 big-endian │ values, big-endian
/// ```
///
/// Compressed files are told by their content, whatever their name. The header is not believed: no
/// more memory is taken than the file fills, and missing or surplus bytes are errors.
/// Source: LeCun, Cortes, Burges, "The MNIST database", 1998.
///
/// ```
/// use dl_core::data::{Idx, IdxData};
/// let bytes = [0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4];
/// let idx = Idx::read(&bytes[..], "labels".as_ref())?;
/// assert_eq!(idx.dims, [3]);
/// assert_eq!(idx.data, IdxData::U8(vec![5, 0, 4]));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// The dimensions, outermost first.
    pub dims: Vec<usize>,
    /// The values, row-major.
    pub data: IdxData,
}

impl Idx {
    /// Reads a plain or gzip-compressed file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        Self::read(plain_or_gzip::open(path)?, path)
    }

    /// Reads plain bytes to their end; `path` is what errors call them.
    pub fn read(mut reader: impl Read, path: &Path) -> Result<Self, DataError> {
        let header = Header::read(&mut reader, path)?;
        let bytes = read_exactly(&mut reader, &header, path)?;
        Ok(Self {
            data: header.kind.values(bytes),
            dims: header.dims,
        })
    }

    /// What the file holds, for messages: `u8 (60000, 28, 28)`.
    pub fn describe(&self) -> String {
        let dims: Vec<String> = self.dims.iter().map(usize::to_string).collect();
        format!("{} ({})", self.data.type_name(), dims.join(", "))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x08 => Self::U8,
            0x09 => Self::I8,
            0x0b => Self::I16,
            0x0c => Self::I32,
            0x0d => Self::F32,
            0x0e => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn values(self, bytes: Vec<u8>) -> IdxData {
        match self {
            Self::U8 => IdxData::U8(bytes),
            Self::I8 => IdxData::I8(bytes.into_iter().map(u8::cast_signed).collect()),
            Self::I16 => IdxData::I16(numbers(&bytes, i16::from_be_bytes)),
            Self::I32 => IdxData::I32(numbers(&bytes, i32::from_be_bytes)),
            Self::F32 => IdxData::F32(numbers(&bytes, f32::from_be_bytes)),
            Self::F64 => IdxData::F64(numbers(&bytes, f64::from_be_bytes)),
        }
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&b| from(b)).collect()
}

struct Header {
    kind: Kind,
    dims: Vec<usize>,
    bytes: u64,
}

impl Header {
    fn read(reader: &mut impl Read, path: &Path) -> Result<Self, DataError> {
        let magic: [u8; 4] = read_start(reader, path, 4, 0)?;
        let (kind, rank) = match (magic, Kind::from_code(magic[2])) {
            ([0, 0, _, rank], Some(kind)) if rank > 0 => (kind, u64::from(rank)),
            (came, _) => {
                let path = path.to_owned();
                return Err(DataError::NotIdx { path, came });
            }
        };
        let mut dims = Vec::new();
        for i in 0..rank {
            let dim = read_start::<4>(reader, path, 4 + 4 * rank, 4 + 4 * i)?;
            dims.push(u32::from_be_bytes(dim) as usize);
        }
        let bytes = data_bytes(&dims, kind).ok_or_else(|| DataError::IdxTooLarge {
            path: path.to_owned(),
            dims: dims.clone(),
        })?;
        Ok(Self { kind, dims, bytes })
    }

    fn length(&self) -> u64 {
        4 + 4 * self.dims.len() as u64
    }
}

fn data_bytes(dims: &[usize], kind: Kind) -> Option<u64> {
    let bytes = dims
        .iter()
        .try_fold(kind.size(), |n, &dim| n.checked_mul(dim))?;
    // Vectors hold at most isize::MAX bytes; the header's own length must fit on top.
    let largest = isize::MAX as usize - 2048;
    (bytes <= largest).then_some(bytes as u64)
}

/// Reads `N` bytes of the header; `done` bytes came before and `wanted` are needed in all.
fn read_start<const N: usize>(
    reader: &mut impl Read,
    path: &Path,
    wanted: u64,
    done: u64,
) -> Result<[u8; N], DataError> {
    let mut bytes = Vec::with_capacity(N);
    let came = reader
        .take(N as u64)
        .read_to_end(&mut bytes)
        .map_err(DataError::read(path))?;
    bytes.try_into().map_err(|_| DataError::IdxTruncated {
        path: path.to_owned(),
        wanted,
        came: done + came as u64,
    })
}

fn read_exactly(
    reader: &mut impl Read,
    header: &Header,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // One byte more than announced tells a file that goes on, and makes gzip check its sum.
    let came = reader
        .take(header.bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(DataError::read(path))? as u64;
    let (path, wanted) = (path.to_owned(), header.length() + header.bytes);
    match came.cmp(&header.bytes) {
        std::cmp::Ordering::Less => Err(DataError::IdxTruncated {
            path,
            wanted,
            came: header.length() + came,
        }),
        std::cmp::Ordering::Equal => Ok(bytes),
        std::cmp::Ordering::Greater => Err(DataError::IdxTrailing { path, wanted }),
    }
}

impl fmt::Display for Idx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// The file `name` or `name.gz` in `folder`.
pub(super) fn find(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| DataError::MissingFile {
        folder: folder.to_owned(),
        name: name.to_owned(),
    })
}

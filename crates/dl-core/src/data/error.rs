//! What can go wrong between a file and a batch.

use std::io;
use std::path::{Path, PathBuf};

/// Why data could not be read, transformed or batched; every variant names the file or option at fault.
///
/// ```
/// use dl_core::data::{Dataset, ImageFolder};
/// let error = ImageFolder::open("no/such/folder").unwrap_err();
/// assert_eq!(error.to_string(), "no folder no/such/folder; name one that holds a folder of images for each class");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be opened or read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system or the decompressor says.
        reason: io::Error,
    },
    /// A file holds nothing to train on.
    #[error("{} is empty, wanted {wanted}", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A line of a file is not what it should be.
    #[error("{}:{line}: wanted {wanted}, came {came}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What was wanted.
        wanted: String,
        /// What it is.
        came: String,
    },
    /// A cell of a table, or a field of a record, is not what it should be.
    #[error("{}:{line}, `{column}`: wanted {wanted}, came {came}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The name of the column or field.
        column: String,
        /// What was wanted.
        wanted: String,
        /// What it holds.
        came: String,
    },
    /// A table has no column of this name, or several.
    #[error("{} has {count} columns `{name}`, wanted one; there are {}", path.display(), known.join(", "))]
    Column {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// How many are called so.
        count: usize,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The folder of a data set does not exist.
    #[error("no folder {}; name one that holds a folder of images for each class", path.display())]
    MissingFolder {
        /// The folder asked for.
        path: PathBuf,
    },
    /// The path of a data set is a file.
    #[error("{} is not a folder; name one that holds a folder of images for each class", path.display())]
    NotAFolder {
        /// The path asked for.
        path: PathBuf,
    },
    /// The folder of a data set has no class folders.
    #[error("{} holds no class folder; put the images of each class into a folder named after it", path.display())]
    NoClassFolders {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A class folder holds no image.
    #[error("class folder {} holds no .png, .jpg, .jpeg or .webp file; add some or remove the folder", path.display())]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// A file of a data set is missing, plain and compressed.
    #[error("neither {name} nor {name}.gz in {}", folder.display())]
    MissingFile {
        /// Where it was looked for.
        folder: PathBuf,
        /// Its plain name.
        name: String,
    },
    /// The first four bytes are not those of an IDX file.
    #[error("{} is not an idx file: it begins with {came:02x?}, wanted 00 00, a type (08, 09, 0b..0e) and the number of dimensions", path.display())]
    NotIdx {
        /// The file.
        path: PathBuf,
        /// Its first four bytes.
        came: [u8; 4],
    },
    /// An IDX file ends before its header says.
    #[error("{} is cut short: wanted {wanted} bytes, came {came}", path.display())]
    IdxTruncated {
        /// The file.
        path: PathBuf,
        /// Bytes by its header.
        wanted: u64,
        /// Bytes found.
        came: u64,
    },
    /// An IDX file goes on after the data its header announces.
    #[error("{} goes on after the {wanted} bytes that its header announces", path.display())]
    IdxTrailing {
        /// The file.
        path: PathBuf,
        /// Bytes by its header.
        wanted: u64,
    },
    /// An IDX header announces more than an address space holds.
    #[error("{} announces the impossible dimensions {dims:?}", path.display())]
    IdxTooLarge {
        /// The file.
        path: PathBuf,
        /// The dimensions by its header.
        dims: Vec<usize>,
    },
    /// An IDX file is sound but holds something else than was asked for.
    #[error("{} holds {came}, wanted {wanted}", path.display())]
    IdxKind {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        wanted: &'static str,
        /// Its type and dimensions.
        came: String,
    },
    /// A file is no batch of CIFAR images: its length is no number of whole records.
    #[error("{} is no file of CIFAR images: wanted records of {record} bytes, came {bytes} bytes", path.display())]
    CifarSize {
        /// The file.
        path: PathBuf,
        /// Bytes of a record.
        record: usize,
        /// Bytes of the file.
        bytes: usize,
    },
    /// An image has a label that is no class.
    #[error("image {image} of {}: wanted a label below {classes}, came {label}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The image, from 0.
        image: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Images and labels are not of one number.
    #[error("{} holds {image_count} images but {} holds {label_count} labels", images.display(), labels.display())]
    CountMismatch {
        /// The file of images.
        images: PathBuf,
        /// The file of labels.
        labels: PathBuf,
        /// Images found.
        image_count: usize,
        /// Labels found.
        label_count: usize,
    },
    /// A file is no image that can be decoded.
    #[error("cannot decode {name}: {reason}")]
    Decode {
        /// The file.
        name: String,
        /// What the decoder says.
        reason: image::ImageError,
    },
    /// A JPEG ends before its end marker; decoders fill the rest with grey, which is refused here.
    #[error("cannot decode {name}: the jpeg is cut short, no end marker in its {bytes} bytes")]
    TruncatedJpeg {
        /// The file.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// Pixels and sizes of an image do not agree.
    #[error(
        "an image of {height}x{width} with {channels} channels has {wanted} values, came {came}"
    )]
    ImageSize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Values of a pixel.
        channels: usize,
        /// Values by the sizes.
        wanted: usize,
        /// Values given.
        came: usize,
    },
    /// A transform would make an image too large to be meant.
    #[error(
        "{transform} would make an image of {height}x{width} from one of {from_height}x{from_width}"
    )]
    ImageTooLarge {
        /// The transform.
        transform: &'static str,
        /// Rows it would make.
        height: usize,
        /// Columns it would make.
        width: usize,
        /// Rows it was given.
        from_height: usize,
        /// Columns it was given.
        from_width: usize,
    },
    /// A transform does not know what to do with this number of channels.
    #[error("{transform} wants {wanted} channels, came {came}")]
    Channels {
        /// The transform.
        transform: &'static str,
        /// Channels it works on.
        wanted: String,
        /// Channels of the image.
        came: usize,
    },
    /// An option is out of its range.
    #[error("{option} must be {wanted}, came {came}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its range.
        wanted: &'static str,
        /// What it was set to.
        came: String,
    },
    /// An index is beyond the end of a data set.
    #[error("item {index} was asked of a data set of {len} items")]
    OutOfRange {
        /// The index.
        index: usize,
        /// Items in the data set.
        len: usize,
    },
    /// The items of a batch have different shapes; a resize or a crop makes them equal.
    #[error(
        "{name} has shape {came:?}, but the batch began with {wanted:?}; resize or crop the items to one shape"
    )]
    Shape {
        /// The item at fault.
        name: String,
        /// Shape of the first item.
        wanted: Vec<usize>,
        /// Shape of this item.
        came: Vec<usize>,
    },
    /// A token or a character is not in the vocabulary.
    #[error("{token} at {at} is none of the {known} of the vocabulary")]
    UnknownToken {
        /// The token or character.
        token: String,
        /// Its place, from 0.
        at: usize,
        /// How many the vocabulary has.
        known: usize,
    },
    /// There is nothing to work on.
    #[error("{what} is empty")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// An item could not be loaded or transformed.
    #[error("item {index} ({name}): {reason}")]
    Item {
        /// Its index in the data set.
        index: usize,
        /// Its name, such as its file.
        name: String,
        /// What went wrong.
        reason: Box<DataError>,
    },
    /// Code of a data set, a transform or a collation panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// A saved position lies beyond the end of its epoch; the data or the batch size has changed.
    #[error(
        "the position is batch {batch} of an epoch of {batches} batches; data or batch size have changed since it was saved"
    )]
    Position {
        /// The saved batch.
        batch: u64,
        /// Batches of an epoch now.
        batches: u64,
    },
    /// A sampler gives another number of items or batches than it says, by which runs are planned.
    #[error("the sampler gave {came} {what}, its `len` says {wanted}")]
    SamplerLength {
        /// Items or batches.
        what: &'static str,
        /// What its `len` says.
        wanted: usize,
        /// How many it gave.
        came: usize,
    },
    /// A worker thread cannot be started.
    #[error("cannot start a worker thread: {reason}")]
    Thread {
        /// What the operating system says.
        reason: io::Error,
    },
    /// The worker threads ended without a result.
    #[error("the worker threads ended before batch {batch} was built")]
    WorkersGone {
        /// The batch that was waited for.
        batch: u64,
    },
    /// Code of one's own refused an item: `DataError::Other("no such word".into())`.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl DataError {
    /// That a file or folder cannot be read, for `map_err`.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |reason| Self::Read { path, reason }
    }
}

/// A text in quotes, without its end if that is far away.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

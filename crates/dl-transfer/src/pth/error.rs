//! What can be wrong in a PyTorch file.

/// Why a PyTorch file was refused. Offsets count bytes from the start of the file, or of
/// `data.pkl` in the zip format.
///
/// ```
/// use dl_transfer::PthError;
/// let error = PthError::RefusedGlobal { module: "os".into(), name: "system".into() };
/// assert_eq!(error.to_string().find("`os.system`"), Some(20));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PthError {
    /// The file ends too early.
    #[error("the file is cut off: {wanted} bytes wanted at offset {at}, the end is at {end}")]
    Truncated {
        /// Where the read began.
        at: u64,
        /// How many bytes were wanted.
        wanted: u64,
        /// Where the data ends.
        end: u64,
    },

    /// The pickle names a function or class that is neither plain data nor a tensor.
    #[error(
        "the pickle asks for `{module}.{name}`, which is not plain data; \
         in Python save `model.state_dict()` instead of the object"
    )]
    RefusedGlobal {
        /// Python module.
        module: String,
        /// Function or class.
        name: String,
    },

    /// A pickle instruction that `torch.save` does not write.
    #[error("unsupported pickle instruction 0x{opcode:02x} at offset {at}")]
    UnsupportedOpcode {
        /// The instruction.
        opcode: u8,
        /// Where it stands.
        at: u64,
    },

    /// The bytes do not make sense as a `torch.save` file.
    #[error("the pickle is damaged at offset {at}: {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
        /// Near which offset.
        at: u64,
    },

    /// A limit against hostile files was reached.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },

    /// The object is not laid out as `torch.save` lays out tensors.
    #[error("`{name}`: {what}")]
    BadObject {
        /// Dotted path in the saved object.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },

    /// A storage class that candle has no dtype for.
    #[error("`{name}` has element type {class}, which candle cannot hold")]
    UnsupportedStorage {
        /// Dotted path in the saved object.
        name: String,
        /// The storage class.
        class: String,
    },

    /// A tensor reaches outside of its storage.
    #[error("`{name}` reaches to element {last} of a storage of {len} elements")]
    OutOfStorage {
        /// The tensor.
        name: String,
        /// The last element it needs.
        last: u64,
        /// Elements of the storage.
        len: u64,
    },

    /// A storage whose data is not in the file, or not all of it.
    #[error("storage `{key}` has {found} bytes of data, {wanted} wanted")]
    StorageData {
        /// The storage's key.
        key: String,
        /// Bytes found.
        found: u64,
        /// Bytes wanted.
        wanted: u64,
    },

    /// Saved on a big-endian machine.
    #[error("the file is big-endian; save it again on a little-endian machine")]
    BigEndian,

    /// The file holds no tensor.
    #[error("the file holds no tensors")]
    NoTensors,

    /// The entry asked for does not exist.
    #[error("no entry `{key}` at the top of the file; it has {}", found.join(", "))]
    NoEntry {
        /// The entry.
        key: String,
        /// The first entries of the file.
        found: Vec<String>,
    },

    /// The zip container is damaged or not written by `torch.save`.
    #[error("zip container: {what}")]
    Zip {
        /// What is wrong.
        what: String,
    },

    /// The operating system refused a read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

//! Data that is read from the front: no length, no index.
//!
//! What a stream does in sequence is reading records; turning them into items, transforming and
//! batching run on the workers. So a source is an [`IterableDataset`] in a file of its own, and the
//! [`StreamLoader`] gives all of them shards, a shuffle buffer, positions and workers.

mod iter_stream;
mod iterable;
mod json_stream;
mod loader;
mod reading;
mod shards;
mod shuffle_buffer;
mod stream_map;
mod table_stream;
mod text_stream;

pub use iter_stream::IterStream;
pub use iterable::{IterableDataset, Records};
pub use json_stream::JsonStream;
pub use loader::StreamLoader;
pub use stream_map::StreamMap;
pub use table_stream::TableStream;
pub use text_stream::{TextRecord, TextStream};

//! From files to batches: data sets, splits, transforms and the loader.
//!
//! | source | what |
//! |---|---|
//! | images | [`ImageFolder`], [`IdxImages`] (MNIST), [`Cifar`], [`SampleDataset`] |
//! | tables | [`Table`] (CSV, TSV), also by classes or targets |
//! | text | [`TextLines`], [`JsonLines`], [`TokenWindows`], [`CharVocabulary`] |
//! | memory | [`TensorDataset`] |
//! | made up | [`Spirals`], [`Blobs`], [`Moons`], [`Circles`], [`CopyTask`], [`LinearRegression`], [`SineRegression`] |
//! | streams | [`TextStream`], [`JsonStream`], [`TableStream`], [`IterStream`], by a [`StreamLoader`] |
//!
//! A source of one's own is a [`Dataset`] or, where there is no index, an [`IterableDataset`].
//!
//! ```no_run
//! use dl_core::data::*;
//! let train = ImageFolder::open("pets/train")?;
//! let loader = DataLoader::new(train, StackImages::new(Normalize::imagenet()))
//!     .transform(Compose::new().then(RandomResizedCrop::default()).then(RandomHorizontalFlip::default()))
//!     .batch_size(32)
//!     .shuffle(true)
//!     .seed(42)
//!     .workers(2);
//! for batch in loader.epoch(0)? {
//!     let (images, labels) = batch?; // f32 (32, 3, 224, 224), u32 (32,)
//! }
//! # Ok::<(), DataError>(())
//! ```

mod assembly;
mod batches;
mod cifar;
mod collate;
mod concat;
mod dataset;
mod decode;
mod error;
mod idx;
mod idx_images;
mod image;
mod image_folder;
mod k_fold;
mod loader;
mod map;
mod option;
mod plain_or_gzip;
mod plan;
mod position;
mod sample;
mod sampler;
mod split;
mod stream;
mod subset;
mod synthetic;
mod tables;
mod tensor_dataset;
mod text;
mod tokens;
mod transform;
mod workers;

pub use self::image::Image;
pub use batches::Batches;
pub use cifar::{Cifar, CifarLabels, CifarPart};
pub use collate::{Collate, StackImages, StackTensors};
pub use concat::Concat;
pub use dataset::{Dataset, Labelled};
pub use decode::{decode_rgb, read_rgb};
pub use error::DataError;
pub use idx::{Idx, IdxData};
pub use idx_images::{IdxImages, MnistPart};
pub use image_folder::ImageFolder;
pub use k_fold::{k_fold, stratified_k_fold};
pub use loader::{DataLoader, OnError};
pub use map::Map;
pub use position::Position;
pub use sample::{Sample, SampleDataset};
pub use sampler::{BatchSampler, ClassBalancedSampler, LengthBuckets, Sampler, WeightedSampler};
pub use split::{HoldOut, first_per_class, hold_out, stratified_hold_out};
pub use stream::{
    IterStream, IterableDataset, JsonStream, Records, StreamLoader, StreamMap, TableStream,
    TextRecord, TextStream,
};
pub use subset::Subset;
pub use synthetic::{Blobs, Circles, CopyTask, LinearRegression, Moons, SineRegression, Spirals};
pub use tables::{ClassLabels, Row, Table, TableClassification, TableFormat, TableRegression};
pub use tensor_dataset::TensorDataset;
pub use text::{JsonLines, JsonRecord, TextLines};
pub use tokens::{CharVocabulary, PadTokens, Padded, TokenWindows};
pub use transform::{
    CenterCrop, ColorJitter, Compose, Cutmix, Draw, Grayscale, Mixup, Normalize, RandomCrop,
    RandomErasing, RandomHorizontalFlip, RandomResizedCrop, Resize, ToRgb, Transform,
};

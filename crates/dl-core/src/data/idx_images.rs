//! MNIST and the data sets that took over its files.

use std::path::Path;

use super::idx::find;
use super::{DataError, Dataset, Idx, IdxData, Image, Labelled, Sample};

/// Which of the two pairs of files of an MNIST folder.
///
/// ```
/// use dl_core::data::MnistPart;
/// assert_eq!(MnistPart::Test.prefix(), "t10k");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MnistPart {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`.
    Train,
    /// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    Test,
}

impl MnistPart {
    /// How the names of the files begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }
}

/// A pair of IDX files, grey images and their labels, held in memory.
///
/// ```no_run
/// use dl_core::data::{Dataset, IdxImages, MnistPart};
/// let train = IdxImages::open("fashion-mnist", MnistPart::Train)?;
/// assert_eq!(train.len(), 60_000);
/// assert_eq!(train.get(0)?.image.shape(), [1, 28, 28]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct IdxImages {
    name: String,
    height: usize,
    width: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

impl IdxImages {
    /// Finds the pair in a folder, plain or `.gz`, and reads it.
    pub fn open(folder: impl AsRef<Path>, part: MnistPart) -> Result<Self, DataError> {
        let (folder, prefix) = (folder.as_ref(), part.prefix());
        let images = find(folder, &format!("{prefix}-images-idx3-ubyte"))?;
        let labels = find(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
        Self::from_files(images, labels)
    }

    /// Reads a pair: `u8 (n, height, width)` and `u8 (n,)`. Classes are named by their numbers.
    pub fn from_files(
        images: impl AsRef<Path>,
        labels: impl AsRef<Path>,
    ) -> Result<Self, DataError> {
        let (image_path, label_path) = (images.as_ref(), labels.as_ref());
        let (n, height, width, pixels) = read_images(image_path)?;
        let labels = read_labels(label_path)?;
        if n != labels.len() {
            return Err(DataError::CountMismatch {
                images: image_path.to_owned(),
                labels: label_path.to_owned(),
                image_count: n,
                label_count: labels.len(),
            });
        }
        let classes = labels.iter().max().map_or(0, |&last| last + 1);
        Ok(Self {
            name: image_path.display().to_string(),
            height,
            width,
            pixels,
            labels,
            class_names: (0..classes).map(|class| class.to_string()).collect(),
        })
    }

    /// Gives the classes names, such as `T-shirt`; fails when they are fewer than the classes.
    pub fn with_class_names<S: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() < self.class_names.len() {
            return Err(DataError::Option {
                option: "class names",
                wanted: "one for each class",
                came: format!("{} for {} classes", names.len(), self.class_names.len()),
            });
        }
        self.class_names = names;
        Ok(self)
    }
}

fn read_images(path: &Path) -> Result<(usize, usize, usize, Vec<u8>), DataError> {
    let idx = Idx::open(path)?;
    let came = idx.describe();
    match (<[usize; 3]>::try_from(idx.dims), idx.data) {
        (Ok([n, height, width]), IdxData::U8(pixels)) if height > 0 && width > 0 => {
            Ok((n, height, width, pixels))
        }
        _ => Err(DataError::IdxKind {
            path: path.to_owned(),
            wanted: "images, u8 (n, height, width)",
            came,
        }),
    }
}

fn read_labels(path: &Path) -> Result<Vec<u32>, DataError> {
    let idx = Idx::open(path)?;
    let came = idx.describe();
    match (idx.dims.len(), idx.data) {
        (1, IdxData::U8(labels)) => Ok(labels.into_iter().map(u32::from).collect()),
        _ => Err(DataError::IdxKind {
            path: path.to_owned(),
            wanted: "labels, u8 (n)",
            came,
        }),
    }
}

impl Dataset for IdxImages {
    type Item = Sample;

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let len = self.len();
        let label = *self
            .labels
            .get(index)
            .ok_or(DataError::OutOfRange { index, len })?;
        let size = self.height * self.width;
        let pixels = self.pixels[index * size..(index + 1) * size].to_vec();
        Ok(Sample {
            image: Image::new(self.height, self.width, 1, pixels)?,
            label,
            source: self.name(index),
        })
    }

    fn name(&self, index: usize) -> String {
        format!("{}[{index}]", self.name)
    }
}

impl Labelled for IdxImages {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

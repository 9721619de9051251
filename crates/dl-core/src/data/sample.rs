//! An image with its class.

use super::{DataError, Dataset, Image, Labelled};

/// One item of an image classification data set.
///
/// ```
/// use dl_core::data::{Image, Sample};
/// let image = Image::new(1, 1, 1, vec![7])?;
/// let sample = Sample { image, label: 3, source: "digits/7.png".into() };
/// assert_eq!(sample.label, 3);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The pixels.
    pub image: Image,
    /// The class, an index into the class names.
    pub label: u32,
    /// Where the image came from, for messages.
    pub source: String,
}

/// Labelled images that lie in memory.
///
/// ```
/// use dl_core::data::{Dataset, Image, Sample, SampleDataset};
/// let image = Image::new(1, 1, 1, vec![9])?;
/// let sample = Sample { image, label: 0, source: "made".into() };
/// let dataset = SampleDataset::new(vec![sample; 4], vec!["dot".into()])?;
/// assert_eq!(dataset.len(), 4);
/// assert_eq!(dataset.get(2)?.image.pixels(), [9]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SampleDataset {
    samples: Vec<Sample>,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

impl SampleDataset {
    /// Takes the samples; fails when a label has no class name.
    pub fn new(samples: Vec<Sample>, class_names: Vec<String>) -> Result<Self, DataError> {
        let labels: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
        match labels.iter().find(|&&l| l as usize >= class_names.len()) {
            Some(label) => Err(DataError::Option {
                option: "label",
                wanted: "below the number of class names",
                came: format!("{label} for {} names", class_names.len()),
            }),
            None => Ok(Self {
                samples,
                labels,
                class_names,
            }),
        }
    }
}

impl Dataset for SampleDataset {
    type Item = Sample;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let len = self.len();
        let sample = self.samples.get(index).cloned();
        sample.ok_or(DataError::OutOfRange { index, len })
    }

    fn name(&self, index: usize) -> String {
        match self.samples.get(index) {
            Some(sample) => sample.source.clone(),
            None => format!("#{index}"),
        }
    }
}

impl Labelled for SampleDataset {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

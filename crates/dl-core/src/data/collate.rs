//! From items to a batch.

use candle_core::{Device, Tensor};

use super::{DataError, Normalize, Sample};

/// Puts items together into a batch; runs on the worker threads of the loader.
///
/// ```
/// use dl_core::data::{Collate, DataError};
/// struct Sum;
/// impl Collate<usize> for Sum {
///     type Batch = usize;
///     fn collate(&self, items: Vec<usize>) -> Result<usize, DataError> {
///         Ok(items.into_iter().sum())
///     }
/// }
/// assert_eq!(Sum.collate(vec![1, 2, 3])?, 6);
/// # Ok::<(), DataError>(())
/// ```
pub trait Collate<T>: Send + Sync {
    /// What a batch is.
    type Batch;

    /// Makes one batch; `items` is never empty. Fails when the items do not go together.
    fn collate(&self, items: Vec<T>) -> Result<Self::Batch, DataError>;
}

/// Normalises images and stacks them: [`Sample`]s → `f32 (b, c, h, w)` and `u32 (b,)`, on the CPU.
///
/// ```
/// use dl_core::data::{Collate, Image, Normalize, Sample, StackImages};
/// let image = Image::new(1, 2, 1, vec![0, 255])?;
/// let sample = Sample { image, label: 4, source: "made".into() };
/// let (images, labels) = StackImages::new(Normalize::unit()).collate(vec![sample; 3])?;
/// assert_eq!(images.dims(), [3, 1, 1, 2]);
/// assert_eq!(images.flatten_all()?.to_vec1::<f32>()?, [0., 1., 0., 1., 0., 1.]);
/// assert_eq!(labels.to_vec1::<u32>()?, [4, 4, 4]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StackImages {
    normalize: Normalize,
}

impl StackImages {
    /// Stacks with this normalisation; [`Normalize::unit`] leaves values in 0 to 1.
    pub fn new(normalize: Normalize) -> Self {
        Self { normalize }
    }
}

impl Collate<Sample> for StackImages {
    type Batch = (Tensor, Tensor);

    fn collate(&self, items: Vec<Sample>) -> Result<(Tensor, Tensor), DataError> {
        let what = "a batch of images";
        let first = items.first().ok_or(DataError::Empty { what })?;
        let [c, h, w] = first.image.shape();
        let mut values = vec![0f32; items.len() * c * h * w];
        for (sample, out) in items.iter().zip(values.chunks_exact_mut(c * h * w)) {
            if sample.image.shape() != [c, h, w] {
                return Err(DataError::Shape {
                    name: sample.source.clone(),
                    wanted: vec![c, h, w],
                    came: sample.image.shape().to_vec(),
                });
            }
            self.normalize.write(&sample.image, out)?;
        }
        let labels: Vec<u32> = items.iter().map(|sample| sample.label).collect();
        let b = items.len();
        Ok((
            Tensor::from_vec(values, (b, c, h, w), &Device::Cpu)?,
            Tensor::from_vec(labels, b, &Device::Cpu)?,
        ))
    }
}

/// Stacks pairs of tensors: `((…), (…))` → `((b, …), (b, …))`, of the types and on the device they have.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{Collate, StackTensors};
/// let pair = (Tensor::new(&[1f32, 2.], &Device::Cpu)?, Tensor::new(3u32, &Device::Cpu)?);
/// let (inputs, targets) = StackTensors.collate(vec![pair.clone(), pair])?;
/// assert_eq!(inputs.dims(), [2, 2]);
/// assert_eq!(targets.to_vec1::<u32>()?, [3, 3]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StackTensors;

impl Collate<(Tensor, Tensor)> for StackTensors {
    type Batch = (Tensor, Tensor);

    fn collate(&self, items: Vec<(Tensor, Tensor)>) -> Result<(Tensor, Tensor), DataError> {
        let (inputs, targets): (Vec<Tensor>, Vec<Tensor>) = items.into_iter().unzip();
        Ok((stack(&inputs, "an input")?, stack(&targets, "a target")?))
    }
}

fn stack(rows: &[Tensor], name: &str) -> Result<Tensor, DataError> {
    let what = "a batch of tensors";
    let first = rows.first().ok_or(DataError::Empty { what })?;
    match rows.iter().find(|row| row.dims() != first.dims()) {
        Some(row) => Err(DataError::Shape {
            name: name.to_owned(),
            wanted: first.dims().to_vec(),
            came: row.dims().to_vec(),
        }),
        None => Ok(Tensor::stack(rows, 0)?),
    }
}

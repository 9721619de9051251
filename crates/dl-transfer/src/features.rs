//! Feature extraction: a frozen backbone run once over a data set.

use candle_core::{Device, Tensor};
use dl_core::data::{DataError, TensorDataset};
use dl_core::models::ImageClassifier;
use dl_core::train::{Batch, TrainError};

/// The feature vectors of every image, as a data set to train a classifier on.
///
/// Batches `(images (n, 3, h, w), labels (n,))` → items `(features (d,), label)`, on the CPU. The
/// backbone runs in evaluation and no graph is built, so the cost of many epochs on the features is
/// that of one forward over the images.
///
/// Errors: what the batches report; [`TrainError::NoBatches`] if there are none.
pub fn extract_features(
    model: &dyn ImageClassifier,
    batches: impl Iterator<Item = Result<Batch, DataError>>,
    device: &Device,
) -> Result<TensorDataset, TrainError> {
    let (mut features, mut labels) = (vec![], vec![]);
    for batch in batches {
        let (images, batch_labels) = batch?;
        let vectors = model.forward_features(&images.to_device(device)?, false)?;
        features.push(vectors.detach().to_device(&Device::Cpu)?);
        labels.push(batch_labels);
    }
    if features.is_empty() {
        return Err(TrainError::NoBatches { split: "image" });
    }
    let data = TensorDataset::new(Tensor::cat(&features, 0)?, Tensor::cat(&labels, 0)?)?;
    Ok(data)
}

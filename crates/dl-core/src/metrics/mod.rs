//! What is measured on predictions, under torchmetrics' names.
//!
//! A metric counts over batches and gives its value at the end, so that the size of the batches
//! does not matter: counts are integers and sums are `f64`.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dl_core::metrics::Accuracy;
//! let mut accuracy = Accuracy::new();
//! let logits = Tensor::new(&[[2f32, 1.], [0., 3.]], &Device::Cpu)?;
//! accuracy.update(&logits, &Tensor::new(&[0u32, 0], &Device::Cpu)?)?;
//! assert_eq!(accuracy.compute(), 0.5);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod accuracy;
mod confusion_matrix;
mod mean;
mod scores;
mod top_k_accuracy;

pub use accuracy::Accuracy;
pub use confusion_matrix::ConfusionMatrix;
pub use mean::Mean;
pub use top_k_accuracy::TopKAccuracy;

pub(crate) use scores::{Scores, argmax};

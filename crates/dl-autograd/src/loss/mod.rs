//! Losses: of classes, of pairs of elements, and how the losses of a batch are put together.

mod binary_cross_entropy;
mod class_targets;
mod composed;
mod cross_entropy;
mod nll;
mod pair;
mod pointwise;
mod reduction;

pub use binary_cross_entropy::{BinaryCrossEntropyOptions, binary_cross_entropy_with_logits};
pub use cross_entropy::{CrossEntropyOptions, cross_entropy};
pub use nll::{NllOptions, nll_loss};
pub use pointwise::{PointwiseLoss, pointwise_loss};
pub use reduction::Reduction;

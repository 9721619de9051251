//! Losses: free functions of (prediction, target, options, [`Reduction`]).

mod cross_entropy;
mod reduction;

pub use cross_entropy::{CrossEntropyOptions, cross_entropy, cross_entropy_of_probabilities};
pub use reduction::Reduction;

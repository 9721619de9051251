//! Losses: free functions of (prediction, target, options, [`Reduction`]).

mod cross_entropy;

pub use cross_entropy::{cross_entropy, cross_entropy_of_probabilities};

pub use dl_autograd::{CrossEntropyOptions, Reduction};

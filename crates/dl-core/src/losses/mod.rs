//! Losses: free functions of (prediction, target, options, [`Reduction`]), with PyTorch's names and
//! defaults.
//!
//! | what | where |
//! |---|---|
//! | classes or distributions over them | [`cross_entropy`], [`nll_loss`], [`kl_div`](kl_div()) |
//! | yes or no, for each output | [`binary_cross_entropy_with_logits`], [`sigmoid_focal_loss`] |
//! | regression | [`mse_loss`], [`l1_loss`], [`smooth_l1_loss`], [`huber_loss`] |
//! | regression with a distribution | [`gaussian_nll_loss`], [`poisson_nll_loss`] |
//! | pairs, triplets and ranks | [`cosine_embedding_loss`], [`hinge_embedding_loss`], [`margin_ranking_loss`], [`triplet_margin_loss`] |
//! | overlap of masks | [`dice_loss`] |
//! | several of them with weights | [`MultiTaskLoss`] |

mod cosine_embedding;
mod cross_entropy;
mod dice;
mod focal;
mod gaussian_nll;
mod hinge_embedding;
mod huber;
mod kl_div;
mod l1;
mod margin_ranking;
mod mse;
mod multi_task;
mod poisson_nll;
mod same_shape;
mod smooth_l1;
mod triplet_margin;

pub use cosine_embedding::{CosineEmbeddingOptions, cosine_embedding_loss};
pub use cross_entropy::{cross_entropy, cross_entropy_of_probabilities};
pub use dice::{DiceOptions, dice_loss};
pub use focal::{FocalOptions, sigmoid_focal_loss};
pub use gaussian_nll::{GaussianNllOptions, gaussian_nll_loss};
pub use hinge_embedding::{HingeEmbeddingOptions, hinge_embedding_loss};
pub use huber::{HuberOptions, huber_loss};
pub use kl_div::{KlDivOptions, kl_div};
pub use l1::l1_loss;
pub use margin_ranking::{MarginRankingOptions, margin_ranking_loss};
pub use mse::mse_loss;
pub use multi_task::{MultiTaskLoss, MultiTaskLosses};
pub use poisson_nll::{PoissonNllOptions, poisson_nll_loss};
pub use smooth_l1::{SmoothL1Options, smooth_l1_loss};
pub use triplet_margin::{TripletMarginOptions, triplet_margin_loss};

pub use dl_autograd::{
    BinaryCrossEntropyOptions, CrossEntropyOptions, NllOptions, Reduction,
    binary_cross_entropy_with_logits, nll_loss,
};

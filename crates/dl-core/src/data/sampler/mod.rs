//! Which items an epoch shows, and in what order.
//!
//! | as in PyTorch | here |
//! |---|---|
//! | `WeightedRandomSampler` | [`WeightedSampler`] |
//! | a sampler by inverse class frequency | [`ClassBalancedSampler`] |
//! | a batch sampler by length | [`LengthBuckets`] |
//!
//! A sampler is a pure function of (seed, epoch), so a run goes on at any batch without a state.

mod class_balanced;
mod length_buckets;
mod order;
mod weighted;

pub use class_balanced::ClassBalancedSampler;
pub use length_buckets::LengthBuckets;
pub use order::{BatchSampler, Sampler};
pub use weighted::WeightedSampler;

//! Layers, losses, metrics, data, models and the training loop on candle.

pub mod params;

pub use params::Params;

//! Layers, losses, metrics, data, models and the training loop on candle.

pub mod data;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod models;
pub mod plot;

pub mod train;

mod params;

pub use params::Params;

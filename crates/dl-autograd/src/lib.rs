//! Differentiable operations for candle.

pub mod rng;

pub use rng::{Purpose, Rng};

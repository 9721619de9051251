//! Pooling over windows: the largest or the mean, of given or of adaptive windows.

mod adaptive;
mod average;
mod max;
mod pick;
mod window;

pub use adaptive::{
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d,
};
pub use average::{AvgPool1dConfig, AvgPool2dConfig, avg_pool1d, avg_pool2d};
pub use max::{MaxPool1dConfig, MaxPool2dConfig, max_pool1d, max_pool2d};

pub(crate) use adaptive::adaptive_taps;
pub(crate) use window::as_rows;

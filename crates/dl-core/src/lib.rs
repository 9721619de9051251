//! Layers, losses, metrics, data, models and the training loop on candle.
//!
//! | what | where |
//! |---|---|
//! | named, seeded, freezable parameters behind a candle `VarBuilder` | [`Params`] |
//! | dense, convolution, batch norm, dropout | [`layers`] |
//! | cross-entropy and reductions | [`losses`] |
//! | data sets, transforms, the loader | [`data`] |
//! | accuracy, confusion matrix, means | [`metrics`] |
//! | EfficientNet-Lite 0 to 4, perceptron, finding a model by name | [`models`] |
//! | the loop, evaluation, callbacks | [`train`] |
//! | curves, confusion matrices, range tests and paths of optimizers as SVG | [`plot`] |
//!
//! | feature | what it turns on |
//! |---|---|
//! | `cuda`, `metal` | candle's backend of that name |

pub mod data;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod models;
pub mod plot;

pub mod train;

mod params;

pub use params::Params;

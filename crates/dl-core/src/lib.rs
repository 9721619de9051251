//! Layers, losses, metrics, data, models and the training loop on candle.
//!
//! | what | where |
//! |---|---|
//! | named, seeded, freezable parameters behind a candle `VarBuilder` | [`Params`] |
//! | initialisations by name pattern | [`init`] |
//! | dense, convolution, recurrent, norms, pools, attention, dropouts, squeeze-and-excitation, patches, containers, layers computed again in backward | [`layers`] |
//! | the state of a run on disk | [`checkpoint`] |
//! | losses, several with weights, reductions | [`losses`] |
//! | data sets and streams, transforms, mixup, the loaders | [`data`] |
//! | accuracy, confusion matrix, means | [`metrics`] |
//! | perceptron, LeNet, ResNet, VGG, MobileNetV2, EfficientNet-Lite, BERT, GPT-2, finding a model by name | [`models`] |
//! | layers, shapes, parameters and multiply-adds of a model | [`summary`] |
//! | the threads that compute | [`threads`] |
//! | the loop, mixed precision, averaged weights, batch sizes, evaluation, predictions, callbacks, reports, gradients by name | [`train`] |
//! | curves, confusion matrices, range tests and paths of optimizers as SVG and PNG | [`plot`] |
//!
//! A model of one's own is a struct of [`layers`], or layers chained by [`layers::sequential`], listed
//! by [`layers::module_list`] or kept by name in [`layers::module_dict`]; its weights have PyTorch's
//! names, and [`init`] sets them by pattern, to the same bits for any number of threads.
//! [`summary::summary`] prints what it consists of, the zoo's models and one's own alike, and
//! [`train::flow_report`] which parameters a loss reaches: it names those without a gradient and those
//! with a NaN.
//!
//! | feature | what it turns on |
//! |---|---|
//! | `cuda`, `metal` | candle's backend of that name |
//! | `dashboard` | `train::Dashboard`: a run on the whole terminal |
//! | `mimalloc` | `allocator`: an allocator that keeps what a step frees for the next one |
//! | `png` | `plot::png`: pictures as PNG files |

#[cfg(feature = "mimalloc")]
pub mod allocator;
pub mod checkpoint;
pub mod data;
pub mod init;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod models;
pub mod plot;
pub mod summary;
pub mod threads;
pub mod train;

mod dotted;
mod params;
mod text_table;

pub use params::Params;

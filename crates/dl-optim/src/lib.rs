//! Optimizers, schedules, clipping and averaging for candle [`Var`](candle_core::Var)s that have names.
//!
//! One driver, [`Optimizer`], owns the parameters, their groups, the step count, clipping and the
//! state on disk. What is done to one parameter is a [`Rule`], with PyTorch's semantics and defaults:
//! [`Sgd`], [`Adam`], [`AdamW`], [`Adamax`], [`NAdam`], [`RAdam`], [`SparseAdam`], [`RmsProp`],
//! [`Rprop`], [`Adagrad`], [`Adadelta`], [`Adafactor`], [`Asgd`], [`Muon`], and Keras's [`Momentum`].
//! On the CPU an elementwise update is one pass over memory, in place, on all cores; elsewhere it is
//! composed of candle's own operations. [`Lbfgs`] evaluates the loss itself and so is a driver of its
//! own.
//!
//! ```
//! use candle_core::{DType, Device, Var};
//! use dl_optim::{AdamW, Clip, Cosine, Optimizer, Schedule, Warmup};
//!
//! let weight = Var::ones((2, 3), DType::F32, &Device::Cpu)?;
//! let params = [("fc.weight".to_string(), weight.clone())];
//! let mut optimizer = Optimizer::new(params, AdamW { lr: 0.01, ..AdamW::default() })?
//!     .clip(Clip::Norm(1.0))?;
//! let schedule = Warmup::new(10, Cosine::over(90));
//! for step in 0..100 {
//!     optimizer.set_lr(0.01 * schedule.at(step));
//!     optimizer.step(&weight.sqr()?.sum_all()?.backward()?)?;
//! }
//! assert!(weight.sqr()?.sum_all()?.to_scalar::<f32>()? < 3.0);
//! # Ok::<(), dl_optim::Error>(())
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `cuda` | candle's CUDA backend |
//! | `metal` | candle's Metal backend |

mod atomic_file;
mod clip;
mod ema;
mod error;
mod group;
mod lbfgs;
mod optimizer;
mod real;
mod rule;
mod rules;
mod schedule;
mod state;
mod sweep;
mod update;

pub use clip::{Clip, clip_grad_norm, clip_grad_value, global_norm};
pub use ema::Ema;
pub use error::{Error, Result};
pub use group::{Group, Settings};
pub use lbfgs::{Lbfgs, LbfgsOptions, LineSearch};
pub use optimizer::Optimizer;
pub use real::Real;
pub use rule::{Basics, Options, Rule, Slot};
pub use rules::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, AdjustLr, Asgd, Momentum, Muon, NAdam,
    RAdam, RULES, RmsProp, Rprop, Sgd, SparseAdam, WeightDecay, rule_named,
};
pub use schedule::{
    Anneal, Constant, ConstantThen, Cosine, CosineRestarts, Exponential, HUGGING_FACE_NAMES,
    HuggingFace, HuggingFaceName, Lambda, Linear, MultiStep, OneCycle, Polynomial, Product,
    Schedule, Sequence, Step, Warmup,
};
pub use state::{GroupHeader, OptimizerState, StateHeader};
pub use sweep::{Kernel, Lanes, Sweep};
pub use update::{Path, Update};

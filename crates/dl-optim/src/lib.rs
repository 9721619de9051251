//! Optimizers, schedules, clipping and averaging for candle [`Var`](candle_core::Var)s that have names.
//!
//! One driver, [`Optimizer`], owns the parameters, their groups, the step count, what happens to
//! gradients and the state on disk; it is a [`candle_nn::Optimizer`] too. What is done to one
//! parameter is a [`Rule`], with PyTorch's semantics and defaults:
//! [`Sgd`], [`Adam`], [`AdamW`], [`Adamax`], [`NAdam`], [`RAdam`], [`SparseAdam`], [`RmsProp`],
//! [`Rprop`], [`Adagrad`], [`Adadelta`], [`Adafactor`], [`Asgd`], [`Muon`], Keras's [`Momentum`];
//! [`Lion`] and [`SignSgd`] with their papers'; without a schedule: [`SgdScheduleFree`],
//! [`AdamWScheduleFree`]; without a rate: [`Prodigy`], [`DAdaptAdam`], [`DAdaptSgd`]; with a matrix on
//! each side of a parameter: [`Shampoo`], [`Soap`]; with less memory: [`Adam8bit`], [`AdamW8bit`],
//! [`GaLore`], [`Came`]; [`Sophia`]; for large batches [`Lamb`], [`Lars`], [`NovoGrad`];
//! Adam's kin [`AdaBelief`], [`Adan`], [`AdEmaMix`], [`Yogi`]; by dual averaging [`MadGrad`], [`Ftrl`].
//! [`Cautious`] wraps those with a momentum.
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
//! | for | there is |
//! |---|---|
//! | rates | twenty [`Schedule`]s, the names of Hugging Face ([`LrScheduler`]), [`ReduceOnPlateau`], [`Greedy`], [`LrRange`] to find the first |
//! | gradients | [`Clip`], [`centralize_gradients`], [`Accumulator`], [`NonFinite`], [`LossScaler`] |
//! | f16 and bf16 parameters | [`LowPrecision`]: master weights or stochastic rounding |
//! | averages and wrappers | [`Ema`], [`Swa`], [`Lookahead`], [`Sam`] |
//! | PyTorch's optimizer states | [`Optimizer::load_torch_state`], [`Optimizer::save_torch_state`] |
//! | trying things out | [`test_functions`] |
//!
//! | feature | what it adds |
//! |---|---|
//! | `spectral` | on by default: [`Shampoo`], [`Soap`], [`GaLore`], with faer's decompositions |
//! | `cuda` | candle's CUDA backend |
//! | `metal` | candle's Metal backend |

mod accumulator;
mod candle_optimizer;
mod centralize;
mod clip;
mod descent;
mod dynamic_map;
mod ema;
mod error;
mod group;
mod hutchinson;
mod lbfgs;
mod lookahead;
mod loss_scaler;
mod low_precision;
mod lr_range;
mod non_finite;
mod norm;
mod optimizer;
mod real;
mod rule;
mod rules;
mod sam;
mod schedule;
#[cfg(feature = "spectral")]
mod sides;
#[cfg(feature = "spectral")]
mod spectral;
mod state;
mod swa;
mod sweep;
pub mod test_functions;
mod torch_state;
mod update;

pub use accumulator::Accumulator;
pub use centralize::centralize_gradients;
pub use clip::{Clip, clip_grad_norm, clip_grad_value, clip_grads, global_norm};
pub use descent::{Decay, Descent};
pub use dynamic_map::BLOCK_LEN;
pub use ema::Ema;
pub use error::{Error, Result};
pub use group::{Group, Settings};
pub use hutchinson::hutchinson;
pub use lbfgs::{Lbfgs, LbfgsOptions, LineSearch};
pub use lookahead::Lookahead;
pub use loss_scaler::LossScaler;
pub use low_precision::LowPrecision;
pub use lr_range::{LrCurve, LrPoint, LrRange};
pub use non_finite::NonFinite;
pub use norm::NormType;
pub use optimizer::Optimizer;
pub use real::Real;
pub use rule::{Basics, Options, Rule, Slot};
pub use rules::{AdEmaMix, AdaBelief, Adan, Ftrl, Lamb, Lars, MadGrad, NovoGrad, Yogi};
pub use rules::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, AdjustLr, Asgd, Lion, Momentum, Muon, NAdam,
    RAdam, RULES, RmsProp, Rprop, Sgd, SignSgd, SparseAdam, WeightDecay, rule_named,
};
pub use rules::{Adam8bit, AdamW8bit, DAdaptAdam, DAdaptSgd, Prodigy};
pub use rules::{AdamWScheduleFree, Came, Cautious, SgdScheduleFree, Sophia};
#[cfg(feature = "spectral")]
pub use rules::{GaLore, Graft, PreConditionerType, ProjType, Shampoo, Soap};
pub use sam::Sam;
pub use schedule::{
    Anneal, Constant, ConstantThen, Cosine, CosineRestarts, Cyclic, CyclicMode, Exponential,
    Greedy, GreedyConfig, HUGGING_FACE_NAMES, HuggingFace, HuggingFaceName, InverseSqrt,
    LR_SCHEDULER_NAMES, Lambda, Linear, LrScheduler, Mode, MultiStep, Noam, OneCycle,
    PlateauConfig, Polynomial, Product, Ramp, ReduceOnPlateau, Schedule, Sequence, Step, SwaAnneal,
    ThresholdMode, Warmup, WarmupStableDecay,
};
pub use state::{GroupHeader, OptimizerState, StateHeader};
pub use swa::Swa;
pub use sweep::{Gauge, Kernel, Lanes, Sweep};
pub use update::{Path, Update};

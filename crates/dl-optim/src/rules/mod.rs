//! The rules, one file each, and the list of them by name.

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adam8bit;
mod adamax;
mod adamw;
mod adamw8bit;
mod asgd;
mod came;
mod dadapt_adam;
mod dadapt_sgd;
mod distance;
#[cfg(feature = "spectral")]
mod galore;
mod lion;
mod moments;
mod momentum;
mod muon;
mod nadam;
mod named;
mod prodigy;
mod radam;
mod rmsprop;
mod rprop;
mod sgd;
#[cfg(feature = "spectral")]
mod shampoo;
#[cfg(feature = "spectral")]
mod shampoo_blocks;
mod sign_sgd;
#[cfg(feature = "spectral")]
mod soap;
mod sophia;
mod sparse_adam;

mod adamw_schedule_free;
mod sgd_schedule_free;

mod adabelief;
mod adan;
mod ademamix;
mod cautious;
mod ftrl;
mod lamb;
mod lars;
mod madgrad;
mod novograd;
mod yogi;

pub use adadelta::Adadelta;
pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::{Adam, WeightDecay};
pub use adam8bit::Adam8bit;
pub use adamax::Adamax;
pub use adamw::AdamW;
pub use adamw8bit::AdamW8bit;
pub use asgd::Asgd;
pub use came::Came;
pub use dadapt_adam::DAdaptAdam;
pub use dadapt_sgd::DAdaptSgd;
#[cfg(feature = "spectral")]
pub use galore::{GaLore, ProjType};
pub use lion::Lion;
pub use momentum::Momentum;
pub use muon::{AdjustLr, Muon};
pub use nadam::NAdam;
pub use named::{RULES, rule_named};
pub use prodigy::Prodigy;
pub use radam::RAdam;
pub use rmsprop::RmsProp;
pub use rprop::Rprop;
pub use sgd::Sgd;
#[cfg(feature = "spectral")]
pub use shampoo::{Graft, PreConditionerType, Shampoo};
pub use sign_sgd::SignSgd;
#[cfg(feature = "spectral")]
pub use soap::Soap;
pub use sophia::Sophia;
pub use sparse_adam::SparseAdam;

pub use adamw_schedule_free::AdamWScheduleFree;
pub use sgd_schedule_free::SgdScheduleFree;

pub use adabelief::AdaBelief;
pub use adan::Adan;
pub use ademamix::AdEmaMix;
pub use cautious::Cautious;
pub use ftrl::Ftrl;
pub use lamb::Lamb;
pub use lars::Lars;
pub use madgrad::MadGrad;
pub use novograd::NovoGrad;
pub use yogi::Yogi;

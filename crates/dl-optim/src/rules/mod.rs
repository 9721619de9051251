//! The rules, one file each, and the list of them by name.

mod adagrad;
mod adam;
mod adamw;
mod named;
mod rmsprop;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, WeightDecay};
pub use adamw::AdamW;
pub use named::{RULES, rule_named};
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

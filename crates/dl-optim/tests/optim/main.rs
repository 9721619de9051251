//! What the whole crate promises, checked over every rule from one list.
#![allow(clippy::unwrap_used)]

mod accumulation;
mod averaging;
mod cases;
mod cautious;
mod clipping;
mod distance;
mod driver;
mod eight_bit;
mod functions;
mod fused;
mod groups;
mod lbfgs;
mod matrices;
mod non_finite;
mod parity;
mod precision;
mod properties;
mod resume;
mod schedule_free;
mod schedules;
mod torch_state;
mod wrappers;

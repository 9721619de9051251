//! What the whole crate promises, checked over every rule from one list.
#![allow(clippy::unwrap_used)]

mod averaging;
mod cases;
mod clipping;
mod driver;
mod fused;
mod groups;
mod lbfgs;
mod parity;
mod properties;
mod resume;
mod schedules;

//! Recurrent layers over whole sequences.
//!
//! The input's share of the gates is one matrix product for all time steps. The recurrence then runs
//! through time in one task for each thread, on sequences of its own, so that nobody waits for anybody
//! between two steps. Backward goes through time the same way and ends with one product over all
//! steps for each weight.

mod gru;
mod lstm;
mod packed;
mod plan;
mod sequence;

pub use gru::gru;
pub use lstm::lstm;

use candle_core::Tensor;

/// The parameters of one layer in one direction, in PyTorch's layout.
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `(gates·hidden, inputs)`.
    pub weight_ih: Tensor,
    /// `(gates·hidden, hidden)`.
    pub weight_hh: Tensor,
    /// `bias_ih` and `bias_hh`, each `(gates·hidden,)`.
    pub bias: Option<[Tensor; 2]>,
}

/// Which end of a sequence the recurrence starts at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first.
    Reverse,
}

//! Long short-term memory.

use candle_core::{Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};

use super::recurrent::{RecurrentConfig, Stack};

/// LSTM layers over whole sequences, as `torch.nn.LSTM` with `batch_first=True`.
///
/// `(batch, time, in)` → `(batch, time, hidden·directions)`. Weights `weight_ih_l0`, `weight_hh_l0`,
/// `bias_ih_l0`, `bias_hh_l0`, for the way back with `_reverse` behind it, and so on for `l1`, ….
/// The formula is that of [`dl_autograd::lstm`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_core::{Params, layers::{RecurrentConfig, lstm}};
/// let params = Params::new(0, &Device::Cpu);
/// let config = RecurrentConfig { layers: 2, bidirectional: true, ..Default::default() };
/// let layer = lstm(3, 5, config, params.vb())?;
/// let x = Tensor::zeros((4, 7, 3), DType::F32, &Device::Cpu)?;
/// // The sequences have 7, 5, 2 and 1 steps, in any order.
/// let (y, state) = layer.run(&x, None, Some(&[7, 5, 2, 1]), true)?;
/// assert_eq!((y.dims(), state.h.dims()), (&[4, 7, 10][..], &[4, 4, 5][..]));
/// assert!(params.get("weight_ih_l1_reverse").is_some());
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lstm {
    stack: Stack,
}

/// What an [`Lstm`] goes on from: `(layers·directions, batch, hidden)` each.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// The hidden state.
    pub h: Tensor,
    /// The cell state.
    pub c: Tensor,
}

/// LSTM layers from `inputs` to `hidden` features.
pub fn lstm(inputs: usize, hidden: usize, config: RecurrentConfig, vb: VarBuilder) -> Result<Lstm> {
    let stack = Stack::new("Lstm", 4, (inputs, hidden), config, vb)?;
    Ok(Lstm { stack })
}

impl Lstm {
    /// Outputs and final states, from a state, zeros by default. `lengths` are the real steps of each
    /// sequence; outputs behind them are zero.
    pub fn run(
        &self,
        x: &Tensor,
        state: Option<&LstmState>,
        lengths: Option<&[usize]>,
        train: bool,
    ) -> Result<(Tensor, LstmState)> {
        let states = state.map_or(vec![], |s| vec![&s.h, &s.c]);
        let (y, states) = self
            .stack
            .run(x, &states, train, &|x, start, weights, direction| {
                let start = match start {
                    Some([h, c]) => Some([h, c]),
                    _ => None,
                };
                let (y, h, c) = dl_autograd::lstm(x, start, weights, lengths, direction)?;
                Ok(vec![y, h, c])
            })?;
        match <[Tensor; 2]>::try_from(states) {
            Ok([h, c]) => Ok((y, LstmState { h, c })),
            Err(states) => bail!("Lstm has two states, got {}", states.len()),
        }
    }
}

impl ModuleT for Lstm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(self.run(x, None, None, train)?.0)
    }
}

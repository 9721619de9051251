//! Gated recurrent unit.

use candle_core::{Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};

use super::recurrent::{RecurrentConfig, Stack};

/// GRU layers over whole sequences, as `torch.nn.GRU` with `batch_first=True`.
///
/// `(batch, time, in)` → `(batch, time, hidden·directions)`. Weights as of [`Lstm`](super::Lstm). The
/// formula is that of [`dl_autograd::gru`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, layers::gru};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = gru(3, 5, Default::default(), params.vb())?;
/// let y = layer.forward_t(&Tensor::zeros((4, 7, 3), DType::F32, &Device::Cpu)?, true)?;
/// assert_eq!(y.dims(), [4, 7, 5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gru {
    stack: Stack,
}

/// GRU layers from `inputs` to `hidden` features.
pub fn gru(inputs: usize, hidden: usize, config: RecurrentConfig, vb: VarBuilder) -> Result<Gru> {
    let stack = Stack::new("Gru", 3, (inputs, hidden), config, vb)?;
    Ok(Gru { stack })
}

impl Gru {
    /// Outputs and final states `(layers·directions, batch, hidden)`, from a state, zeros by default.
    /// `lengths` are the real steps of each sequence; outputs behind them are zero.
    pub fn run(
        &self,
        x: &Tensor,
        h0: Option<&Tensor>,
        lengths: Option<&[usize]>,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        let states: Vec<&Tensor> = h0.into_iter().collect();
        let (y, states) = self
            .stack
            .run(x, &states, train, &|x, start, weights, direction| {
                let start = start.and_then(<[Tensor]>::first);
                let (y, h) = dl_autograd::gru(x, start, weights, lengths, direction)?;
                Ok(vec![y, h])
            })?;
        match states.into_iter().next() {
            Some(h) => Ok((y, h)),
            None => bail!("Gru has one state, got none"),
        }
    }
}

impl ModuleT for Gru {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(self.run(x, None, None, train)?.0)
    }
}

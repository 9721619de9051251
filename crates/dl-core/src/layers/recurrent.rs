//! What recurrent layers have in common: stacks of layers, in one direction or in both.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, ModuleT, VarBuilder};
use dl_autograd::{Direction, RecurrentWeights, cat, reshape, unbind};

use super::dropout::Dropout;
use crate::summary;

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentConfig {
    /// Layers, of which each takes the outputs of the one before, `≥ 1`. Default `1`.
    pub layers: usize,
    /// Whether every layer also goes from the end to the start; its outputs stand beside the others.
    /// Default `false`.
    pub bidirectional: bool,
    /// Dropout on the outputs of every layer but the last, in `[0, 1]`. Default `0`.
    pub dropout: f64,
    /// Whether there are biases. Default `true`.
    pub bias: bool,
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        Self {
            layers: 1,
            bidirectional: false,
            dropout: 0.,
            bias: true,
        }
    }
}

/// The weights of all layers.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    name: String,
    kind: &'static str,
    hidden: usize,
    /// Layer by layer, for each its directions.
    layers: Vec<Vec<RecurrentWeights>>,
    dropout: Dropout,
}

/// One direction of one layer: outputs and final states.
pub(super) type Cell<'a> =
    &'a dyn Fn(&Tensor, Option<&[Tensor]>, &RecurrentWeights, Direction) -> Result<Vec<Tensor>>;

const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Forward, ""), (Direction::Reverse, "_reverse")];

impl Stack {
    /// `gates` are those of the cell. Initialised as PyTorch does: uniform in `±1/√hidden`.
    pub(super) fn new(
        kind: &'static str,
        gates: usize,
        (inputs, hidden): (usize, usize),
        config: RecurrentConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        if config.layers == 0 || hidden == 0 {
            bail!(
                "{kind} needs 1 layer and 1 hidden feature or more, got {} and {hidden}",
                config.layers
            )
        }
        let directions = &DIRECTIONS[..if config.bidirectional { 2 } else { 1 }];
        let layer = |layer: usize| {
            let inputs = if layer == 0 {
                inputs
            } else {
                hidden * directions.len()
            };
            let weights = |(_, suffix): &(Direction, &str)| {
                weights(
                    &vb,
                    &format!("_l{layer}{suffix}"),
                    [gates, inputs, hidden],
                    config.bias,
                )
            };
            directions.iter().map(weights).collect()
        };
        Ok(Self {
            name: vb.prefix(),
            kind,
            hidden,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            dropout: Dropout::new(config.dropout),
        })
    }

    /// `states` and the final states `(layers·directions, batch, hidden)` each, as PyTorch has them.
    pub(super) fn run(
        &self,
        x: &Tensor,
        states: &[&Tensor],
        train: bool,
        cell: Cell,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let states = states
            .iter()
            .zip(["h0", "c0"])
            .map(|(state, name)| self.parts(x, name, state))
            .collect::<Result<Vec<_>>>()?;
        let (mut x, mut found) = (x.clone(), vec![]);
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = self.dropout.forward_t(&x, train)?;
            }
            let mut outputs = vec![];
            for (weights, (direction, _)) in layer.iter().zip(DIRECTIONS) {
                let own: Vec<Tensor> = states.iter().map(|s| s[found.len()].clone()).collect();
                let own = (!own.is_empty()).then_some(own.as_slice());
                let mut results = cell(&x, own, weights, direction)?.into_iter();
                outputs.extend(results.next());
                found.push(results.collect::<Vec<_>>());
            }
            x = cat(&outputs.iter().collect::<Vec<_>>(), 2)?;
        }
        let y = x;
        summary::record(Some(&self.name), self.kind, &y, || self.products(&y));
        Ok((y, stacked(&found)?))
    }

    fn parts(&self, x: &Tensor, name: &str, state: &Tensor) -> Result<Vec<Tensor>> {
        let parts = self.layers.iter().map(Vec::len).sum::<usize>();
        let batch = x.dims().first().copied().unwrap_or(0);
        let wanted = [parts, batch, self.hidden];
        if state.dims() != wanted {
            let got = state.shape();
            bail!(
                "{} `{}` takes {name} {wanted:?}, got {got:?}",
                self.kind,
                self.name
            )
        }
        unbind(state, 0)
    }

    fn products(&self, y: &Tensor) -> usize {
        let steps: usize = y.dims()[..2].iter().product();
        let weights = self.layers.iter().flatten();
        let sizes = weights.map(|w| w.weight_ih.elem_count() + w.weight_hh.elem_count());
        steps * sizes.sum::<usize>()
    }
}

fn weights(
    vb: &VarBuilder,
    suffix: &str,
    [gates, inputs, hidden]: [usize; 3],
    bias: bool,
) -> Result<RecurrentWeights> {
    let up = 1. / (hidden as f64).sqrt();
    let init = Init::Uniform { lo: -up, up };
    let weight = |name: &str, inputs| {
        vb.get_with_hints((gates * hidden, inputs), &format!("{name}{suffix}"), init)
    };
    let biases = || -> Result<[Tensor; 2]> {
        let one = |name| vb.get_with_hints(gates * hidden, &format!("{name}{suffix}"), init);
        Ok([one("bias_ih")?, one("bias_hh")?])
    };
    Ok(RecurrentWeights {
        weight_ih: weight("weight_ih", inputs)?,
        weight_hh: weight("weight_hh", hidden)?,
        bias: bias.then(biases).transpose()?,
    })
}

/// For each kind of state those of all layers and directions, one above the other.
fn stacked(found: &[Vec<Tensor>]) -> Result<Vec<Tensor>> {
    let kinds = found.first().map_or(0, Vec::len);
    let one = |kind: usize| {
        let parts = found.iter().map(|states| {
            let (batch, hidden) = states[kind].dims2()?;
            reshape(&states[kind], (1, batch, hidden))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        cat(&parts.iter().collect::<Vec<_>>(), 0)
    };
    (0..kinds).map(one).collect()
}

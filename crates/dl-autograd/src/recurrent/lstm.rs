//! Long short-term memory.

use candle_core::{Result, Tensor};

use crate::pointwise::{sigmoid, tanh};
use crate::recurrent::sequence::{BackwardRow, Cell, ForwardRow, State, run};
use crate::recurrent::{Direction, RecurrentWeights};
use crate::smooth::Smooth;
use crate::split::chunk;

/// One LSTM layer over whole sequences, as one direction of `torch.nn.LSTM`.
///
/// `x (batch, time, inputs)`, `state` of two `(batch, hidden)` → `y (batch, time, hidden)`,
/// `h (batch, hidden)`, `c (batch, hidden)`
///
/// ```text
/// i, f, g, o = W_ih·xₜ + b_ih + W_hh·hₜ₋₁ + b_hh
/// cₜ = σ(f)⊙cₜ₋₁ + σ(i)⊙tanh(g)          yₜ = hₜ = σ(o)⊙tanh(cₜ)
/// ```
///
/// The gates lie in the weights in this order. `state` is `h₀` and `c₀`, zeros if there is none.
/// `lengths` says how many steps of each sequence are real: the outputs behind them are zero, the
/// final states are those of the last real step and the reverse direction starts there, as for
/// PyTorch's packed sequences, but in any order. An error if the shapes do not fit.
///
/// Source: Hochreiter, Schmidhuber, "Long short-term memory", 1997.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Direction, RecurrentWeights, lstm};
/// let t = |shape: &[usize]| Tensor::ones(shape, DType::F64, &Device::Cpu);
/// let weights = RecurrentWeights { weight_ih: t(&[4, 1])?, weight_hh: t(&[4, 1])?, bias: None };
/// let (_, h, _) = lstm(&t(&[1, 1, 1])?, None, &weights, None, Direction::Forward)?;
/// // σ(1)·tanh(σ(1)·tanh(1))
/// assert!((h.to_vec2::<f64>()?[0][0] - 0.369606).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn lstm(
    x: &Tensor,
    state: Option<[&Tensor; 2]>,
    weights: &RecurrentWeights,
    lengths: Option<&[usize]>,
    direction: Direction,
) -> Result<(Tensor, Tensor, Tensor)> {
    let start = state.map(|[h, c]| vec![h.clone(), c.clone()]);
    let (y, state) = run::<Lstm>(x, start, weights, lengths, direction)?;
    match state {
        State { h, c: Some(c) } => Ok((y, h, c)),
        State { h, c: None } => Ok((y, h.clone(), h)),
    }
}

pub(super) struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    const STATES: usize = 2;
    const SEPARATE: bool = false;

    fn step(from_input: &Tensor, from_state: &Tensor, state: &State) -> Result<State> {
        let gates = chunk(&(from_input + from_state)?, Self::GATES, 1)?;
        let kept = match &state.c {
            Some(c) => (sigmoid(&gates[1])? * c)?,
            None => gates[1].zeros_like()?,
        };
        let c = (kept + (sigmoid(&gates[0])? * tanh(&gates[2])?)?)?;
        let h = (sigmoid(&gates[3])? * tanh(&c)?)?;
        Ok(State { h, c: Some(c) })
    }

    /// Leaves the gates behind their functions, and the new cell state as the by-product.
    #[inline(always)]
    fn forward<T: Smooth, const FMA: bool>(row: ForwardRow<T>) {
        let n = row.h.len();
        let (i, rest) = row.gates.split_at_mut(n);
        let (f, rest) = rest.split_at_mut(n);
        let (g, o) = rest.split_at_mut(n);
        let r = row.recurrent;
        let (ri, rf, rg, ro) = (&r[..n], &r[n..2 * n], &r[2 * n..3 * n], &r[3 * n..4 * n]);
        let (o, c, by_product) = (&mut o[..n], &mut row.c[..n], &mut row.by_product[..n]);
        for j in 0..n {
            i[j] = (i[j] + ri[j]).sigmoid::<FMA>();
            f[j] = (f[j] + rf[j]).sigmoid::<FMA>();
            g[j] = (g[j] + rg[j]).fast_tanh::<FMA>();
            o[j] = (o[j] + ro[j]).sigmoid::<FMA>();
            c[j] = f[j] * c[j] + i[j] * g[j];
            by_product[j] = c[j];
            row.h[j] = o[j] * c[j].fast_tanh::<FMA>();
        }
    }

    #[inline(always)]
    fn backward<T: Smooth, const FMA: bool>(row: BackwardRow<T>) {
        let (n, one) = (row.dh.len(), T::one());
        let gates = row.gates;
        let (i, f) = (&gates[..n], &gates[n..2 * n]);
        let (g, o) = (&gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let (di, rest) = row.dx_gates.split_at_mut(n);
        let (df, rest) = rest.split_at_mut(n);
        let (dg, d_o) = rest.split_at_mut(n);
        let (d_o, dc) = (&mut d_o[..n], &mut row.dc[..n]);
        let (c, c_before) = (&row.by_product[..n], &row.by_product_before[..n]);
        for j in 0..n {
            let (dh, tanh_c) = (row.dh[j], c[j].fast_tanh::<FMA>());
            let d = dc[j] + dh * o[j] * (one - tanh_c * tanh_c);
            di[j] = d * g[j] * i[j] * (one - i[j]);
            df[j] = d * c_before[j] * f[j] * (one - f[j]);
            dg[j] = d * i[j] * (one - g[j] * g[j]);
            d_o[j] = dh * tanh_c * o[j] * (one - o[j]);
            dc[j] = d * f[j];
            row.dh[j] = T::zero();
        }
    }
}

//! Gated recurrent unit.

use candle_core::{Result, Tensor};

use crate::pointwise::{sigmoid, tanh};
use crate::recurrent::sequence::{BackwardRow, Cell, ForwardRow, State, run};
use crate::recurrent::{Direction, RecurrentWeights};
use crate::smooth::Smooth;
use crate::split::chunk;

/// One GRU layer over whole sequences, as one direction of `torch.nn.GRU`.
///
/// `x (batch, time, inputs)`, `h0 (batch, hidden)` → `y (batch, time, hidden)`, `h (batch, hidden)`
///
/// ```text
/// r = σ(W_ir·xₜ + b_ir + W_hr·hₜ₋₁ + b_hr)          z = σ(W_iz·xₜ + b_iz + W_hz·hₜ₋₁ + b_hz)
/// n = tanh(W_in·xₜ + b_in + r⊙(W_hn·hₜ₋₁ + b_hn))
/// yₜ = hₜ = (1 − z)⊙n + z⊙hₜ₋₁
/// ```
///
/// The gates lie in the weights in the order r, z, n. As in PyTorch, r multiplies behind the product
/// with the weight, where the paper has it before. `h0`, `lengths` and errors as for
/// [`lstm`](crate::lstm).
///
/// Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Direction, RecurrentWeights, gru};
/// let t = |shape: &[usize]| Tensor::ones(shape, DType::F64, &Device::Cpu);
/// let weights = RecurrentWeights { weight_ih: t(&[3, 1])?, weight_hh: t(&[3, 1])?, bias: None };
/// let (_, h) = gru(&t(&[1, 1, 1])?, None, &weights, None, Direction::Forward)?;
/// // (1 − σ(1))·tanh(1)
/// assert!((h.to_vec2::<f64>()?[0][0] - 0.204824).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gru(
    x: &Tensor,
    h0: Option<&Tensor>,
    weights: &RecurrentWeights,
    lengths: Option<&[usize]>,
    direction: Direction,
) -> Result<(Tensor, Tensor)> {
    let start = h0.map(|h| vec![h.clone()]);
    let (y, state) = run::<Gru>(x, start, weights, lengths, direction)?;
    Ok((y, state.h))
}

pub(super) struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    const STATES: usize = 1;
    const SEPARATE: bool = true;

    fn step(from_input: &Tensor, from_state: &Tensor, state: &State) -> Result<State> {
        let i = chunk(from_input, Self::GATES, 1)?;
        let r = chunk(from_state, Self::GATES, 1)?;
        let reset = sigmoid(&(&i[0] + &r[0])?)?;
        let z = sigmoid(&(&i[1] + &r[1])?)?;
        let n = tanh(&(&i[2] + (reset * &r[2])?)?)?;
        let h = (&n + (z * (&state.h - &n)?)?)?;
        Ok(State { h, c: None })
    }

    /// Leaves the gates behind their functions, and `W_hn·h + b_hn` as the by-product.
    #[inline(always)]
    fn forward<T: Smooth, const FMA: bool>(row: ForwardRow<T>) {
        let n = row.h.len();
        let (r, rest) = row.gates.split_at_mut(n);
        let (z, new) = rest.split_at_mut(n);
        let u = row.recurrent;
        let (ur, uz, un) = (&u[..n], &u[n..2 * n], &u[2 * n..3 * n]);
        let (new, by_product) = (&mut new[..n], &mut row.by_product[..n]);
        for j in 0..n {
            r[j] = (r[j] + ur[j]).sigmoid::<FMA>();
            z[j] = (z[j] + uz[j]).sigmoid::<FMA>();
            new[j] = (new[j] + r[j] * un[j]).fast_tanh::<FMA>();
            by_product[j] = un[j];
            row.h[j] = new[j] + z[j] * (row.h[j] - new[j]);
        }
    }

    #[inline(always)]
    fn backward<T: Smooth, const FMA: bool>(row: BackwardRow<T>) {
        let (n, one) = (row.dh.len(), T::one());
        let (r, z, new) = (
            &row.gates[..n],
            &row.gates[n..2 * n],
            &row.gates[2 * n..3 * n],
        );
        let (dr, rest) = row.dx_gates.split_at_mut(n);
        let (dz, dn) = rest.split_at_mut(n);
        let dn = &mut dn[..n];
        let (hn, before) = (&row.by_product[..n], &row.h_before[..n]);
        for j in 0..n {
            let dh = row.dh[j];
            dn[j] = dh * (one - z[j]) * (one - new[j] * new[j]);
            dr[j] = dn[j] * hn[j] * r[j] * (one - r[j]);
            dz[j] = dh * (before[j] - new[j]) * z[j] * (one - z[j]);
            row.dh[j] = dh * z[j];
        }
        let (du, du_n) = row.dh_gates.split_at_mut(2 * n);
        du[..n].copy_from_slice(dr);
        du[n..].copy_from_slice(dz);
        for j in 0..n {
            du_n[j] = dn[j] * r[j];
        }
    }
}

//! Muon.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::sweep::{Toward, combine};
use crate::{Basics, Kernel, Path, Real, Result, Rule, Slot, Update, global_norm};

/// How Muon's rate follows the shape of a matrix of `rows` and `columns`.
///
/// ```
/// use dl_optim::AdjustLr;
/// assert_eq!(AdjustLr::Original.ratio(400, 100), 2.0);
/// assert_eq!(AdjustLr::Original.ratio(100, 400), 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustLr {
    /// √max(1, rows / columns) (Jordan, 2024). The default.
    #[default]
    Original,
    /// 0.2 √max(rows, columns): rate and decay that were tuned for AdamW fit (Liu et al., 2025).
    MatchRmsAdamw,
    /// √(rows / columns) (Bernstein, 2025).
    SpectralUnclamped,
}

impl AdjustLr {
    /// What the learning rate is multiplied by.
    pub fn ratio(self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            Self::Original => (rows / columns).max(1.0).sqrt(),
            Self::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
            Self::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

/// Muon: momentum whose steps are made nearly orthogonal, for matrices (Jordan et al., 2024).
///
/// ```text
/// Bₜ = μ Bₜ₋₁ + (1 − μ) Gₜ
/// U = μ Bₜ + (1 − μ) Gₜ              (without Nesterov: Bₜ)
/// X₀ = U / max(‖U‖, ε)               (transposed if there are more rows than columns)
/// A = X Xᵀ,   X ← a X + (b A + c A²) X          k times
/// Θₜ = (1 − η λ) Θₜ₋₁ − η r X        r: AdjustLr
/// ```
///
/// Parameters that are not matrices are an error that names them: give them another rule with a
/// [`Group`](crate::Group), and, as the paper does, embeddings and the last layer too.
///
/// PyTorch computes the iteration in bf16, whatever the parameter. Here it is computed in f64 for
/// f64 parameters and in f32 for all others: candle's bf16 products are no faster on the CPU, and the
/// result is nearer to the formula. The two differ by a few of bf16's roundings (2⁻⁸) in X. The momentum is
/// PyTorch's mean; Jordan's first version had a sum.
///
/// Source: K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein, 2024, Muon: An
/// optimizer for hidden layers in neural networks.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{AdamW, Group, Muon, Optimizer};
/// let weight = Var::new(&[[4.0_f64, 0.0], [0.0, -4.0]], &Device::Cpu)?;
/// let bias = Var::new(&[1.0_f64, 1.0], &Device::Cpu)?;
/// let params = [("weight".to_string(), weight.clone()), ("bias".to_string(), bias.clone())];
/// let mut optimizer = Optimizer::new(params, Muon { lr: 0.1, ..Muon::default() })?
///     .group(Group::selecting("not matrices", |_, var| var.rank() != 2).rule(AdamW::default()))?;
/// let loss = (weight.sqr()?.sum_all()? + bias.sqr()?.sum_all()?)?;
/// optimizer.step(&loss.backward()?)?;
/// // 4 − 0.1 · 0.1 · 4 − 0.1 · x, with x between 0.7 and 1.2 for a gradient of any size
/// let corner = weight.to_vec2::<f64>()?[0][0];
/// assert!((3.96 - 0.12..3.96 - 0.07).contains(&corner));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Muon {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0.1`.
    pub weight_decay: f64,
    /// Share of the old momentum that is kept, μ, `>= 0`. Default `0.95`.
    pub momentum: f64,
    /// Looks one step ahead along the momentum. Default `true`.
    pub nesterov: bool,
    /// The coefficients a, b, c of the iteration, finite. Default `(3.4445, -4.775, 2.0315)`.
    pub ns_coefficients: (f64, f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-7`.
    pub eps: f64,
    /// Iterations k, below 100. Default `5`.
    pub ns_steps: usize,
    /// How the rate follows the shape. Default [`AdjustLr::Original`].
    pub adjust_lr_fn: AdjustLr,
    /// Climbs instead of descending, which PyTorch's cannot. Default `false`.
    pub maximize: bool,
}

impl Default for Muon {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: 0.1,
            momentum: 0.95,
            nesterov: true,
            ns_coefficients: (3.4445, -4.775, 2.0315),
            eps: 1e-7,
            ns_steps: 5,
            adjust_lr_fn: AdjustLr::Original,
            maximize: false,
        }
    }
}

impl Rule for Muon {
    fn basics(&self) -> Basics {
        Basics {
            name: "muon",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::like("momentum_buffer", shape)]
    }
    fn validate(&self) -> Result<()> {
        let (a, b, c) = self.ns_coefficients;
        require_not_negative("muon", "lr", self.lr)?;
        require_not_negative("muon", "weight_decay", self.weight_decay)?;
        require_not_negative("muon", "momentum", self.momentum)?;
        require(a.is_finite(), "muon", "ns_coefficients.0", "finite", a)?;
        require(b.is_finite(), "muon", "ns_coefficients.1", "finite", b)?;
        require(c.is_finite(), "muon", "ns_coefficients.2", "finite", c)?;
        require_not_negative("muon", "eps", self.eps)?;
        let steps = self.ns_steps;
        require(steps < 100, "muon", "ns_steps", "< 100", steps as f64)
    }
    fn refuses(&self, shape: &[usize]) -> Option<&'static str> {
        (shape.len() != 2).then_some("[rows, columns]")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        let (rows, columns) = at.theta()?.dims2()?;
        if rows * columns == 0 {
            return Ok(());
        }
        let step = self.orthogonal(&self.momentum_step(&mut at)?)?;
        let ratio = self.adjust_lr_fn.ratio(rows, columns);
        let (kept, rate) = (1.0 - at.lr * at.weight_decay, at.lr * ratio);
        at.step_along(&step, kept, rate)
    }
}

impl Muon {
    /// Moves the momentum on and gives U.
    fn momentum_step(&self, at: &mut Update<'_>) -> candle_core::Result<Tensor> {
        let (g, path) = (at.gradient()?, at.path);
        let [buffer] = &mut *at.slots else {
            candle_core::bail!("muon has 1 slot, got {}", at.slots.len());
        };
        let share = 1.0 - self.momentum;
        *buffer = combine(buffer.clone(), &g, path, &Toward { share })?;
        if !self.nesterov {
            return Ok(buffer.clone());
        }
        combine(buffer.copy()?, &g, path, &Toward { share })
    }

    /// The Newton–Schulz iteration.
    fn orthogonal(&self, u: &Tensor) -> candle_core::Result<Tensor> {
        let tall = u.dim(0)? > u.dim(1)?;
        let x = if tall { u.t()? } else { u.clone() };
        let mut x = x.affine(1.0 / global_norm([u])?.max(self.eps), 0.0)?;
        for _ in 0..self.ns_steps {
            x = self.iterated(&x)?;
        }
        if tall { x.t() } else { Ok(x) }
    }

    fn iterated(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (a, b, c) = self.ns_coefficients;
        let gram = x.matmul(&x.t()?)?;
        let cubic = gram.matmul(&gram)?;
        let weighted = combine(cubic, &gram, Path::Fused, &Sum { own: c, other: b })?;
        let product = weighted.matmul(x)?;
        combine(product, x, Path::Fused, &Sum { own: 1.0, other: a })
    }
}

/// own · x + other · y.
#[derive(Clone, Copy)]
struct Sum {
    own: f64,
    other: f64,
}

impl Kernel<0> for Sum {
    #[inline(always)]
    fn apply<R: Real>(&self, x: R, y: R, _: [R; 0]) -> (R, [R; 0]) {
        (x.scale(self.own) + y.scale(self.other), [])
    }
}

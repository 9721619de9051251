//! Adafactor.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative};
use crate::sweep::combine;
use crate::{Basics, Kernel, Path, Real, Result, Rule, Slot, Update, global_norm};

/// Adafactor: Adam's second moment kept as one number a row and one a column, and steps in
/// proportion to the parameter (Shazeer and Stern, 2018).
///
/// ```text
/// 1 − β₂ₜ = t^γ,   ρₜ = min(η, 1/√t),   αₜ = max(ε₂, ‖θₜ₋₁‖ / √n) ρₜ
/// θₜ₋₁ ← (1 − η λ) θₜ₋₁
/// Rₜ = β₂ₜ Rₜ₋₁ + (1 − β₂ₜ) mean(gₜ², columns)      (two dimensions and more: the last two)
/// Cₜ = β₂ₜ Cₜ₋₁ + (1 − β₂ₜ) mean(gₜ², rows)
/// Vₜ = Rₜ Cₜ / max(mean(Rₜ), ε₁)
/// Vₜ = β₂ₜ Vₜ₋₁ + (1 − β₂ₜ) gₜ²                     (fewer)
/// uₜ = gₜ / √max(Vₜ, ε₁²)
/// θₜ = θₜ₋₁ − αₜ uₜ / max(1, ‖uₜ‖ / (d √n))
/// ```
///
/// As in PyTorch: ε₁ stands in the last two formulas and not beside g², and there is no first
/// moment. Where ε₁ is left out it is the machine epsilon of the arithmetic, which for f16 and bf16
/// parameters is f32's (PyTorch: theirs).
///
/// Source: N. Shazeer, M. Stern, 2018, Adafactor: Adaptive Learning Rates with Sublinear Memory
/// Cost.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Adafactor, Optimizer};
/// let x = Var::new(&[[3.0_f64, 3.0], [3.0, 3.0]], &Device::Cpu)?;
/// let mut adafactor = Optimizer::new([("x".to_string(), x.clone())], Adafactor::default())?;
/// adafactor.step(&x.sqr()?.sum_all()?.backward()?)?; // 3 − 0.01 · 3: one per cent
/// assert!((x.to_vec2::<f64>()?[0][0] - 2.97).abs() < 1e-9);
/// assert_eq!(adafactor.state()?.tensors["x.row_var"].dims(), [2, 1]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adafactor {
    /// The largest learning rate η, in shares of the parameter's size, `>= 0`. Default `1e-2`.
    pub lr: f64,
    /// Power γ of the share of the new square, `<= 0`. Default `-0.8`.
    pub beta2_decay: f64,
    /// ε₁, keeps the division finite, `None` for the machine epsilon; ε₂, the least size of a
    /// parameter that a step is taken for; each `>= 0`. Default `(None, 1e-3)`.
    pub eps: (Option<f64>, f64),
    /// The root mean square d above which an update is shortened, `>= 1`. Default `1`.
    pub d: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            beta2_decay: -0.8,
            eps: (None, 1e-3),
            d: 1.0,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl Rule for Adafactor {
    fn basics(&self) -> Basics {
        Basics {
            name: "adafactor",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let [outer @ .., rows, columns] = shape else {
            return vec![Slot::like("variance", shape)];
        };
        let [row_shape, column_shape] =
            [[*rows, 1], [1, *columns]].map(|last| [outer, &last].concat());
        vec![
            Slot::like("row_var", &row_shape),
            Slot::like("col_var", &column_shape),
        ]
    }
    fn validate(&self) -> Result<()> {
        let (decay, d) = (self.beta2_decay, self.d);
        require_not_negative("adafactor", "lr", self.lr)?;
        require(decay <= 0.0, "adafactor", "beta2_decay", "<= 0", decay)?;
        require_not_negative("adafactor", "eps.0", self.eps.0.unwrap_or(0.0))?;
        require_not_negative("adafactor", "eps.1", self.eps.1)?;
        require(d >= 1.0, "adafactor", "d", ">= 1", d)?;
        require_not_negative("adafactor", "weight_decay", self.weight_decay)
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (theta, g) = (at.theta()?, at.gradient()?);
        let (count, step) = (theta.elem_count() as f64, at.step as f64);
        if count == 0.0 {
            return Ok(());
        }
        let eps = self.eps.0.unwrap_or(machine_epsilon(g.dtype()));
        let squares = Squares {
            eps,
            share: step.powf(self.beta2_decay),
            path: at.path,
        };
        let variance = squares.variance(at.slots, &g)?;
        let lowest = eps * eps;
        let u = combine(variance, &g, at.path, &Divided { lowest })?;
        let size = self.eps.1.max(global_norm([&theta])? / count.sqrt());
        let alpha = size * at.lr.min(1.0 / step.sqrt());
        let excess = (global_norm([&u])? / (count.sqrt() * self.d)).max(1.0);
        let kept = 1.0 - at.lr * at.weight_decay;
        at.step_along(&u, kept, alpha / excess)
    }
}

fn machine_epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    }
}

/// How squared gradients enter the slots.
struct Squares {
    eps: f64,
    share: f64,
    path: Path,
}

impl Squares {
    /// The running variance of every element, in a tensor of its own.
    fn variance(&self, slots: &mut [Tensor], g: &Tensor) -> candle_core::Result<Tensor> {
        match slots {
            [variance] => {
                *variance = self.mixed(variance, &g.sqr()?)?;
                variance.copy()
            }
            [rows, columns] => {
                let (squares, last) = (g.sqr()?, g.rank() - 1);
                *rows = self.mixed(rows, &squares.mean_keepdim(last)?)?;
                *columns = self.mixed(columns, &mean_of_rows(&squares)?)?;
                let mean = rows.mean_keepdim(last - 1)?;
                let mean = mean.maximum(&mean.affine(0.0, self.eps)?)?;
                rows.broadcast_div(&mean)?.broadcast_mul(columns)
            }
            _ => candle_core::bail!("adafactor has 1 or 2 slots, got {}", slots.len()),
        }
    }

    fn mixed(&self, old: &Tensor, new: &Tensor) -> candle_core::Result<Tensor> {
        combine(old.clone(), new, self.path, &Mixed { share: self.share })
    }
}

/// The mean over the last dimension but one, as a product: candle's sum over it works out an index
/// for every element, which takes ten times as long.
pub(super) fn mean_of_rows(x: &Tensor) -> candle_core::Result<Tensor> {
    let (last, mut shape) = (x.rank() - 1, x.dims().to_vec());
    let count = shape[last - 1];
    (shape[last - 1], shape[last]) = (1, count);
    let share = Tensor::full(1.0 / count as f64, shape, x.device())?;
    share.to_dtype(x.dtype())?.matmul(x)
}

#[derive(Clone, Copy)]
struct Mixed {
    share: f64,
}

impl Kernel<0> for Mixed {
    #[inline(always)]
    fn apply<R: Real>(&self, old: R, new: R, _: [R; 0]) -> (R, [R; 0]) {
        (old.lerp(new, self.share), [])
    }
}

/// g / √max(V, ε₁²).
#[derive(Clone, Copy)]
struct Divided {
    lowest: f64,
}

impl Kernel<0> for Divided {
    #[inline(always)]
    fn apply<R: Real>(&self, variance: R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        let variance = variance.fill(self.lowest).larger(variance);
        (g / variance.sqrt(), [])
    }
}

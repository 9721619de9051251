//! CAME.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::adafactor::mean_of_rows;
use super::moments::{Sum, decayed_gradient};
use crate::rule::{require, require_not_negative, require_share};
use crate::sweep::{Toward, combine};
use crate::{Basics, Path, Result, Rule, Slot, Update, WeightDecay, global_norm};

/// CAME: Adafactor with a first moment whose elements count for less where they disagree with the
/// update (Luo et al., 2023).
///
/// ```text
/// gₜ ← gₜ + λ θₜ₋₁ (L2),   θₜ₋₁ ← (1 − η λ) θₜ₋₁ (decoupled)
/// Rₜ = β₂ Rₜ₋₁ + (1 − β₂) mean(gₜ² + ε₁, columns),   Cₜ: over rows     (two dimensions and more)
/// uₜ = gₜ √mean(Rₜ) / √(Rₜ Cₜ)                        (fewer: gₜ / √vₜ)
/// uₜ ← uₜ / max(1, ‖uₜ‖ / (d √n))
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) uₜ
/// R′ₜ, C′ₜ: as Rₜ, Cₜ from (uₜ − mₜ)² + ε₂ with β₃
/// θₜ = θₜ₋₁ − η mₜ √mean(R′ₜ) / √(R′ₜ C′ₜ)             (fewer: θₜ₋₁ − η mₜ)
/// ```
///
/// d is `clip_threshold`. As in pytorch_optimizer, and as in the paper but for vectors, which have no
/// second division.
///
/// Source: Y. Luo, X. Ren, Z. Zheng, Z. Jiang, X. Jiang, Y. You, 2023, CAME: Confidence-guided
/// Adaptive Memory Efficient Optimization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Came, Optimizer};
/// let x = Var::new(&[3.0_f64, 3.0], &Device::Cpu)?;
/// let rule = Came { lr: 0.5, ..Came::default() };
/// let mut came = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// came.step(&x.sqr()?.sum_all()?.backward()?)?; // 3 − 0.5 · 0.1: u is clipped to 1
/// assert!((x.to_vec1::<f64>()?[0] - 2.95).abs() < 1e-9);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Came {
    /// Learning rate η, `>= 0`. Default `2e-4`.
    pub lr: f64,
    /// Shares of the old update, the old squares and the old disagreement that are kept, β₁ and β₂ in
    /// `[0, 1)`, β₃ in `[0, 1]`. Default `(0.9, 0.999, 0.9999)`.
    pub betas: (f64, f64, f64),
    /// Weight decay λ, `>= 0`, and how it acts. Default `Decoupled(0)`.
    pub weight_decay: WeightDecay,
    /// The root mean square d above which an update is shortened, `> 0`. Default `1`.
    pub clip_threshold: f64,
    /// Added to the squared gradient, ε₁, `>= 0`. Default `1e-30`.
    pub eps1: f64,
    /// Added to the squared disagreement, ε₂, `>= 0`. Default `1e-16`.
    pub eps2: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Came {
    fn default() -> Self {
        Self {
            lr: 2e-4,
            betas: (0.9, 0.999, 0.9999),
            weight_decay: WeightDecay::Decoupled(0.0),
            clip_threshold: 1.0,
            eps1: 1e-30,
            eps2: 1e-16,
            maximize: false,
        }
    }
}

impl Rule for Came {
    fn basics(&self) -> Basics {
        Basics {
            name: "came",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let exp_avg = Slot::like("exp_avg", shape);
        let [outer @ .., rows, columns] = shape else {
            return vec![exp_avg, Slot::like("exp_avg_sq", shape)];
        };
        let [row, column] = [[*rows, 1], [1, *columns]].map(|last| [outer, &last].concat());
        vec![
            exp_avg,
            Slot::like("exp_avg_sq_row", &row),
            Slot::like("exp_avg_sq_col", &column),
            Slot::like("exp_avg_res_row", &row),
            Slot::like("exp_avg_res_col", &column),
        ]
    }
    fn validate(&self) -> Result<()> {
        let (owner, (beta1, beta2, beta3)) = ("came", self.betas);
        let (share, threshold) = ((0.0..=1.0).contains(&beta3), self.clip_threshold);
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", beta1)?;
        require_share(owner, "betas.1", beta2)?;
        require(share, owner, "betas.2", "in [0, 1]", beta3)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())?;
        require(threshold > 0.0, owner, "clip_threshold", "> 0", threshold)?;
        require_not_negative(owner, "eps1", self.eps1)?;
        require_not_negative(owner, "eps2", self.eps2)
    }
    fn can_be_cautious(&self) -> bool {
        matches!(self.weight_decay, WeightDecay::Decoupled(_))
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let (kept, l2) = self.weight_decay.split(at.lr, at.weight_decay);
        let (g, path) = (decayed_gradient(&at, l2)?, at.path);
        let (count, (beta1, beta2, beta3)) = (g.elem_count() as f64, self.betas);
        if count == 0.0 {
            return Ok(());
        }
        let squares = g.sqr()?.affine(1.0, self.eps1)?;
        let (share, lr) = (1.0 - beta1, at.lr);
        let step = match &mut *at.slots {
            [m, v] => {
                Sum::mean(beta2).moved(v, &squares, path)?;
                let u = self.shortened((g / v.sqrt()?)?, count)?;
                *m = combine(m.clone(), &u, path, &Toward { share })?;
                m.clone()
            }
            [m, row, column, res_row, res_column] => {
                let root = factored(row, column, &squares, beta2, path)?;
                let u = self.shortened((root * g)?, count)?;
                *m = combine(m.clone(), &u, path, &Toward { share })?;
                let apart = (u - &*m)?.sqr()?.affine(1.0, self.eps2)?;
                (factored(res_row, res_column, &apart, beta3, path)? * &*m)?
            }
            slots => candle_core::bail!("came has 2 or 5 slots, got {}", slots.len()),
        };
        at.step_along(&step, kept, lr)
    }
}

impl Came {
    fn shortened(&self, u: Tensor, count: f64) -> candle_core::Result<Tensor> {
        let excess = global_norm([&u])? / count.sqrt() / self.clip_threshold;
        u.affine(1.0 / excess.max(1.0), 0.0)
    }
}

/// Moves the means of rows and columns, and gives √mean(R) / √(R C).
fn factored(
    row: &mut Tensor,
    column: &mut Tensor,
    squares: &Tensor,
    kept: f64,
    path: Path,
) -> candle_core::Result<Tensor> {
    let last = squares.rank() - 1;
    let mean = Sum::mean(kept);
    mean.moved(row, &squares.mean_keepdim(last)?, path)?;
    mean.moved(column, &mean_of_rows(squares)?, path)?;
    let ratio = row.broadcast_div(&row.mean_keepdim(last - 1)?)?;
    ratio
        .sqrt()?
        .recip()?
        .broadcast_mul(&column.sqrt()?.recip()?)
}

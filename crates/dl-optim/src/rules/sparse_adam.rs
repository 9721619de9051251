//! Adam on the rows that have a gradient.

use serde::{Deserialize, Serialize};

use crate::rule::{require, require_share};
use crate::{Basics, Kernel, Real, Result, Rule, Slot, Update};

/// Adam that leaves rows without a gradient alone, moments included: for embedding tables of which a
/// batch touches a few rows.
///
/// ```text
/// mₜ = mₜ₋₁ + (1 − β₁) (gₜ − mₜ₋₁)
/// vₜ = vₜ₋₁ + (1 − β₂) (gₜ² − vₜ₋₁)
/// θₜ = θₜ₋₁ − η √(1 − β₂ᵗ) / (1 − β₁ᵗ) · mₜ / (√vₜ + ε)
/// ```
///
/// A row is all that is below the first dimension; t counts the steps of the whole parameter.
/// PyTorch takes sparse gradients only and updates the rows that they store. candle has no sparse
/// tensors: here the gradient is dense, and a row counts as touched unless all of it is zero. ε is
/// added before the bias correction, unlike in [`Adam`](crate::Adam).
///
/// Source: D. Kingma, J. Ba, 2015, Adam: A Method for Stochastic Optimization; the lazy form is
/// PyTorch's `SparseAdam`.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use dl_optim::{Optimizer, SparseAdam};
/// let table = Var::new(&[[1.0_f64], [2.0], [3.0]], &Device::Cpu)?;
/// let rule = SparseAdam { lr: 0.5, ..SparseAdam::default() };
/// let mut adam = Optimizer::new([("table".to_string(), table.clone())], rule)?;
/// let row = table.index_select(&Tensor::new(&[1u32], &Device::Cpu)?, 0)?;
/// adam.step(&row.sum_all()?.backward()?)?;
/// let column = table.flatten_all()?.to_vec1::<f64>()?;
/// assert!(column[0] == 1.0 && (column[1] - 1.5).abs() < 1e-6 && column[2] == 3.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparseAdam {
    /// Learning rate η, `> 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `> 0`. Default `1e-8`.
    pub eps: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for SparseAdam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            maximize: false,
        }
    }
}

fn require_positive(field: &'static str, got: f64) -> Result<()> {
    require(
        got > 0.0 && got.is_finite(),
        "sparse_adam",
        field,
        "> 0",
        got,
    )
}

impl Rule for SparseAdam {
    fn basics(&self) -> Basics {
        Basics {
            name: "sparse_adam",
            lr: self.lr,
            weight_decay: 0.0,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let names = ["exp_avg", "exp_avg_sq"];
        names.map(|name| Slot::like(name, shape)).into()
    }
    fn validate(&self) -> Result<()> {
        require_positive("lr", self.lr)?;
        require_positive("eps", self.eps)?;
        require_share("sparse_adam", "betas.0", self.betas.0)?;
        require_share("sparse_adam", "betas.1", self.betas.1)
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let ((beta1, beta2), t) = (self.betas, at.step as f64);
        let now = Now {
            rate: at.lr * (1.0 - beta2.powf(t)).sqrt() / (1.0 - beta1.powf(t)),
            beta1,
            beta2,
            eps: self.eps,
            weight_decay: at.weight_decay,
        };
        at.touched_rows::<2, _>(&now)
    }
}

#[derive(Clone, Copy)]
struct Now {
    rate: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// A group can ask for it; the rule itself has none. Reaches touched rows only.
    weight_decay: f64,
}

impl Kernel<2> for Now {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, g: R, [m, v]: [R; 2]) -> (R, [R; 2]) {
        let g = g.add_scaled(&theta, self.weight_decay);
        let m = m.clone() + (g.clone() - m).scale(1.0 - self.beta1);
        let v = v.clone() + (g.clone() * g - v).scale(1.0 - self.beta2);
        let step = m.clone().scale(self.rate) / v.clone().sqrt().shift(self.eps);
        (theta - step, [m, v])
    }
}

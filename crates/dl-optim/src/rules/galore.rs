//! GaLore.

use candle_core::{Tensor, bail};
use serde::{Deserialize, Serialize};

use super::moments::Sum;
use super::soap::Quotient;
use crate::rule::{require, require_not_negative, require_share};
use crate::spectral::singular_vectors;
use crate::sweep::combine;
use crate::{Basics, Path, Result, Rule, Slot, Update};

/// Which side of a gradient of `rows` and `columns` is projected.
///
/// ```
/// use dl_optim::ProjType;
/// assert_eq!(ProjType::Std.sides(300, 100), (false, true));
/// assert_eq!(ProjType::ReverseStd.sides(300, 100), (true, false));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjType {
    /// The shorter one: columns where there are at least as many rows. The default.
    #[default]
    Std,
    /// The longer one.
    ReverseStd,
    /// The rows.
    Left,
    /// The columns.
    Right,
    /// Both.
    Full,
}

impl ProjType {
    /// Whether the rows are projected, and whether the columns are.
    pub fn sides(self, rows: usize, columns: usize) -> (bool, bool) {
        match self {
            Self::Std => (rows < columns, rows >= columns),
            Self::ReverseStd => (rows >= columns, rows < columns),
            Self::Left => (true, false),
            Self::Right => (false, true),
            Self::Full => (true, true),
        }
    }
}

/// GaLore: AdamW whose moments are those of a gradient of low rank (Zhao et al., 2024).
///
/// ```text
/// P: the first r singular vectors of Gₜ, anew every T steps
/// Rₜ = Gₜ P or Pᵀ Gₜ
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) Rₜ,   vₜ = β₂ vₜ₋₁ + (1 − β₂) Rₜ²
/// Nₜ = mₜ / (√vₜ + ε)
/// Θₜ = (1 − η λ) (Θₜ₋₁ − η cₜ α Nₜ Pᵀ or P Nₜ)          cₜ = √(1 − β₂ᵗ) / (1 − β₁ᵗ)
/// ```
///
/// r is `rank`, T `update_proj_gap`, α `scale`. Moments take r / columns (or rows) of AdamW's memory.
/// Parameters that are not matrices are AdamW's, with ε beside √v before the correction; so can
/// others be, by a [`Group`](crate::Group): the authors project attention and feed-forward weights.
///
/// As in the authors' package, but for what it leaves open: the sign of each singular vector, which
/// old moments meet again after T steps, is that in which its largest component is positive, and the
/// decomposition is in f64 (there: f32). A gradient that is not finite is refused when P is due.
///
/// Source: J. Zhao, Z. Zhang, B. Chen, Z. Wang, A. Anandkumar, Y. Tian, 2024, GaLore: Memory-Efficient
/// LLM Training by Gradient Low-Rank Projection; numbers of `galore-torch` 1.0.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use dl_optim::{GaLore, Optimizer};
/// let x = Var::ones((64, 32), DType::F64, &Device::Cpu)?;
/// let rule = GaLore { lr: 0.1, rank: 4, ..GaLore::default() };
/// let mut galore = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// galore.step(&x.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(galore.state()?.tensors["x.exp_avg"].dims(), [64, 4]);
/// // One direction, of which each of 32 columns has a share of 1 / √32.
/// assert!((x.to_vec2::<f64>()?[0][0] - (1.0 - 0.1 / 32f64.sqrt())).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaLore {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Keeps the division finite, ε, `>= 0`. Default `1e-6`.
    pub eps: f64,
    /// Decoupled weight decay λ, `>= 0`. Default `0`.
    pub weight_decay: f64,
    /// Corrects the bias of the moments as Adam does. Default `true`.
    pub correct_bias: bool,
    /// Singular vectors r that are kept, `>= 1`; all of a smaller matrix. Default `128`.
    pub rank: usize,
    /// Steps T from one projection to the next, `>= 1`. Default `200`.
    pub update_proj_gap: usize,
    /// What a projected step is multiplied by, α, `>= 0`. Default `1` (the paper: 0.25).
    pub scale: f64,
    /// Which side is projected. Default [`ProjType::Std`].
    pub proj_type: ProjType,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for GaLore {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-6,
            weight_decay: 0.0,
            correct_bias: true,
            rank: 128,
            update_proj_gap: 200,
            scale: 1.0,
            proj_type: ProjType::Std,
            maximize: false,
        }
    }
}

impl Rule for GaLore {
    fn basics(&self) -> Basics {
        Basics {
            name: "galore",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let moments =
            |shape: &[usize]| ["exp_avg", "exp_avg_sq"].map(|name| Slot::like(name, shape));
        let &[rows, columns] = shape else {
            return moments(shape).into();
        };
        let rank = self.rank.min(rows).min(columns);
        let (left, right) = self.proj_type.sides(rows, columns);
        let low = [
            if left { rank } else { rows },
            if right { rank } else { columns },
        ];
        let mut slots = Vec::from(moments(&low));
        slots.extend(left.then(|| Slot::like("ortho_left", &[rows, rank])));
        slots.extend(right.then(|| Slot::like("ortho_right", &[rank, columns])));
        slots
    }
    fn validate(&self) -> Result<()> {
        let owner = "galore";
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_not_negative(owner, "eps", self.eps)?;
        require_not_negative(owner, "weight_decay", self.weight_decay)?;
        require_not_negative(owner, "scale", self.scale)?;
        let counts = [
            ("rank", self.rank),
            ("update_proj_gap", self.update_proj_gap),
        ];
        for (field, count) in counts {
            require(count >= 1, owner, field, ">= 1", count as f64)?;
        }
        Ok(())
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let g = at.gradient()?.contiguous()?;
        if g.elem_count() == 0 {
            return Ok(());
        }
        let due = (at.step - 1).is_multiple_of(self.update_proj_gap);
        let (step, path) = (at.step as f64, at.path);
        let [m, v, ortho @ ..] = &mut *at.slots else {
            bail!("galore has 2 slots and more, got {}", at.slots.len());
        };
        if due && !ortho.is_empty() {
            self.project(ortho, &g)?;
        }
        let sides = Sides::new(self.proj_type, g.dims(), ortho);
        let u = sides.back(self.direction([m, v], &sides.there(&g)?, path)?)?;
        let kept = 1.0 - at.lr * at.weight_decay;
        let scale = if ortho.is_empty() { 1.0 } else { self.scale };
        let rate = at.lr * self.correction(step) * scale * kept;
        at.step_along(&u, kept, rate)
    }
}

impl GaLore {
    fn correction(&self, step: f64) -> f64 {
        match self.correct_bias {
            true => (1.0 - self.betas.1.powf(step)).sqrt() / (1.0 - self.betas.0.powf(step)),
            false => 1.0,
        }
    }

    /// Takes the projections from this gradient.
    fn project(&self, ortho: &mut [Tensor], g: &Tensor) -> candle_core::Result<()> {
        let (rows, columns) = g.dims2()?;
        let (left, right) = singular_vectors(g, self.rank.min(rows).min(columns))?;
        match (self.proj_type.sides(rows, columns), ortho) {
            ((true, false), [slot]) => *slot = left,
            ((false, true), [slot]) => *slot = right,
            ((true, true), [slot, other]) => (*slot, *other) = (left, right),
            (_, ortho) => bail!("galore has 1 or 2 projections, got {}", ortho.len()),
        }
        Ok(())
    }

    /// Moves the moments, and gives the step where they live.
    fn direction(
        &self,
        [m, v]: [&mut Tensor; 2],
        g: &Tensor,
        path: Path,
    ) -> candle_core::Result<Tensor> {
        Sum::mean(self.betas.0).moved(m, g, path)?;
        Sum::mean(self.betas.1).moved(v, &g.sqr()?, path)?;
        combine(m.copy()?, v, path, &Quotient { eps: self.eps })
    }
}

/// The projections of one parameter.
struct Sides<'a> {
    left: Option<&'a Tensor>,
    right: Option<&'a Tensor>,
}

impl<'a> Sides<'a> {
    fn new(kind: ProjType, shape: &[usize], ortho: &'a [Tensor]) -> Self {
        let mut held = ortho.iter();
        let (left, right) = match shape {
            &[rows, columns] => kind.sides(rows, columns),
            _ => (false, false),
        };
        let left = if left { held.next() } else { None };
        let right = if right { held.next() } else { None };
        Self { left, right }
    }

    fn there(&self, g: &Tensor) -> candle_core::Result<Tensor> {
        let g = match self.left {
            Some(left) => left.t()?.matmul(g)?,
            None => g.clone(),
        };
        match self.right {
            Some(right) => g.matmul(&right.t()?),
            None => Ok(g),
        }
    }

    fn back(&self, low: Tensor) -> candle_core::Result<Tensor> {
        let low = match self.left {
            Some(left) => left.matmul(&low)?,
            None => low,
        };
        match self.right {
            Some(right) => low.matmul(right),
            None => Ok(low),
        }
    }
}

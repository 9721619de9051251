//! SOAP.

use candle_core::{Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::rule::{require, require_not_negative, require_share};
use crate::sides::{MOST_SIDES, grams, merged, turned};
use crate::spectral::{eigenvectors, orthogonal};
use crate::sweep::{Toward, combine};
use crate::{Basics, Kernel, NormType, Path, Real, Result, Rule, Slot, Update};

/// SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2025).
///
/// ```text
/// Lₜ = β Lₜ₋₁ + (1 − β) Gₜ Gₜᵀ,   Rₜ = β Rₜ₋₁ + (1 − β) Gₜᵀ Gₜ
/// Q: eigenvectors of L and R; every f steps Q ← qr(L Q), sorted by diag(Qᵀ L Q)
/// mₜ = β₁ mₜ₋₁ + (1 − β₁) Gₜ
/// vₜ = β₂ vₜ₋₁ + (1 − β₂) (Q_Lᵀ Gₜ Q_R)²
/// Θₜ = (1 − η λ) (Θₜ₋₁ − η cₜ Q_L [Q_Lᵀ mₜ Q_R / (√vₜ + ε)] Q_Rᵀ)       cₜ = √(1 − β₂ᵗ) / (1 − β₁ᵗ)
/// ```
///
/// β is `shampoo_beta`, f `precondition_frequency`. A tensor of more dimensions has a matrix for each
/// of them; dimensions above `max_precondition_dim` have none, and 1-D parameters only with
/// `precondition_1d`: without matrices this is Adam. The first step of a parameter only looks at its
/// gradient to have a basis, as the authors' does, and t counts from the one after it.
///
/// As in pytorch_optimizer, but: all decompositions are in f64 (there: f32 for QR), and `merge_dims`
/// is the authors', which merges a whole small tensor into one dimension where that fails there.
/// Channels that come last are not told apart. Parameters of more than 8 dimensions are refused, and
/// so are steps whose matrices are not finite.
///
/// Source: N. Vyas, D. Morwani, R. Zhao, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade, 2025,
/// SOAP: Improving and Stabilizing Shampoo using Adam.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Soap};
/// let x = Var::new(&[[3.0_f64, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let rule = Soap { lr: 0.5, weight_decay: 0.0, ..Soap::default() };
/// let mut soap = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// for _ in 0..2 {
///     soap.step(&x.sqr()?.sum_all()?.backward()?)?; // to look, and a step of η in each direction
/// }
/// let x = x.to_vec2::<f64>()?;
/// assert!((x[0][0] - 2.5).abs() < 1e-6 && (x[1][1] - 1.5).abs() < 1e-6);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Soap {
    /// Learning rate η, `>= 0`. Default `3e-3`.
    pub lr: f64,
    /// Shares of the old moments that are kept, β₁ and β₂, each in `[0, 1)`. Default `(0.95, 0.95)`.
    pub betas: (f64, f64),
    /// Share of the old matrices that is kept, β in `[0, 1)`; `None` for β₂. Default `None`.
    pub shampoo_beta: Option<f64>,
    /// Decoupled weight decay λ, `>= 0`. Default `0.01`.
    pub weight_decay: f64,
    /// Steps f from one basis to the next, `>= 1`. Default `10`.
    pub precondition_frequency: usize,
    /// The largest dimension that has a matrix, `>= 1`. Default `10000`.
    pub max_precondition_dim: usize,
    /// Takes neighbouring dimensions together for as long as they do not exceed
    /// `max_precondition_dim`. Default `false`.
    pub merge_dims: bool,
    /// Gives 1-D parameters a matrix too. Default `false`.
    pub precondition_1d: bool,
    /// Corrects the bias of the moments as Adam does. Default `true`.
    pub correct_bias: bool,
    /// Divides each update by its root mean square. Default `false`.
    pub normalize_gradient: bool,
    /// Keeps the division finite, ε, `>= 0`. Default `1e-8`.
    pub eps: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Soap {
    fn default() -> Self {
        Self {
            lr: 3e-3,
            betas: (0.95, 0.95),
            shampoo_beta: None,
            weight_decay: 1e-2,
            precondition_frequency: 10,
            max_precondition_dim: 10_000,
            merge_dims: false,
            precondition_1d: false,
            correct_bias: true,
            normalize_gradient: false,
            eps: 1e-8,
            maximize: false,
        }
    }
}

/// The names of the matrices of each side, and of their eigenvectors.
const NAMES: [[&str; 2]; MOST_SIDES] = [
    ["gg_0", "q_0"],
    ["gg_1", "q_1"],
    ["gg_2", "q_2"],
    ["gg_3", "q_3"],
    ["gg_4", "q_4"],
    ["gg_5", "q_5"],
    ["gg_6", "q_6"],
    ["gg_7", "q_7"],
];

impl Rule for Soap {
    fn basics(&self) -> Basics {
        Basics {
            name: "soap",
            lr: self.lr,
            weight_decay: self.weight_decay,
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let moments = ["exp_avg", "exp_avg_sq"].map(|name| Slot::like(name, shape));
        let (dims, asked) = self.sides(shape);
        let sides = NAMES.iter().zip(dims.into_iter().zip(asked));
        let sides = sides.filter(|(_, (_, asked))| *asked);
        let matrices =
            sides.flat_map(|(names, (dim, _))| names.map(|name| Slot::like(name, &[dim, dim])));
        moments.into_iter().chain(matrices).collect()
    }
    fn validate(&self) -> Result<()> {
        let (owner, beta) = ("soap", self.shampoo_beta.unwrap_or(self.betas.1));
        let counts = [
            ("precondition_frequency", self.precondition_frequency),
            ("max_precondition_dim", self.max_precondition_dim),
        ];
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        require_share(owner, "betas.1", self.betas.1)?;
        require_share(owner, "shampoo_beta", beta)?;
        require_not_negative(owner, "weight_decay", self.weight_decay)?;
        for (field, count) in counts {
            require(count >= 1, owner, field, ">= 1", count as f64)?;
        }
        require_not_negative(owner, "eps", self.eps)
    }
    fn refuses(&self, shape: &[usize]) -> Option<&'static str> {
        (shape.len() > MOST_SIDES).then_some("of at most 8 dimensions")
    }
    fn can_be_cautious(&self) -> bool {
        true
    }
    fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
        let g = at.gradient()?.contiguous()?;
        if g.elem_count() == 0 {
            return Ok(());
        }
        let [m, v, matrices @ ..] = &mut *at.slots else {
            bail!("soap has 2 slots and more, got {}", at.slots.len());
        };
        let (dims, asked) = self.sides(g.dims());
        let path = at.path;
        let basis = Basis {
            dims,
            asked,
            matrices,
        };
        if at.step == 1 {
            return self.begin(basis, &g, path);
        }
        let step = (at.step - 1) as f64;
        let u = self.direction(&basis, [&mut *m, &mut *v], &g, path)?;
        self.observe(basis, v, &g, at.step - 1, path)?;
        let kept = 1.0 - at.lr * at.weight_decay;
        let rate = at.lr * self.correction(step) * kept;
        at.step_along(&u, kept, rate)
    }
}

/// The sides of one parameter and, for those that are asked for, a matrix and its eigenvectors.
struct Basis<'a> {
    dims: Vec<usize>,
    asked: Vec<bool>,
    matrices: &'a mut [Tensor],
}

impl Basis<'_> {
    /// The eigenvectors of each side, or none.
    fn eigenvectors(&self, back: bool) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut held = self.matrices.chunks_exact(2);
        let next = |asked: &bool| match if *asked { held.next() } else { None } {
            Some([_, q]) if back => Ok(Some(q.t()?)),
            Some([_, q]) => Ok(Some(q.clone())),
            _ => Ok(None),
        };
        self.asked.iter().map(next).collect()
    }
}

impl Soap {
    /// The dimensions that count, and which of them have a matrix.
    fn sides(&self, shape: &[usize]) -> (Vec<usize>, Vec<bool>) {
        let dims = match self.merge_dims && shape.len() > 1 {
            true => merged(shape, self.max_precondition_dim),
            false => shape.to_vec(),
        };
        let vector = shape.len() == 1 && !self.precondition_1d;
        let fits = |dim: &usize| !vector && *dim <= self.max_precondition_dim;
        let asked = dims.iter().map(fits).collect();
        (dims, asked)
    }

    fn correction(&self, step: f64) -> f64 {
        match self.correct_bias {
            true => (1.0 - self.betas.1.powf(step)).sqrt() / (1.0 - self.betas.0.powf(step)),
            false => 1.0,
        }
    }

    /// The first matrices and their eigenvectors.
    fn begin(&self, basis: Basis<'_>, g: &Tensor, path: Path) -> candle_core::Result<()> {
        self.add(&basis.dims, &basis.asked, basis.matrices, g, path)?;
        for pair in basis.matrices.chunks_exact_mut(2) {
            pair[1] = eigenvectors(&pair[0])?;
        }
        Ok(())
    }

    /// Moves the moments, and gives the step in the parameter's own basis.
    fn direction(
        &self,
        basis: &Basis<'_>,
        [m, v]: [&mut Tensor; 2],
        g: &Tensor,
        path: Path,
    ) -> candle_core::Result<Tensor> {
        let (beta1, beta2) = self.betas;
        let (there, back) = (basis.eigenvectors(false)?, basis.eigenvectors(true)?);
        let squares = turned(g, &basis.dims, &there)?.sqr()?;
        *m = combine(m.clone(), g, path, &Toward { share: 1.0 - beta1 })?;
        *v = combine(v.clone(), &squares, path, &Toward { share: 1.0 - beta2 })?;
        // A copy: with no matrix at all nothing was computed yet.
        let ahead = turned(m, &basis.dims, &there)?.copy()?;
        let u = combine(ahead, v, path, &Quotient { eps: self.eps })?;
        let u = turned(&u, &basis.dims, &back)?;
        if !self.normalize_gradient {
            return Ok(u);
        }
        let size = NormType::L2.of([&u])? / (u.elem_count() as f64).sqrt();
        u.affine(1.0 / (size + self.eps), 0.0)
    }

    /// Moves the matrices and, where it is time, their eigenvectors, and v with those.
    fn observe(
        &self,
        basis: Basis<'_>,
        v: &mut Tensor,
        g: &Tensor,
        step: usize,
        path: Path,
    ) -> candle_core::Result<()> {
        self.add(&basis.dims, &basis.asked, basis.matrices, g, path)?;
        if !step.is_multiple_of(self.precondition_frequency) {
            return Ok(());
        }
        let (shape, mut sorted) = (v.shape().clone(), v.reshape(basis.dims.as_slice())?);
        let mut held = basis.matrices.chunks_exact_mut(2);
        for side in (0..basis.dims.len()).filter(|side| basis.asked[*side]) {
            let Some([gg, q]) = held.next() else {
                bail!("soap has a matrix for each side that has one");
            };
            let product = gg.matmul(q)?;
            let order = falling(&(&*q * &product)?.sum(0)?)?;
            sorted = sorted.index_select(&order, side)?;
            *q = orthogonal(&product.index_select(&order, 1)?)?;
        }
        *v = sorted.reshape(shape)?;
        Ok(())
    }

    fn add(
        &self,
        dims: &[usize],
        asked: &[bool],
        matrices: &mut [Tensor],
        g: &Tensor,
        path: Path,
    ) -> candle_core::Result<()> {
        let share = 1.0 - self.shampoo_beta.unwrap_or(self.betas.1);
        let new = grams(g, dims, asked)?;
        for (pair, gram) in matrices.chunks_exact_mut(2).zip(new.into_iter().flatten()) {
            pair[0] = combine(pair[0].clone(), &gram, path, &Toward { share })?;
        }
        Ok(())
    }
}

/// The places of the numbers from the largest to the smallest.
fn falling(numbers: &Tensor) -> candle_core::Result<Tensor> {
    let values = numbers
        .to_dtype(candle_core::DType::F64)?
        .to_vec1::<f64>()?;
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]));
    Tensor::new(order, numbers.device())
}

/// m / (√v + ε).
#[derive(Clone, Copy)]
pub(super) struct Quotient {
    pub(super) eps: f64,
}

impl Kernel<0> for Quotient {
    #[inline(always)]
    fn apply<R: Real>(&self, m: R, v: R, _: [R; 0]) -> (R, [R; 0]) {
        (m / v.sqrt().shift(self.eps), [])
    }
}

//! Shampoo.

use candle_core::{Tensor, bail};
use serde::{Deserialize, Serialize};

use super::moments::Sum;
use super::shampoo_blocks::Blocks;
use super::soap::Quotient;
use crate::rule::{require, require_not_negative, require_share};
use crate::sides::{MOST_SIDES, merged};
use crate::sweep::{Toward, combine};
use crate::{Basics, Kernel, NormType, Path, Real, Result, Rule, Slot, Update, WeightDecay};

/// Whose length a Shampoo step has (Agarwal et al., 2020).
///
/// ```
/// use dl_optim::Graft;
/// assert_eq!(serde_json::to_value(Graft::RmsProp)?, "rms_prop");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graft {
    /// Its own.
    None,
    /// The gradient's. The default.
    #[default]
    Sgd,
    /// That of g / (√Σg² + ε).
    AdaGrad,
    /// That of g / (√v + ε), v the mean of g² with share β₂.
    RmsProp,
    /// That of the signs: the root of their number.
    SqrtN,
}

/// Which sides of a parameter have a preconditioner.
///
/// ```
/// use dl_optim::PreConditionerType;
/// assert_eq!(PreConditionerType::Input.sides(3), [true, true, false]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreConditionerType {
    /// All. The default.
    #[default]
    All,
    /// All but the last.
    Input,
    /// The last.
    Output,
}

impl PreConditionerType {
    /// Of so many sides, those that have one. A side that is alone always has.
    pub fn sides(self, count: usize) -> Vec<bool> {
        let last = |side: usize| side + 1 == count;
        let asked = |side| match self {
            Self::All => true,
            Self::Input => count == 1 || !last(side),
            Self::Output => last(side),
        };
        (0..count).map(asked).collect()
    }
}

/// Shampoo: gradients divided by the root of their second moments, side by side of a tensor and block by
/// block, with the length of a simpler step (Gupta et al., 2018; Anil et al., 2020).
///
/// ```text
/// Lₜ = β₂ Lₜ₋₁ + w G Gᵀ,   Rₜ = β₂ Rₜ₋₁ + w Gᵀ G          w = 1 − β₂, or 1 where β₂ is 1; L₀ = R₀ = ε I
/// P_L = (L + ε λ I)^(−1/p),   P_R = (R + ε λ I)^(−1/p)      anew every k steps; λ: the largest eigenvalue
/// S = P_L G P_R · ‖g′‖ / (‖P_L G P_R‖ + 10⁻¹⁶)              g′: the gradient as the graft has it
/// S ← S + λ′ Θ,   g′ ← g′ + λ′ Θ (L2),   Θ ← (1 − η λ′) Θ (decoupled)
/// mₜ = β₁ mₜ₋₁ + S,   mₜ′ = β₁ mₜ₋₁′ + g′
/// Θ ← Θ − η (β₁ mₜ + S)                                     (without Nesterov: mₜ; before step s: m′ and g′)
/// ```
///
/// p is twice the number of sides that have a matrix, 2 for a vector and 4 for a matrix, unless
/// `inverse_exponent_override` says otherwise; dimensions are cut into blocks of `block_size`, each with
/// matrices of its own. Parameters with a dimension above `no_preconditioning_for_layers_with_dim_gt` or
/// with fewer dimensions than `skip_preconditioning_rank_lt` take the graft's step.
///
/// As the authors' `distributed_shampoo` and pytorch_optimizer's `ScalableShampoo`, but the roots are
/// exact, by eigenvectors in f64 (there: Newton's iteration up to 10⁻³), and the rate multiplies the
/// momentum and never what goes into it. Where dimensions are merged ones fall out, and a parameter that
/// merges into one dimension has a matrix, as the authors' (pytorch_optimizer: none). Parameters of more
/// than 8 dimensions are refused, and so are matrices that are not finite when their root is due.
/// With [`Cautious`](crate::Cautious) steps are compared with the gradient without L2 decay.
///
/// Sources: V. Gupta, T. Koren, Y. Singer, 2018, Shampoo: Preconditioned Stochastic Tensor
/// Optimization; R. Anil, V. Gupta, T. Koren, K. Regan, Y. Singer, 2020, Scalable Second Order
/// Optimization for Deep Learning.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Graft, Optimizer, Shampoo};
/// let x = Var::new(&[[4.0_f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let rule = Shampoo {
///     lr: 0.5,
///     betas: (0.0, 1.0),
///     graft: Graft::None,
///     start_preconditioning_step: 1,
///     preconditioning_compute_steps: 1,
///     shape_interpretation: false,
///     ..Shampoo::default()
/// };
/// let mut shampoo = Optimizer::new([("x".to_string(), x.clone())], rule)?;
/// shampoo.step(&x.sqr()?.sum_all()?.backward()?)?; // (G Gᵀ)^(−1/4) G (Gᵀ G)^(−1/4): 1 in each direction
/// let x = x.to_vec2::<f64>()?;
/// assert!((x[0][0] - 3.5).abs() < 1e-5 && (x[1][1] - 0.5).abs() < 1e-5);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shampoo {
    /// Learning rate η, `>= 0`. Default `1e-3`.
    pub lr: f64,
    /// Shares of the old momentum, β₁ in `[0, 1)`, and of the old second moments, β₂ in `[0, 1]`, that
    /// are kept. Default `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// m is a mean, to which S adds 1 − β₁ of itself, and not a sum. Default `false`.
    pub moving_average_for_momentum: bool,
    /// Looks one step ahead along the momentum. Default `true`.
    pub nesterov: bool,
    /// Weight decay λ′, `>= 0`, and how it acts. Default `L2(0)`.
    pub weight_decay: WeightDecay,
    /// The number p, whatever the sides; `0` for twice their number. Default `0`.
    pub inverse_exponent_override: usize,
    /// The first step s that is Shampoo's. Default `25`.
    pub start_preconditioning_step: usize,
    /// Steps k from one pair of roots to the next, `>= 1`. Default `1000`.
    pub preconditioning_compute_steps: usize,
    /// Steps from one look at the second moments to the next, `>= 1`. Default `1`.
    pub statistics_compute_steps: usize,
    /// The largest side of a matrix, `>= 1`. Default `512`.
    pub block_size: usize,
    /// Parameters of fewer dimensions have no matrix. Default `1`.
    pub skip_preconditioning_rank_lt: usize,
    /// Parameters with a larger dimension have no matrix. Default `8192`.
    pub no_preconditioning_for_layers_with_dim_gt: usize,
    /// Takes neighbouring dimensions together for as long as they do not exceed `block_size`. Default
    /// `true`.
    pub shape_interpretation: bool,
    /// Whose length a step has. Default [`Graft::Sgd`].
    pub graft: Graft,
    /// Which sides have a matrix. Default [`PreConditionerType::All`].
    pub pre_conditioner_type: PreConditionerType,
    /// ε of the graft, `>= 0`. Default `1e-10`.
    pub diagonal_eps: f64,
    /// ε of the matrices, `>= 0`. Default `1e-6`.
    pub matrix_eps: f64,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for Shampoo {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            moving_average_for_momentum: false,
            nesterov: true,
            weight_decay: WeightDecay::L2(0.0),
            inverse_exponent_override: 0,
            start_preconditioning_step: 25,
            preconditioning_compute_steps: 1000,
            statistics_compute_steps: 1,
            block_size: 512,
            skip_preconditioning_rank_lt: 1,
            no_preconditioning_for_layers_with_dim_gt: 8192,
            shape_interpretation: true,
            graft: Graft::Sgd,
            pre_conditioner_type: PreConditionerType::All,
            diagonal_eps: 1e-10,
            matrix_eps: 1e-6,
            maximize: false,
        }
    }
}

impl Rule for Shampoo {
    fn basics(&self) -> Basics {
        Basics {
            name: "shampoo",
            lr: self.lr,
            weight_decay: self.weight_decay.amount(),
            maximize: self.maximize,
        }
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mut slots = vec![
            Slot::like("momentum", shape),
            Slot::like("graft_momentum", shape),
        ];
        if matches!(self.graft, Graft::AdaGrad | Graft::RmsProp) {
            slots.push(Slot::like("graft_statistics", shape));
        }
        if let Some(blocks) = self.blocks(shape) {
            let length = [blocks.length()];
            slots.push(Slot::like("statistics", &length));
            slots.push(Slot::like("preconditioners", &length));
        }
        slots
    }
    fn validate(&self) -> Result<()> {
        let (owner, beta2) = ("shampoo", self.betas.1);
        let counts = [
            (
                "preconditioning_compute_steps",
                self.preconditioning_compute_steps,
            ),
            ("statistics_compute_steps", self.statistics_compute_steps),
            ("block_size", self.block_size),
        ];
        require_not_negative(owner, "lr", self.lr)?;
        require_share(owner, "betas.0", self.betas.0)?;
        let share = (0.0..=1.0).contains(&beta2);
        require(share, owner, "betas.1", "in [0, 1]", beta2)?;
        require_not_negative(owner, "weight_decay", self.weight_decay.amount())?;
        for (field, count) in counts {
            require(count >= 1, owner, field, ">= 1", count as f64)?;
        }
        require_not_negative(owner, "diagonal_eps", self.diagonal_eps)?;
        require_not_negative(owner, "matrix_eps", self.matrix_eps)
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
        let (kept, l2) = self.weight_decay.split(at.lr, at.weight_decay);
        let (step, path, blocks) = (at.step, at.path, self.blocks(g.dims()));
        let theta = at.theta()?;
        let decayed = |x: Tensor| match l2 == 0.0 {
            true => Ok(x),
            false => combine(
                x,
                &theta,
                path,
                &Along {
                    own: 1.0,
                    other: l2,
                },
            ),
        };
        let (momenta, others) = at.slots.split_at_mut(2);
        let (graft, matrices) = match self.graft {
            Graft::AdaGrad | Graft::RmsProp => others.split_at_mut(1),
            _ => others.split_at_mut(0),
        };
        let simple = self.simple(graft, &g, path)?;
        let own = match blocks {
            Some(blocks) => self.preconditioned(&blocks, matrices, &g, step)?,
            None => simple.clone(),
        };
        let own = self.grafted(own, &simple)?;
        let (own, simple) = (decayed(own)?, decayed(simple.copy()?)?);
        let steps = [own, simple];
        let share = match self.moving_average_for_momentum {
            true => 1.0 - self.betas.0,
            false => 1.0,
        };
        // A graft's momentum is a sum of as much of its step as the other's.
        let mean = Toward { share };
        momenta[0] = match self.moving_average_for_momentum {
            true => combine(momenta[0].clone(), &steps[0], path, &mean)?,
            false => self.moved(&momenta[0], &steps[0], 1.0, path)?,
        };
        momenta[1] = self.moved(&momenta[1], &steps[1], share, path)?;
        let chosen = usize::from(step < self.start_preconditioning_step);
        let (momentum, ahead) = (&momenta[chosen], &steps[chosen]);
        let direction = match (self.nesterov, self.moving_average_for_momentum) {
            (false, _) => momentum.clone(),
            (true, true) => combine(momentum.copy()?, ahead, path, &mean)?,
            (true, false) => self.moved(&momentum.copy()?, ahead, 1.0, path)?,
        };
        let lr = at.lr;
        at.step_along(&direction, kept, lr)
    }
}

impl Shampoo {
    /// The matrices of a parameter of this shape, if it has some.
    fn blocks(&self, shape: &[usize]) -> Option<Blocks> {
        let most = self.no_preconditioning_for_layers_with_dim_gt;
        let skips = shape.len() < self.skip_preconditioning_rank_lt
            || shape.is_empty()
            || shape.iter().any(|dim| *dim > most || *dim == 0);
        let dims = match self.shape_interpretation {
            true => merged(shape, self.block_size),
            false => shape.to_vec(),
        };
        let asked = self.pre_conditioner_type.sides(dims.len());
        (!skips).then(|| Blocks::new(dims, self.block_size, asked))
    }

    fn moved(
        &self,
        old: &Tensor,
        new: &Tensor,
        added: f64,
        path: Path,
    ) -> candle_core::Result<Tensor> {
        let mut sum = old.clone();
        let kept = self.betas.0;
        Sum { kept, added }.moved(&mut sum, new, path)?;
        Ok(sum)
    }

    /// The gradient as the graft has it.
    fn simple(&self, slots: &mut [Tensor], g: &Tensor, path: Path) -> candle_core::Result<Tensor> {
        let beta2 = self.betas.1;
        let sum = match (self.graft, slots) {
            (Graft::SqrtN, _) => return g.sign(),
            (Graft::AdaGrad, [slot]) => (
                Sum {
                    kept: 1.0,
                    added: 1.0,
                },
                slot,
            ),
            (Graft::RmsProp, [slot]) => (Sum::mean(beta2), slot),
            _ => return Ok(g.clone()),
        };
        let (sum, slot) = sum;
        sum.moved(slot, &g.sqr()?, path)?;
        combine(
            g.copy()?,
            slot,
            path,
            &Quotient {
                eps: self.diagonal_eps,
            },
        )
    }

    /// Moves the matrices where it is time, and gives the gradient between their roots.
    fn preconditioned(
        &self,
        blocks: &Blocks,
        matrices: &mut [Tensor],
        g: &Tensor,
        step: usize,
    ) -> candle_core::Result<Tensor> {
        let [statistics, roots] = matrices else {
            bail!("shampoo has 2 slots of matrices, got {}", matrices.len());
        };
        if step == 1 {
            blocks.fill_diagonals(statistics, self.matrix_eps)?;
            blocks.fill_diagonals(roots, 1.0)?;
        }
        if step.is_multiple_of(self.statistics_compute_steps) {
            let beta2 = self.betas.1;
            let added = if beta2 == 1.0 { 1.0 } else { 1.0 - beta2 };
            blocks.add(statistics, g, Sum { kept: beta2, added })?;
        }
        if step.is_multiple_of(self.preconditioning_compute_steps) {
            let power = match self.inverse_exponent_override {
                0 => 2.0 * blocks.sides() as f64,
                power => power as f64,
            };
            blocks.take_roots(statistics, roots, |value, largest| {
                let value = value.max(0.0) + self.matrix_eps * largest.max(1e-16);
                if value > 0.0 {
                    value.powf(-1.0 / power)
                } else {
                    0.0
                }
            })?;
        }
        blocks.apply(roots, g)
    }

    /// `own` with the length of `simple`.
    fn grafted(&self, own: Tensor, simple: &Tensor) -> candle_core::Result<Tensor> {
        if self.graft == Graft::None {
            return own.copy();
        }
        let length = NormType::L2.of([simple])?;
        let own_length = NormType::L2.of([&own])?;
        own.affine(length / (own_length + 1e-16), 0.0)
    }
}

/// own · x + other · y.
#[derive(Clone, Copy)]
struct Along {
    own: f64,
    other: f64,
}

impl Kernel<0> for Along {
    #[inline(always)]
    fn apply<R: Real>(&self, x: R, y: R, _: [R; 0]) -> (R, [R; 0]) {
        (x.scale(self.own) + y.scale(self.other), [])
    }
}

//! One step on one parameter, as a rule sees it.

use candle_core::{DType, Result, Tensor, Var};

use crate::descent::{Masked, Whole, caution, cautious};
use crate::dynamic_map::DynamicMap;
use crate::low_precision::Rounding;
use crate::real::Composed;
use crate::sweep::{self, Intake, Rows};
use crate::{Decay, Descent, Gauge, Kernel, Lanes, Real, Sweep};

/// How an elementwise rule is carried out.
///
/// ```
/// assert_eq!(dl_optim::Path::default(), dl_optim::Path::Fused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// One pass over memory where there is a loop for the device and type (CPU: f32, f64), else
    /// composed. The default.
    #[default]
    Fused,
    /// Always composed of candle's operations.
    Composed,
}

/// A parameter, its gradient, its slots and the numbers of this step.
///
/// A rule that works element by element calls [`Update::descend`] or [`Update::elementwise`] and is
/// done; one that needs norms first has [`Update::square_sums`]. Any other reads [`Update::theta`] and
/// [`Update::gradient`], works with candle's operations on [`Update::slots`], and ends with
/// [`Update::step_along`] or [`Update::write`].
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Basics, Optimizer, Result, Rule, Slot, Update};
///
/// /// Steps of length η against the gradient (normalised gradient descent).
/// #[derive(Debug, serde::Serialize)]
/// struct Normalized;
/// impl Rule for Normalized {
///     fn basics(&self) -> Basics {
///         Basics { name: "normalized", lr: 1.0, weight_decay: 0.0, maximize: false }
///     }
///     fn slots(&self, _: &[usize]) -> Vec<Slot> { Vec::new() }
///     fn validate(&self) -> Result<()> { Ok(()) }
///     fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
///         let g = at.gradient()?;
///         let length = g.sqr()?.sum_all()?.sqrt()?;
///         at.write(&(at.theta()? - (g.broadcast_div(&length)? * at.lr)?)?)
///     }
/// }
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Normalized)?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?;
/// assert!((x.to_vec1::<f64>()?[0] - 2.4).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Update<'a> {
    /// The number of this step for this parameter, from 1. Steps without a gradient do not count.
    pub step: usize,
    /// The learning rate, with the scale of the group.
    pub lr: f64,
    /// What the rate of the rule is multiplied by in this group.
    pub lr_scale: f64,
    /// The weight decay of the group, else of the rule.
    pub weight_decay: f64,
    /// The slots of the rule, in its order: f64 for an f64 parameter, f32 for any other.
    pub slots: &'a mut [Tensor],
    /// The numbers of [`Rule::shared`](crate::Rule::shared), in its order.
    pub shared: &'a [f64],
    /// An estimate of the diagonal of the Hessian, where this step came with one.
    pub curvature: Option<&'a Tensor>,
    pub(crate) var: &'a Var,
    pub(crate) raw_gradient: &'a Tensor,
    pub(crate) intake: Intake,
    pub(crate) path: Path,
    pub(crate) rounding: Rounding,
    /// Whether steps are masked; see [`Cautious`](crate::Cautious).
    pub(crate) cautious: bool,
}

impl Update<'_> {
    /// The parameter, detached, in the type of the slots.
    pub fn theta(&self) -> Result<Tensor> {
        self.var.detach().to_dtype(slot_dtype(self.var.dtype()))
    }

    /// The gradient, detached, scaled and clipped, in the type of the slots.
    pub fn gradient(&self) -> Result<Tensor> {
        let Intake { scale, limit } = self.intake;
        let g = self
            .raw_gradient
            .detach()
            .to_dtype(slot_dtype(self.var.dtype()))?;
        let g = if scale == 1.0 {
            g
        } else {
            g.affine(scale, 0.0)?
        };
        if limit.is_finite() {
            g.clamp(-limit, limit)
        } else {
            Ok(g)
        }
    }

    /// Stores the new parameter, rounded to its type.
    pub fn write(&self, theta: &Tensor) -> Result<()> {
        // On an empty tensor candle's operations return the tensor itself, which `set` refuses.
        if theta.elem_count() == 0 {
            return Ok(());
        }
        self.var.set(&self.rounding.round(theta, self.var.dtype())?)
    }

    /// The number in a [`Slot::scalar`](crate::Slot::scalar).
    pub fn scalar(&self, slot: usize) -> Result<f64> {
        match self.slots.get(slot) {
            Some(slot) => slot.to_dtype(DType::F64)?.to_scalar(),
            None => candle_core::bail!("no slot {slot}, there are {}", self.slots.len()),
        }
    }

    /// Changes the number in a [`Slot::scalar`](crate::Slot::scalar), rounded to its type.
    pub fn set_scalar(&mut self, slot: usize, value: f64) -> Result<()> {
        let len = self.slots.len();
        let Some(slot) = self.slots.get_mut(slot) else {
            candle_core::bail!("no slot {slot}, there are {len}");
        };
        *slot = Tensor::new(value, slot.device())?.to_dtype(slot.dtype())?;
        Ok(())
    }

    /// θ ← `kept` · θ − `rate` · `direction`, in one pass where the device and type have a loop.
    ///
    /// Where the rule is [`Cautious`](crate::Cautious) the direction is masked by the gradient first.
    pub fn step_along(mut self, direction: &Tensor, kept: f64, rate: f64) -> Result<()> {
        if std::mem::take(&mut self.cautious) && direction.elem_count() > 0 {
            let direction = cautious(direction, &self.gradient()?, self.path)?;
            return self.step_along(&direction, kept, rate);
        }
        let along = Along { kept, rate };
        if self.path == Path::Fused && sweep::can_sweep(self.var) {
            let (theta, intake) = (self.var, Intake::UNCHANGED);
            return sweep::sweep::<0, _>(theta, direction, &[], intake, Rows::All, &along);
        }
        let [theta, direction] = [self.theta(), Ok(direction.clone())].map(Composed::new);
        self.write(&along.apply(theta, direction, []).0.finish()?)
    }

    /// Applies one formula to every element, in one pass where the device and type have a loop.
    ///
    /// The `N` slots in the shape of the parameter come first; scalar slots may follow.
    pub fn elementwise<const N: usize, K: Kernel<N>>(self, kernel: &K) -> Result<()>
    where
        Lanes<N>: Sweep<N>,
    {
        self.reach(Rows::All, kernel)
    }

    /// As [`Update::elementwise`], for a formula that is a step; in two passes where the rule is
    /// [`Cautious`](crate::Cautious).
    pub fn descend<const N: usize, D: Descent<N>>(self, decay: Decay, rule: &D) -> Result<()>
    where
        Lanes<N>: Sweep<N>,
    {
        let whole = Whole { rule: *rule, decay };
        if !self.cautious {
            return self.elementwise(&whole);
        }
        let [left, _] = self.square_sums::<N, _>(&whole)?;
        let scale = caution(self.var.elem_count(), left);
        self.elementwise(&Masked { whole, scale })
    }

    /// The sums of the squares of two things about every element, in f64; one pass that only reads,
    /// where the device and type have a loop. The same bits for any number of threads.
    pub fn square_sums<const N: usize, G: Gauge<N>>(&self, gauge: &G) -> Result<[f64; 2]> {
        let Some(slots) = self.slots.first_chunk::<N>() else {
            candle_core::bail!("the gauge needs {N} slots, got {}", self.slots.len());
        };
        self.square_sums_over(slots, gauge)
    }

    fn square_sums_over<const N: usize, G: Gauge<N>>(
        &self,
        slots: &[Tensor; N],
        gauge: &G,
    ) -> Result<[f64; 2]> {
        let theta = self.theta()?;
        if self.path == Path::Fused && theta.device().is_cpu() {
            let gradient = self.raw_gradient.detach().to_dtype(theta.dtype())?;
            return sweep::square_sums(&theta, &gradient, slots, self.intake, gauge);
        }
        sweep::composed_square_sums(theta, self.gradient()?, slots.clone(), gauge)
    }

    /// As [`Update::elementwise`], but the parameter stays as it is: what the formula gives in its place
    /// is returned.
    pub fn evaluate<const N: usize, K: Kernel<N>>(&mut self, kernel: &K) -> Result<Tensor>
    where
        Lanes<N>: Sweep<N>,
    {
        let scratch = Var::from_tensor(&self.theta()?)?;
        let gradient = self.raw_gradient.detach().to_dtype(scratch.dtype())?;
        let inner = Update {
            slots: &mut *self.slots,
            var: &scratch,
            raw_gradient: &gradient,
            rounding: Rounding::Nearest,
            ..*self
        };
        inner.elementwise(kernel)?;
        Ok(scratch.as_detached_tensor())
    }

    /// The same update with the first `N` slots alone.
    pub fn leading<const N: usize>(self) -> Result<Self> {
        let count = self.slots.len();
        match self.slots.split_at_mut_checked(N) {
            Some((slots, _)) => Ok(Self { slots, ..self }),
            None => candle_core::bail!("the rule needs {N} slots, got {count}"),
        }
    }

    /// As [`Update::elementwise`] with two slots, of which the first may be negative, that are kept in
    /// 8 bits: two slots of codes, then two with a scale for each block of
    /// [`BLOCK_LEN`](crate::BLOCK_LEN) elements (Dettmers et al., 2022).
    pub fn blockwise<K: Kernel<2>>(self, kernel: &K) -> Result<()> {
        let [_, _, _, _] = &*self.slots else {
            candle_core::bail!("the kernel needs 4 slots, got {}", self.slots.len());
        };
        if self.path == Path::Fused && sweep::can_sweep(self.var) {
            let (theta, slots) = (self.var, &*self.slots);
            return sweep::sweep_blocks(theta, self.raw_gradient, slots, self.intake, kernel);
        }
        // f16 and bf16: the same pass, on a copy in f32.
        if self.path == Path::Fused && self.var.device().is_cpu() {
            let theta = self.theta()?;
            let gradient = self.raw_gradient.detach().to_dtype(theta.dtype())?;
            sweep::sweep_blocks(&theta, &gradient, self.slots, self.intake, kernel)?;
            return self.write(&theta);
        }
        self.compose_blocks(kernel)
    }

    /// As [`Update::blockwise`], for a formula that is a step; where the rule is
    /// [`Cautious`](crate::Cautious) the slots are widened once more to be looked at.
    pub fn descend_blockwise<D: Descent<2>>(self, decay: Decay, rule: &D) -> Result<()> {
        let whole = Whole { rule: *rule, decay };
        let [codes1, codes2, scales1, scales2] = &*self.slots else {
            candle_core::bail!("the kernel needs 4 slots, got {}", self.slots.len());
        };
        if !self.cautious {
            return self.blockwise(&whole);
        }
        let slots = [
            DynamicMap::signed().decode(codes1, scales1)?,
            DynamicMap::unsigned().decode(codes2, scales2)?,
        ];
        let [left, _] = self.square_sums_over(&slots, &whole)?;
        let scale = caution(self.var.elem_count(), left);
        self.blockwise(&Masked { whole, scale })
    }

    fn compose_blocks<K: Kernel<2>>(self, kernel: &K) -> Result<()> {
        let maps = [DynamicMap::signed(), DynamicMap::unsigned()];
        let [theta, gradient] = [self.theta(), self.gradient()].map(Composed::new);
        let (codes, scales) = self.slots.split_at_mut(2);
        let decoded = |i: usize| maps[i].decode(&codes[i], &scales[i]);
        let old = [decoded(0), decoded(1)].map(Composed::new);
        let (theta, new) = kernel.apply(theta, gradient, old);
        for (i, new) in new.into_iter().enumerate() {
            (codes[i], scales[i]) = maps[i].encode(&new.finish()?)?;
        }
        self.write(&theta.finish()?)
    }

    /// As [`Update::elementwise`], but rows (everything below the first dimension) whose gradient
    /// is all zero are left alone, their slots too.
    pub fn touched_rows<const N: usize, K: Kernel<N>>(self, kernel: &K) -> Result<()>
    where
        Lanes<N>: Sweep<N>,
    {
        if self.var.elem_count() == 0 {
            return Ok(());
        }
        let width = self.var.dims().iter().skip(1).product();
        let contiguous = self.raw_gradient.contiguous()?;
        let mut at: Update<'_> = self;
        at.raw_gradient = &contiguous;
        at.reach(Rows::Touched(width), kernel)
    }

    fn reach<const N: usize, K: Kernel<N>>(self, rows: Rows, kernel: &K) -> Result<()>
    where
        Lanes<N>: Sweep<N>,
    {
        let (count, scalars) = (self.slots.len(), self.slots.iter().skip(N));
        if count < N || scalars.into_iter().any(|slot| slot.rank() > 0) {
            candle_core::bail!("the kernel needs {N} slots and then scalars, got {count} slots");
        }
        if self.path == Path::Fused && sweep::can_sweep(self.var) {
            let (theta, slots) = (self.var, &self.slots[..N]);
            return sweep::sweep(theta, self.raw_gradient, slots, self.intake, rows, kernel);
        }
        // f16 and bf16: the same pass, on a copy in f32.
        if self.path == Path::Fused && self.var.device().is_cpu() {
            let theta = self.theta()?;
            let gradient = self.raw_gradient.detach().to_dtype(theta.dtype())?;
            let slots = &self.slots[..N];
            sweep::sweep(&theta, &gradient, slots, self.intake, rows, kernel)?;
            return self.write(&theta);
        }
        self.compose(rows, kernel)
    }

    fn compose<const N: usize, K: Kernel<N>>(self, rows: Rows, kernel: &K) -> Result<()> {
        let (old_theta, gradient) = (self.theta()?, self.gradient()?);
        let mask = match rows {
            Rows::All => None,
            Rows::Touched(_) => Some(touched(&gradient)?),
        };
        // A closure instead of two code paths: untouched rows keep their old value.
        let keep = |new: Tensor, old: &Tensor| match &mask {
            None => Ok(new),
            Some(mask) => mask.broadcast_as(old.shape())?.where_cond(&new, old),
        };
        let old: [Composed; N] =
            std::array::from_fn(|slot| Composed::new(Ok(self.slots[slot].clone())));
        let start = Composed::new(Ok(old_theta.clone()));
        let (theta, new) = kernel.apply(start, Composed::new(Ok(gradient)), old);
        for (slot, new) in self.slots.iter_mut().zip(new) {
            *slot = keep(new.finish()?, slot)?.contiguous()?;
        }
        self.write(&keep(theta.finish()?, &old_theta)?)
    }
}

/// One for rows with a gradient, else zero, in a shape that broadcasts over the parameter.
fn touched(gradient: &Tensor) -> Result<Tensor> {
    let mut mask = gradient.ne(0.0)?;
    for dim in 1..gradient.rank() {
        mask = mask.max_keepdim(dim)?;
    }
    Ok(mask)
}

#[derive(Clone, Copy)]
struct Along {
    kept: f64,
    rate: f64,
}

impl Kernel<0> for Along {
    #[inline(always)]
    fn apply<R: Real>(&self, theta: R, direction: R, _: [R; 0]) -> (R, [R; 0]) {
        (theta.scale(self.kept) - direction.scale(self.rate), [])
    }
}

/// Slots of f16 and bf16 parameters are f32, and so is the arithmetic: in the type itself
/// `0.999 · v` is `v` (bf16) and ε is 0 (f16). PyTorch keeps them in the type of the parameter.
pub(crate) fn slot_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

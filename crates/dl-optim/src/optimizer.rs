//! The driver: names, groups, the step count, what happens to gradients; a rule does the rest.

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use crate::centralize::centralized;
use crate::group::{glob, is_bias_or_norm, is_in_layer};
use crate::low_precision::{Rounding, stream};
use crate::norm::is_finite;
use crate::rule::require;
use crate::sweep::{Intake, Toward, combine};
use crate::update::slot_dtype;
use crate::{
    Clip, Error, Group, LowPrecision, NonFinite, Path, Result, Rule, Settings, Update, rule_named,
};

/// Named parameters and the rule, or rules, that update them.
///
/// Parameters are kept in name order, whatever order they come in. Slots are created at a
/// parameter's first gradient, after which a fused step allocates nothing. PyTorch skips parameters
/// without a gradient in silence; here they are an error, because a cut graph is the usual cause,
/// unless [`Optimizer::allow_missing_gradients`] says otherwise.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Sgd};
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Sgd::default())?;
/// optimizer.set_lr(0.25);
/// for _ in 0..2 {
///     optimizer.step(&x.sqr()?.backward()?)?; // halves x
/// }
/// assert_eq!((x.to_scalar::<f64>()?, optimizer.steps()), (0.25, 2));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    pub(crate) parameters: Vec<Parameter>,
    /// The first is the rule of every parameter that no group gives another.
    pub(crate) rules: Vec<Box<dyn Rule>>,
    pub(crate) lr: f64,
    pub(crate) steps: usize,
    pub(crate) skipped: usize,
    pub(crate) low_precision: LowPrecision,
    /// What the parameters of each rule have in common.
    pub(crate) shared: Vec<Vec<f64>>,
    /// Whether the parameters hold what is to be evaluated.
    pub(crate) evaluating: bool,
    clip: Option<Clip>,
    centralize: bool,
    non_finite: NonFinite,
    path: Path,
    allow_missing: bool,
    grad_norm: Option<f64>,
}

/// A parameter, what is different for it, and what its rule remembers.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) var: Var,
    /// Index into the rules.
    pub(crate) rule: usize,
    pub(crate) lr_scale: f64,
    pub(crate) weight_decay: Option<f64>,
    /// Whether steps leave it as it is.
    pub(crate) frozen: bool,
    /// Steps with a gradient.
    pub(crate) step: usize,
    /// Empty until the first of them.
    pub(crate) slots: Vec<Tensor>,
    /// The parameter in f32, where it is kept in less and master weights are asked for.
    pub(crate) master: Option<Var>,
}

impl Optimizer {
    /// An optimizer of these parameters.
    ///
    /// Fails on options outside their range, on no parameters, on a name or variable that comes
    /// twice, and on parameters that are not contiguous floating-point tensors.
    pub fn new(
        params: impl IntoIterator<Item = (String, Var)>,
        rule: impl Into<Box<dyn Rule>>,
    ) -> Result<Self> {
        let rule = rule.into();
        rule.validate()?;
        Ok(Self {
            parameters: named(params)?,
            lr: rule.basics().lr,
            shared: vec![first_values(rule.as_ref())],
            rules: vec![rule],
            steps: 0,
            evaluating: false,
            skipped: 0,
            low_precision: LowPrecision::Nearest,
            clip: None,
            centralize: false,
            non_finite: NonFinite::Allow,
            path: Path::default(),
            allow_missing: false,
            grad_norm: None,
        })
    }

    /// Applies a group. A parameter whose rule it replaces starts anew.
    ///
    /// Fails if the group selects nothing or has an option outside its range.
    pub fn group(mut self, group: Group) -> Result<Self> {
        group.validate()?;
        let selects = |parameter: &&mut Parameter| group.selects(&parameter.name, &parameter.var);
        let count = self.parameters.len();
        let chosen: Vec<_> = self.parameters.iter_mut().filter(selects).collect();
        let empty = chosen.is_empty();
        let parts = group.into_parts();
        if empty {
            return Err(Error::NothingMatches {
                pattern: parts.label,
                count,
            });
        }
        let next = self.rules.len();
        for parameter in chosen {
            parameter.lr_scale *= parts.lr_scale;
            parameter.weight_decay = parts.weight_decay.or(parameter.weight_decay);
            if let Some(rule) = &parts.rule {
                parameter.lr_scale *=
                    rate_ratio(rule.basics().lr, self.rules[parameter.rule].basics().lr);
                (parameter.rule, parameter.step) = (next, 0);
                parameter.slots.clear();
            }
        }
        self.shared.extend(parts.rule.as_deref().map(first_values));
        self.rules.extend(parts.rule);
        Ok(self)
    }

    /// Takes weight decay off 1-D parameters and biases.
    pub fn no_decay_on_bias_and_norm(mut self) -> Self {
        for parameter in &mut self.parameters {
            if is_bias_or_norm(&parameter.name, &parameter.var) {
                parameter.weight_decay = Some(0.0);
            }
        }
        self
    }

    /// Lowers the rate layer by layer: parameters of the first layer keep it, those of the k-th
    /// after it have `decay`ᵏ of it (Clark et al., 2020, ELECTRA).
    ///
    /// `layers` goes from the head to the stem: names (`blocks.3` covers all that is below it, not
    /// `blocks.30`) or globs. The first that covers a parameter counts.
    ///
    /// Fails if a parameter is covered by none, or a layer covers nothing.
    pub fn layer_wise_lr_decay<S: AsRef<str>>(mut self, layers: &[S], decay: f64) -> Result<Self> {
        let valid = decay > 0.0 && decay <= 1.0;
        require(valid, "layer_wise_lr_decay", "decay", "in (0, 1]", decay)?;
        let globs = layers
            .iter()
            .map(|layer| glob(layer.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        let covers = |k: usize, name: &str| is_in_layer(layers[k].as_ref(), &globs[k], name);
        let count = self.parameters.len();
        for (k, layer) in layers.iter().enumerate() {
            if !self
                .parameters
                .iter()
                .any(|parameter| covers(k, &parameter.name))
            {
                return Err(Error::NothingMatches {
                    pattern: layer.as_ref().to_string(),
                    count,
                });
            }
        }
        let mut names = Vec::new();
        for parameter in &mut self.parameters {
            match (0..layers.len()).find(|&k| covers(k, &parameter.name)) {
                Some(k) => parameter.lr_scale *= decay.powf(k as f64),
                None => names.push(parameter.name.clone()),
            }
        }
        if names.is_empty() {
            Ok(self)
        } else {
            Err(Error::UncoveredParameters { names })
        }
    }

    /// Limits the gradients of every step; costs one read of them for a norm and nothing for a
    /// value.
    pub fn clip(mut self, clip: Clip) -> Result<Self> {
        clip.validate()?;
        self.clip = Some(clip);
        Ok(self)
    }

    /// Skips parameters that received no gradient, as PyTorch does, instead of failing.
    pub fn allow_missing_gradients(self) -> Self {
        Self {
            allow_missing: true,
            ..self
        }
    }

    /// Subtracts from each gradient its mean over all dimensions but the first, before clipping; see
    /// [`centralize_gradients`](crate::centralize_gradients).
    pub fn centralize_gradients(self) -> Self {
        Self {
            centralize: true,
            ..self
        }
    }

    /// Chooses what a step does with gradients that are not finite. Costs one read of them, and
    /// nothing where their norm is taken anyway and is finite.
    pub fn non_finite(self, non_finite: NonFinite) -> Self {
        Self { non_finite, ..self }
    }

    /// Chooses how f16 and bf16 parameters keep updates that are below their precision.
    pub fn low_precision(mut self, low_precision: LowPrecision) -> Result<Self> {
        self.low_precision = low_precision;
        for parameter in &mut self.parameters {
            let narrow = matches!(parameter.var.dtype(), DType::F16 | DType::BF16);
            parameter.master = match low_precision {
                LowPrecision::MasterWeights if narrow => Some(parameter.widened()?),
                _ => None,
            };
        }
        Ok(self)
    }

    /// Takes master weights from the parameters again, after something other than a step has written
    /// to those: weights that were loaded, averages, a [`Lookahead`](crate::Lookahead).
    pub fn refresh_master_weights(&mut self) -> Result<()> {
        for parameter in &mut self.parameters {
            if parameter.master.is_some() {
                parameter.master = Some(parameter.widened()?);
            }
        }
        Ok(())
    }

    /// Chooses how elementwise rules are carried out.
    pub fn path(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// Takes one step.
    ///
    /// Fails, before anything is changed, if a parameter has no gradient, if a gradient does not fit
    /// its parameter, if a rule cannot update a parameter of that shape, or if the learning rate is
    /// not finite.
    pub fn step(&mut self, grads: &GradStore) -> Result<()> {
        self.step_scaled(grads, 1.0)
    }

    /// Takes one step on gradients that are multiplied by `scale` first, within the same pass: for
    /// the mean over accumulated batches, or to undo a loss scale. Clipping sees them scaled.
    pub fn step_scaled(&mut self, grads: &GradStore, scale: f64) -> Result<()> {
        self.step_or_skip(grads, scale, self.non_finite, None)
            .map(|_| ())
    }

    /// Takes one step with an estimate of the diagonal of the Hessian beside the gradients, for
    /// [`Sophia`](crate::Sophia); other rules do not look at it. It is not scaled or clipped.
    ///
    /// Fails as [`Optimizer::step`] does, and if an estimate does not fit its parameter.
    pub fn step_with_curvature(&mut self, grads: &GradStore, curvature: &GradStore) -> Result<()> {
        for parameter in self.moving() {
            if let Some(estimate) = curvature.get(&parameter.var) {
                parameter.check(estimate)?;
            }
        }
        self.step_or_skip(grads, 1.0, self.non_finite, Some(curvature))
            .map(|_| ())
    }

    /// Goes backward from a loss, by candle's own walk, and takes one step.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.step(&loss.backward()?)
    }

    /// Takes one step, or `false` if it was skipped for a gradient that is not finite.
    pub(crate) fn step_or_skip(
        &mut self,
        grads: &GradStore,
        scale: f64,
        non_finite: NonFinite,
        curvature: Option<&GradStore>,
    ) -> Result<bool> {
        require(self.lr.is_finite(), "optimizer", "lr", "finite", self.lr)?;
        if self.evaluating {
            return Err(Error::Evaluating);
        }
        self.check(grads)?;
        let centred;
        let grads = if self.centralize {
            centred = self.centred(grads)?;
            &centred
        } else {
            grads
        };
        let intake = self.intake(grads, scale)?;
        if !self.passes(grads, non_finite)? {
            self.skipped += 1;
            return Ok(false);
        }
        let how = How {
            lr: self.lr,
            first_lr: self.rules[0].basics().lr,
            curvature,
            clip: self.clip,
            path: self.path,
            low_precision: self.low_precision,
        };
        for parameter in self.parameters.iter_mut().filter(|p| !p.frozen) {
            if grads.get(&parameter.var).is_some() {
                parameter.begin(self.rules[parameter.rule].as_ref())?;
            }
        }
        let moves = self.agree(grads, intake, how)?;
        for parameter in self.parameters.iter_mut().filter(|p| !p.frozen) {
            let (rule, shared) = (&self.rules[parameter.rule], &self.shared[parameter.rule]);
            let moves = moves[parameter.rule];
            if let Some(gradient) = grads.get(&parameter.var).filter(|_| moves) {
                parameter.update(rule.as_ref(), shared, gradient, intake, how)?;
            }
        }
        self.steps += 1;
        Ok(true)
    }

    /// Moves what the parameters of a rule have in common; says of each rule whether it steps.
    fn agree(&mut self, grads: &GradStore, intake: Intake, how: How<'_>) -> Result<Vec<bool>> {
        let mut sums = vec![[0.0; 2]; self.rules.len()];
        for parameter in self.parameters.iter_mut().filter(|p| !p.frozen) {
            let (rule, shared) = (&self.rules[parameter.rule], &self.shared[parameter.rule]);
            if let Some(gradient) = grads.get(&parameter.var).filter(|_| !shared.is_empty()) {
                let added = parameter.measure(rule.as_ref(), shared, gradient, intake, how)?;
                let sum = &mut sums[parameter.rule];
                *sum = [sum[0] + added[0], sum[1] + added[1]];
            }
        }
        let rules = self.rules.iter().zip(&mut self.shared).zip(sums);
        let agree = rules.map(|((rule, shared), sums)| rule.agree(shared, sums, how.lr));
        Ok(agree.collect())
    }

    /// Puts into the parameters what is to be evaluated, where that is not what gradients are taken
    /// at: the averages of [`AdamWScheduleFree`](crate::AdamWScheduleFree) and
    /// [`SgdScheduleFree`](crate::SgdScheduleFree). Steps are refused until [`Optimizer::train`].
    /// Of other rules nothing changes.
    ///
    /// The switch costs one pass and no memory; there and back again is exact but for rounding.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use dl_optim::{Optimizer, SgdScheduleFree};
    /// let x = Var::new(4.0_f64, &Device::Cpu)?;
    /// let rule = SgdScheduleFree { lr: 0.5, momentum: 0.5, ..SgdScheduleFree::default() };
    /// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], rule)?;
    /// for _ in 0..2 {
    ///     optimizer.step(&x.backward()?)?; // z: 3.5, 3
    /// }
    /// optimizer.eval()?;
    /// assert!((x.to_scalar::<f64>()? - 3.25).abs() < 1e-12); // their mean
    /// optimizer.train()?;
    /// optimizer.step(&x.backward()?)?;
    /// # Ok::<(), dl_optim::Error>(())
    /// ```
    pub fn eval(&mut self) -> Result<()> {
        if !self.evaluating {
            self.interpolate(to_average)?;
        }
        self.evaluating = true;
        Ok(())
    }

    /// Puts back into the parameters what gradients are taken at, after [`Optimizer::eval`].
    pub fn train(&mut self) -> Result<()> {
        if self.evaluating {
            self.interpolate(|beta| 1.0 - beta)?;
        }
        self.evaluating = false;
        Ok(())
    }

    /// Runs `work` in eval mode, then puts back exactly what the parameters held.
    pub fn with_eval<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let steps = |p: &&Parameter| self.rules[p.rule].interpolates().is_some() && p.step > 0;
        if self.evaluating || !self.parameters.iter().any(|p| steps(&p)) {
            return Ok(work());
        }
        let held = self.parameters.iter().filter(steps);
        let held = held.map(|p| Ok((p.storage().clone(), p.storage().detach().copy()?)));
        let held = held.collect::<candle_core::Result<Vec<_>>>()?;
        let found = self.interpolate(to_average).map(|()| work());
        for (var, own) in held {
            if own.elem_count() > 0 {
                var.set(&own)?;
            }
        }
        self.parameters.iter().try_for_each(Parameter::narrow)?;
        found
    }

    fn interpolate(&self, share: impl Fn(f64) -> f64) -> Result<()> {
        for parameter in &self.parameters {
            let rule = &self.rules[parameter.rule];
            if let (Some(beta), Some(z)) = (rule.interpolates(), parameter.slots.first()) {
                parameter.move_towards(z, share(beta))?;
            }
        }
        Ok(())
    }

    /// The scheduled learning rate, before the scales of groups.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// Sets the learning rate, in force from the next step.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// Sets the momentum of every rule, in force from the next step: its `betas.0`, else its
    /// `momentum`, as PyTorch's cyclic schedules do.
    ///
    /// Fails, before anything is changed, if a rule has neither or is not one of
    /// [`RULES`](crate::RULES), on a momentum outside its range, and on one from or to 0 where
    /// that would need other slots than there are.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use dl_optim::{Adam, OneCycle, Optimizer};
    /// let x = Var::new(1.0_f64, &Device::Cpu)?;
    /// let mut adam = Optimizer::new([("x".to_string(), x)], Adam::default())?;
    /// adam.set_momentum(OneCycle::over(100).momentum(29))?;
    /// assert_eq!(adam.state()?.header.groups[0].options["betas"][0], 0.85);
    /// # Ok::<(), dl_optim::Error>(())
    /// ```
    pub fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        let rules = self.rules.iter();
        let rules = rules.map(|rule| with_momentum(rule.as_ref(), momentum));
        let rules = rules.collect::<Result<Vec<_>>>()?;
        for Parameter {
            var, rule, slots, ..
        } in &self.parameters
        {
            let fits = slots.is_empty() || slots.len() == rules[*rule].slots(var.dims()).len();
            let (owner, wanted) = (rules[*rule].basics().name, "0 or not 0 as when it began");
            require(fits, owner, "momentum", wanted, momentum)?;
        }
        self.rules = rules;
        Ok(())
    }

    /// How many steps were taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// How many steps were skipped for gradients that were not finite.
    pub fn skipped_steps(&self) -> usize {
        self.skipped
    }

    /// The common norm of the gradients of the last step before clipping, with [`Clip::Norm`] and
    /// [`Clip::NormOf`].
    pub fn grad_norm(&self) -> Option<f64> {
        self.grad_norm
    }

    /// The parameters in name order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), &parameter.var))
    }

    /// Leaves the parameters of these names as they are from now on, and all others not: a frozen one
    /// is not updated, decayed or missed when it has no gradient, and what its rule remembers stays.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use dl_optim::{Optimizer, Sgd};
    /// let [x, y] = [Var::new(1.0_f64, &Device::Cpu)?, Var::new(1.0_f64, &Device::Cpu)?];
    /// let params = [("x".to_string(), x.clone()), ("y".to_string(), y.clone())];
    /// let mut sgd = Optimizer::new(params, Sgd { lr: 0.25, ..Sgd::default() })?;
    /// sgd.set_frozen(|name| name == "x");
    /// sgd.step(&(x.sqr()? + y.sqr()?)?.backward()?)?;
    /// assert_eq!((x.to_scalar::<f64>()?, y.to_scalar::<f64>()?), (1.0, 0.5));
    /// # Ok::<(), dl_optim::Error>(())
    /// ```
    pub fn set_frozen(&mut self, frozen: impl Fn(&str) -> bool) {
        for parameter in &mut self.parameters {
            parameter.frozen = frozen(&parameter.name);
        }
    }

    /// The parameters that steps update, in name order.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        let trainable = self.moving();
        trainable.map(|parameter| (parameter.name.as_str(), &parameter.var))
    }

    fn moving(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| !parameter.frozen)
    }

    /// What holds for the parameter of this name.
    pub fn settings(&self, name: &str) -> Option<Settings> {
        let found = self
            .parameters
            .binary_search_by(|parameter| parameter.name.as_str().cmp(name));
        let parameter = &self.parameters[found.ok()?];
        let rule = self.rules[parameter.rule].as_ref();
        Some(Settings {
            rule: rule.basics().name,
            lr_scale: parameter.lr_scale,
            weight_decay: parameter.weight_decay.unwrap_or(rule.basics().weight_decay),
        })
    }

    fn check(&self, grads: &GradStore) -> Result<()> {
        let mut names = Vec::new();
        for parameter in self.moving() {
            parameter.check_shape(self.rules[parameter.rule].as_ref())?;
            match grads.get(&parameter.var) {
                Some(gradient) => parameter.check(gradient)?,
                None => names.push(parameter.name.clone()),
            }
        }
        if names.is_empty() || self.allow_missing {
            Ok(())
        } else {
            Err(Error::MissingGradients { names })
        }
    }

    fn intake(&mut self, grads: &GradStore, scale: f64) -> Result<Intake> {
        self.grad_norm = None;
        let Some(clip) = self.clip else {
            let limit = f64::INFINITY;
            return Ok(Intake { scale, limit });
        };
        let vars = self.moving().map(|parameter| &parameter.var);
        let (intake, norm) = clip.common(vars.filter_map(|var| grads.get(var)), scale)?;
        self.grad_norm = norm;
        Ok(intake)
    }

    fn centred(&self, grads: &GradStore) -> Result<GradStore> {
        let mut centred = GradStore::default();
        for Parameter { var, .. } in self.moving() {
            if let Some(gradient) = grads.get(var) {
                centred.insert(var, centralized(gradient)?);
            }
        }
        Ok(centred)
    }

    /// Whether the step may go on.
    fn passes(&self, grads: &GradStore, non_finite: NonFinite) -> Result<bool> {
        if non_finite == NonFinite::Allow || self.grad_norm.is_some_and(f64::is_finite) {
            return Ok(true);
        }
        let mut names = Vec::new();
        for Parameter { name, var, .. } in self.moving() {
            if let Some(gradient) = grads.get(var)
                && !is_finite(gradient)?
            {
                names.push(name.clone());
            }
        }
        match non_finite {
            _ if names.is_empty() => Ok(true),
            NonFinite::Error => Err(Error::NonFiniteGradients { names }),
            _ => Ok(false),
        }
    }
}

/// What is the same for every parameter of a step.
#[derive(Clone, Copy)]
struct How<'a> {
    lr: f64,
    /// What the first rule started with.
    first_lr: f64,
    curvature: Option<&'a GradStore>,
    clip: Option<Clip>,
    path: Path,
    low_precision: LowPrecision,
}

impl Parameter {
    pub(crate) fn new(name: String, var: Var) -> Result<Self> {
        if !var.is_contiguous() {
            return Err(Error::NotContiguous { name });
        }
        match var.dtype() {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {}
            dtype => return Err(Error::UnsupportedDType { name, dtype }),
        }
        let (rule, lr_scale, weight_decay) = (0, 1.0, None);
        Ok(Self {
            name,
            var,
            rule,
            lr_scale,
            weight_decay,
            frozen: false,
            step: 0,
            slots: Vec::new(),
            master: None,
        })
    }

    fn widened(&self) -> Result<Var> {
        let wide = self.var.detach().to_dtype(DType::F32)?;
        Ok(Var::from_tensor(&wide)?)
    }

    fn check_shape(&self, rule: &dyn Rule) -> Result<()> {
        match rule.refuses(self.var.dims()) {
            None => Ok(()),
            Some(wanted) => Err(Error::UnsuitableShape {
                name: self.name.clone(),
                rule: rule.basics().name,
                wanted,
                shape: self.var.shape().clone(),
            }),
        }
    }

    pub(crate) fn check(&self, gradient: &Tensor) -> Result<()> {
        let (dtype, shape) = (self.var.dtype(), self.var.shape());
        // f16 and bf16 gradients may have been added up in f32.
        let fits = gradient.dtype() == dtype || gradient.dtype() == slot_dtype(dtype);
        if fits && gradient.shape() == shape {
            return Ok(());
        }
        Err(Error::GradientMismatch {
            name: self.name.clone(),
            dtype,
            shape: shape.clone(),
            got_dtype: gradient.dtype(),
            got_shape: gradient.shape().clone(),
        })
    }

    /// Counts a step; at the first one makes the slots.
    fn begin(&mut self, rule: &dyn Rule) -> Result<()> {
        if self.step == 0 {
            self.slots = self.fresh_slots(rule)?;
        }
        self.step += 1;
        Ok(())
    }

    fn measure(
        &mut self,
        rule: &dyn Rule,
        shared: &[f64],
        gradient: &Tensor,
        intake: Intake,
        how: How<'_>,
    ) -> Result<[f64; 2]> {
        let found = self.with_update(rule, shared, gradient, intake, how, |mut at| {
            rule.measure(&mut at)
        });
        Ok(found.map_err(|error| error.context(format!("the step on `{}`", self.name)))?)
    }

    fn update(
        &mut self,
        rule: &dyn Rule,
        shared: &[f64],
        gradient: &Tensor,
        intake: Intake,
        how: How<'_>,
    ) -> Result<()> {
        let taken = self.with_update(rule, shared, gradient, intake, how, |at| rule.update(at));
        let taken = taken.and_then(|()| self.narrow());
        Ok(taken.map_err(|error| error.context(format!("the step on `{}`", self.name)))?)
    }

    /// Where the parameter is kept in its full precision.
    fn storage(&self) -> &Var {
        self.master.as_ref().unwrap_or(&self.var)
    }

    /// Rounds the master weights into the parameter, where there are some.
    fn narrow(&self) -> candle_core::Result<()> {
        match &self.master {
            Some(master) if master.elem_count() > 0 => {
                self.var.set(&master.detach().to_dtype(self.var.dtype())?)
            }
            _ => Ok(()),
        }
    }

    fn with_update<T>(
        &mut self,
        rule: &dyn Rule,
        shared: &[f64],
        gradient: &Tensor,
        intake: Intake,
        how: How<'_>,
        work: impl FnOnce(Update<'_>) -> candle_core::Result<T>,
    ) -> candle_core::Result<T> {
        let var = self.master.as_ref().unwrap_or(&self.var);
        let (gradient, intake) = match how.clip {
            Some(clip) => clip.single(var, gradient, intake)?,
            None => (gradient.clone(), intake),
        };
        let gradient = match self.master {
            Some(_) => gradient.detach().to_dtype(DType::F32)?,
            None => gradient,
        };
        let sign = if rule.basics().maximize { -1.0 } else { 1.0 };
        work(Update {
            step: self.step,
            lr: how.lr * self.lr_scale,
            lr_scale: self.lr_scale / rate_ratio(rule.basics().lr, how.first_lr),
            weight_decay: self.weight_decay.unwrap_or(rule.basics().weight_decay),
            slots: &mut self.slots,
            shared,
            curvature: how.curvature.and_then(|all| all.get(&self.var)),
            var,
            raw_gradient: &gradient,
            intake: Intake {
                scale: intake.scale * sign,
                ..intake
            },
            path: how.path,
            cautious: false,
            rounding: match how.low_precision {
                LowPrecision::Stochastic { seed } => {
                    Rounding::Stochastic(stream(seed, &self.name, self.step))
                }
                _ => Rounding::Nearest,
            },
        })
    }

    /// θ + share · (z − θ).
    fn move_towards(&self, z: &Tensor, share: f64) -> candle_core::Result<()> {
        let var = self.storage();
        if var.elem_count() == 0 {
            return Ok(());
        }
        let theta = var.detach().to_dtype(z.dtype())?.copy()?;
        let moved = combine(theta, z, Path::Fused, &Toward { share })?;
        var.set(&moved.to_dtype(var.dtype())?)?;
        self.narrow()
    }

    fn fresh_slots(&self, rule: &dyn Rule) -> Result<Vec<Tensor>> {
        let dtype = slot_dtype(self.var.dtype());
        let fresh = rule.slots(self.var.dims()).into_iter().map(|slot| {
            let dtype = slot.dtype.unwrap_or(dtype);
            let zeros = Tensor::zeros(slot.shape, dtype, slot_device(slot.host, &self.var))?;
            if slot.init == 0.0 {
                Ok(zeros)
            } else {
                zeros.affine(1.0, slot.init)
            }
        });
        Ok(fresh.collect::<candle_core::Result<_>>()?)
    }
}

/// How far from y to z the average x lies, on the other side of y.
fn to_average(beta: f64) -> f64 {
    1.0 - 1.0 / beta
}

fn first_values(rule: &dyn Rule) -> Vec<f64> {
    rule.shared().into_iter().map(|(_, first)| first).collect()
}

fn with_momentum(rule: &dyn Rule, momentum: f64) -> Result<Box<dyn Rule>> {
    let (name, mut options) = (rule.basics().name, rule.options());
    let field = match options.get("betas").is_some() {
        true => options.pointer_mut("/betas/0"),
        false => options.get_mut("momentum"),
    };
    let Some(field) = field else {
        return Err(Error::NoMomentum { rule: name });
    };
    *field = momentum.into();
    rule_named(name, options)
}

/// Where a slot of this parameter lives.
pub(crate) fn slot_device(host: bool, var: &Var) -> &Device {
    if host { &Device::Cpu } else { var.device() }
}

fn rate_ratio(new: f64, old: f64) -> f64 {
    if old == 0.0 { 1.0 } else { new / old }
}

/// The parameters in name order; none may come twice.
pub(crate) fn named(params: impl IntoIterator<Item = (String, Var)>) -> Result<Vec<Parameter>> {
    let mut named = BTreeMap::new();
    for (name, var) in params {
        if named.insert(name.clone(), var).is_some() {
            return Err(Error::DuplicateName { name });
        }
    }
    let parameters = named
        .into_iter()
        .map(|(name, var)| Parameter::new(name, var));
    let parameters = parameters.collect::<Result<Vec<_>>>()?;
    refuse_shared(&parameters)?;
    Ok(parameters)
}

fn refuse_shared(parameters: &[Parameter]) -> Result<()> {
    if parameters.is_empty() {
        return Err(Error::NoParameters);
    }
    let mut seen = HashMap::new();
    for Parameter { name, var, .. } in parameters {
        if let Some(first) = seen.insert(var.id(), name) {
            let (first, second) = (first.clone(), name.clone());
            return Err(Error::SharedVariable { first, second });
        }
    }
    Ok(())
}

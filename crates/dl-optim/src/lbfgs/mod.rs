//! L-BFGS, which evaluates the loss itself.

mod flat;
mod state;
mod wolfe;

use std::collections::VecDeque;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::optimizer::{Parameter, named};
use crate::rule::{require, require_not_negative};
use crate::update::slot_dtype;
use crate::{Error, Result};
use flat::{add_scaled, dot, largest, length_1};
use wolfe::{Limits, Point, strong_wolfe};

/// How the length of a step is found.
///
/// ```
/// let name = serde_json::to_string(&dl_optim::LineSearch::StrongWolfe);
/// assert_eq!(name.ok().as_deref(), Some("\"strong_wolfe\""));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineSearch {
    /// Cubic interpolation until the strong Wolfe conditions hold (Nocedal and Wright, 2006).
    StrongWolfe,
}

/// The options of [`Lbfgs`].
///
/// ```
/// let options = dl_optim::LbfgsOptions::default();
/// assert_eq!((options.lr, options.max_iter, options.history_size), (1.0, 20, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LbfgsOptions {
    /// Length of a step, or the length that a line search begins with, in directions, `>= 0`.
    /// Default `1`.
    pub lr: f64,
    /// Iterations of one [`Lbfgs::step`], `>= 1`. Default `20`.
    pub max_iter: usize,
    /// Evaluations of one [`Lbfgs::step`] after which no iteration begins, `>= 1`; `None` for 5/4 of
    /// `max_iter`. Default `None`.
    pub max_eval: Option<usize>,
    /// Stops where no element of the gradient is larger, `>= 0`. Default `1e-7`.
    pub tolerance_grad: f64,
    /// Stops where neither the loss nor an element of a parameter changes by more, `>= 0`. Default
    /// `1e-9`.
    pub tolerance_change: f64,
    /// Pairs of steps and changes of the gradient that are remembered, `>= 1`. Default `100`.
    pub history_size: usize,
    /// The line search, `None` for steps of fixed length. Default `None`.
    pub line_search_fn: Option<LineSearch>,
    /// Climbs instead of descending. Default `false`.
    pub maximize: bool,
}

impl Default for LbfgsOptions {
    fn default() -> Self {
        Self {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search_fn: None,
            maximize: false,
        }
    }
}

impl LbfgsOptions {
    /// Refuses options outside their range.
    pub fn validate(&self) -> Result<()> {
        require_not_negative("lbfgs", "lr", self.lr)?;
        require_count("max_iter", self.max_iter)?;
        require_count("max_eval", self.evaluations())?;
        require_not_negative("lbfgs", "tolerance_grad", self.tolerance_grad)?;
        require_not_negative("lbfgs", "tolerance_change", self.tolerance_change)?;
        require_count("history_size", self.history_size)
    }

    fn evaluations(&self) -> usize {
        self.max_eval.unwrap_or(self.max_iter.saturating_mul(5) / 4)
    }
}

fn require_count(field: &'static str, got: usize) -> Result<()> {
    require(got > 0, "lbfgs", field, ">= 1", got as f64)
}

/// L-BFGS: Newton's direction from the last steps and what they did to the gradient (Liu and
/// Nocedal, 1989). For few data or whole batches: the loss must be the same function at each call.
///
/// ```text
/// sₖ = θₖ₊₁ − θₖ,   yₖ = gₖ₊₁ − gₖ,   kept where yₖᵀsₖ > 10⁻¹⁰
/// d = −H g,   H from (s, y) by the two-loop recursion on H₀ = yᵀs / yᵀy
/// θ ← θ + t d,   t: the rate, min(1, 1/‖g‖₁) of it at the first iteration, or the line search's
/// ```
///
/// All parameters are one vector, in f64 if one of them is and in f32 otherwise; there are no
/// groups. As in PyTorch, with these differences: a parameter without a gradient is an error, not
/// zero; inner products are summed in f64; an error of the closure puts the parameters back to
/// where the iteration began, and what was remembered is forgotten.
///
/// Sources: D. Liu, J. Nocedal, 1989, On the limited memory BFGS method for large scale
/// optimization; J. Nocedal, S. Wright, 2006, Numerical Optimization, algorithms 3.5, 3.6 and 7.4.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Lbfgs, LbfgsOptions, LineSearch};
/// let x = Var::new(&[-1.2_f64, 1.0], &Device::Cpu)?;
/// let line_search_fn = Some(LineSearch::StrongWolfe);
/// let options = LbfgsOptions { line_search_fn, max_iter: 50, ..LbfgsOptions::default() };
/// let mut lbfgs = Lbfgs::new([("x".to_string(), x.clone())], options)?;
/// lbfgs.step(|| {
///     // Rosenbrock's function
///     let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
///     let valley = ((b - a.sqr()?)?.sqr()? * 100.0)?;
///     let loss = (valley + (1.0 - a)?.sqr()?)?.sum_all()?;
///     let gradients = loss.backward()?;
///     Ok((loss, gradients))
/// })?;
/// assert!(x.to_vec1::<f64>()?.iter().all(|x| (x - 1.0).abs() < 1e-4));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Lbfgs {
    parameters: Vec<Parameter>,
    options: LbfgsOptions,
    dtype: DType,
    lr: f64,
    memory: Memory,
}

/// What is known from the steps so far.
#[derive(Debug, Default)]
struct Memory {
    iterations: usize,
    evaluations: usize,
    last: Option<Iteration>,
    pairs: VecDeque<Pair>,
    /// H₀.
    scale: f64,
}

/// Where an iteration stood, and which way it went how far.
#[derive(Debug)]
struct Iteration {
    direction: Tensor,
    t: f64,
    gradient: Tensor,
    loss: f64,
}

/// A step, and what it did to the gradient.
#[derive(Debug)]
struct Pair {
    y: Tensor,
    s: Tensor,
    /// 1 / yᵀs.
    rho: f64,
}

/// The loss and its gradient at the parameters.
struct Evaluation {
    loss: f64,
    gradient: Tensor,
}

impl Lbfgs {
    /// L-BFGS on these parameters, which are on one device.
    ///
    /// Fails as [`Optimizer::new`](crate::Optimizer::new) does.
    pub fn new(
        params: impl IntoIterator<Item = (String, Var)>,
        options: LbfgsOptions,
    ) -> Result<Self> {
        options.validate()?;
        let parameters = named(params)?;
        let wide = |parameter: &Parameter| slot_dtype(parameter.var.dtype()) == DType::F64;
        let dtype = match parameters.iter().any(wide) {
            true => DType::F64,
            false => DType::F32,
        };
        Ok(Self {
            parameters,
            dtype,
            lr: options.lr,
            options,
            memory: Memory::default(),
        })
    }

    /// Iterates until `max_iter`, `max_eval` or a tolerance is reached; gives the loss from before
    /// the first iteration.
    ///
    /// `evaluate` computes the loss, one number, and the gradients of all parameters, as they are
    /// when it is called. Fails if it does, and if a parameter has no gradient or one that does not
    /// fit.
    pub fn step(
        &mut self,
        mut evaluate: impl FnMut() -> candle_core::Result<(Tensor, GradStore)>,
    ) -> Result<f64> {
        let loss = self.iterate(&mut evaluate);
        if loss.is_err() && self.memory.last.is_none() {
            // The iteration that failed had taken what was remembered.
            self.memory = Memory::default();
        }
        loss
    }

    fn iterate(&mut self, evaluate: &mut impl Closure) -> Result<f64> {
        require(self.lr.is_finite(), "lbfgs", "lr", "finite", self.lr)?;
        let mut now = self.evaluate(evaluate)?;
        let loss = if self.options.maximize {
            -now.loss
        } else {
            now.loss
        };
        let mut evaluations = 1;
        self.memory.evaluations += 1;
        if largest(&now.gradient)? <= self.options.tolerance_grad {
            return Ok(loss);
        }
        for iteration in 1..=self.options.max_iter {
            let (last, slope) = self.begin(&now)?;
            if slope > -self.options.tolerance_change {
                self.memory.last = Some(last);
                break;
            }
            let is_final = iteration == self.options.max_iter;
            let budget = self.options.evaluations().saturating_sub(evaluations);
            let moved = match self.options.line_search_fn {
                Some(LineSearch::StrongWolfe) => self.search(last, slope, budget, evaluate)?,
                None => self.go(last, !is_final, evaluate)?,
            };
            evaluations += moved.evaluations;
            self.memory.evaluations += moved.evaluations;
            now = moved.now;
            let stops = is_final || evaluations >= self.options.evaluations();
            let stops = stops || self.has_converged(&now, &moved.last)?;
            self.memory.last = Some(moved.last);
            if stops {
                break;
            }
        }
        Ok(loss)
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// Sets the learning rate, in force from the next step.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// Iterations and evaluations so far.
    pub fn counts(&self) -> (usize, usize) {
        (self.memory.iterations, self.memory.evaluations)
    }

    /// The direction and length to begin with, and the slope along it.
    fn begin(&mut self, now: &Evaluation) -> Result<(Iteration, f64)> {
        self.memory.iterations += 1;
        let direction = self.direction(&now.gradient)?;
        let t = match self.memory.iterations {
            1 => (1.0 / length_1(&now.gradient)?).min(1.0) * self.lr,
            _ => self.lr,
        };
        let slope = dot(&now.gradient, &direction)?;
        let (gradient, loss) = (now.gradient.clone(), now.loss);
        let last = Iteration {
            direction,
            t,
            gradient,
            loss,
        };
        Ok((last, slope))
    }

    /// Newton's direction with what is remembered, which now includes the last iteration.
    fn direction(&mut self, gradient: &Tensor) -> Result<Tensor> {
        let Some(last) = self.memory.last.take() else {
            self.memory.pairs.clear();
            self.memory.scale = 1.0;
            return Ok(gradient.neg()?);
        };
        let y = (gradient - &last.gradient)?;
        let s = last.direction.affine(last.t, 0.0)?;
        self.memory.remember(y, s, self.options.history_size)?;
        Ok(self.memory.two_loops(gradient)?)
    }

    /// Goes a step of fixed length.
    fn go(&self, last: Iteration, look: bool, evaluate: &mut impl Closure) -> Result<Moved> {
        let x = self.position()?;
        self.place(&add_scaled(x.copy()?, last.t, &last.direction)?)?;
        let now = match look {
            true => self.back_on_error(&x, self.evaluate(evaluate))?,
            // Nobody will ask: the next step evaluates first.
            false => Evaluation {
                loss: last.loss,
                gradient: last.gradient.clone(),
            },
        };
        Ok(Moved {
            last,
            now,
            evaluations: usize::from(look),
        })
    }

    /// Goes as far as the line search says.
    fn search(
        &self,
        mut last: Iteration,
        slope: f64,
        rounds: usize,
        evaluate: &mut impl Closure,
    ) -> Result<Moved> {
        let (x, d) = (self.position()?, &last.direction);
        let go = |t: f64| self.place(&add_scaled(x.copy()?, t, d)?);
        let look = |t: f64| {
            go(t)?;
            let Evaluation { loss, gradient } = self.evaluate(evaluate)?;
            let slope = dot(&gradient, d)?;
            Ok(Point {
                t,
                loss,
                gradient,
                slope,
            })
        };
        let start = Point {
            t: 0.0,
            loss: last.loss,
            gradient: last.gradient.clone(),
            slope,
        };
        let limits = Limits {
            longest: largest(d)?,
            tolerance_change: self.options.tolerance_change,
            rounds,
        };
        let found = strong_wolfe(&start, last.t, limits, look);
        let (point, evaluations) = self.back_on_error(&x, found)?;
        go(point.t)?;
        let (loss, gradient) = (point.loss, point.gradient);
        last.t = point.t;
        Ok(Moved {
            last,
            now: Evaluation { loss, gradient },
            evaluations,
        })
    }

    fn back_on_error<T>(&self, x: &Tensor, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.place(x)?;
        }
        outcome
    }

    fn has_converged(&self, now: &Evaluation, last: &Iteration) -> Result<bool> {
        let change = self.options.tolerance_change;
        Ok(largest(&now.gradient)? <= self.options.tolerance_grad
            || largest(&last.direction)? * last.t.abs() <= change
            || (now.loss - last.loss).abs() < change)
    }

    fn evaluate(&self, evaluate: &mut impl Closure) -> Result<Evaluation> {
        let (loss, grads) = evaluate()?;
        let loss = loss.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let [loss] = loss[..] else {
            let text = format!("lbfgs: the loss must be one number, got {}", loss.len());
            return Err(candle_core::Error::Msg(text).into());
        };
        let gradient = self.gradient(&grads)?;
        match self.options.maximize {
            true => Ok(Evaluation {
                loss: -loss,
                gradient: gradient.neg()?,
            }),
            false => Ok(Evaluation { loss, gradient }),
        }
    }

    fn gradient(&self, grads: &GradStore) -> Result<Tensor> {
        let (mut found, mut names) = (Vec::new(), Vec::new());
        for parameter in &self.parameters {
            match grads.get(&parameter.var) {
                Some(gradient) => {
                    parameter.check(gradient)?;
                    found.push(self.widened(gradient)?);
                }
                None => names.push(parameter.name.clone()),
            }
        }
        match names.is_empty() {
            true => Ok(Tensor::cat(&found, 0)?),
            false => Err(Error::MissingGradients { names }),
        }
    }

    /// All parameters, in a tensor of their own.
    fn position(&self) -> Result<Tensor> {
        let parts = self
            .parameters
            .iter()
            .map(|parameter| self.widened(&parameter.var));
        let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?.copy()?)
    }

    fn widened(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        tensor.detach().flatten_all()?.to_dtype(self.dtype)
    }

    /// Writes all parameters.
    fn place(&self, flat: &Tensor) -> Result<()> {
        let mut start = 0;
        for Parameter { var, .. } in &self.parameters {
            let count = var.elem_count();
            if count > 0 {
                let part = flat.narrow(0, start, count)?.reshape(var.shape())?;
                var.set(&part.to_dtype(var.dtype())?)?;
            }
            start += count;
        }
        Ok(())
    }
}

/// What a step calls.
trait Closure: FnMut() -> candle_core::Result<(Tensor, GradStore)> {}
impl<F: FnMut() -> candle_core::Result<(Tensor, GradStore)>> Closure for F {}

/// The outcome of one iteration.
struct Moved {
    last: Iteration,
    now: Evaluation,
    evaluations: usize,
}

impl Memory {
    fn remember(&mut self, y: Tensor, s: Tensor, most: usize) -> candle_core::Result<()> {
        let product = dot(&y, &s)?;
        if product.is_nan() || product <= 1e-10 {
            return Ok(());
        }
        if self.pairs.len() == most {
            self.pairs.pop_front();
        }
        self.scale = product / dot(&y, &y)?;
        let rho = 1.0 / product;
        self.pairs.push_back(Pair { y, s, rho });
        Ok(())
    }

    /// −H g.
    fn two_loops(&self, gradient: &Tensor) -> candle_core::Result<Tensor> {
        let mut q = gradient.neg()?;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for Pair { y, s, rho } in self.pairs.iter().rev() {
            let share = dot(s, &q)? * rho;
            q = add_scaled(q, -share, y)?;
            shares.push(share);
        }
        let mut direction = q.affine(self.scale, 0.0)?;
        for (Pair { y, s, rho }, share) in self.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(y, &direction)? * rho;
            direction = add_scaled(direction, share - back, s)?;
        }
        Ok(direction)
    }
}

//! The learning-rate range test.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::rule::require;
use crate::{Error, Optimizer, Result};

/// Which rates to try, and when to stop; fastai's defaults.
///
/// The rate grows by a constant factor from step to step until the loss runs away. Where the loss
/// falls fastest is a good rate.
///
/// Source: L. Smith, 2017, Cyclical Learning Rates for Training Neural Networks.
///
/// ```
/// use dl_optim::LrRange;
/// // A loss that falls while the rate is between 1e-3 and 1e-1.
/// let range = LrRange { smoothing: 0.0, ..LrRange::default() };
/// let curve = range.run(|lr: f64| -> dl_optim::Result<f64> {
///     Ok(2.0 - (lr.log10() + 3.0).clamp(0.0, 2.0) / 2.0 + lr.powi(2))
/// })?;
/// let lr = curve.suggestion().expect("the loss falls");
/// assert!(lr > 9e-4 && lr < 0.1);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LrRange {
    /// The first rate, `> 0`. Default 1e-7.
    pub start: f64,
    /// The last rate, `> start`. Default 10.
    pub end: f64,
    /// How many are tried, `>= 2`. Default 100.
    pub steps: usize,
    /// Share of the old losses in the smoothed one, in `[0, 1)`. Default 0.98.
    pub smoothing: f64,
    /// The test ends when the smoothed loss is so many times its lowest value, `> 1`. Default 4.
    pub divergence: f64,
}

impl Default for LrRange {
    fn default() -> Self {
        Self {
            start: 1e-7,
            end: 10.0,
            steps: 100,
            smoothing: 0.98,
            divergence: 4.0,
        }
    }
}

/// One step of a range test.
///
/// ```
/// let curve = dl_optim::LrRange::default().run(|_| Ok::<_, dl_optim::Error>(1.0))?;
/// assert!((curve.points[0].lr, curve.points[0].loss) == (1e-7, 1.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrPoint {
    /// The rate.
    pub lr: f64,
    /// The loss before the step at that rate.
    pub loss: f64,
    /// The running mean of the losses so far.
    pub smoothed: f64,
}

/// What a range test found.
///
/// ```
/// let curve = dl_optim::LrRange::default().run(|_| Ok::<_, dl_optim::Error>(1.0))?;
/// assert!(curve.suggestion().is_none()); // it never fell
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrCurve {
    /// All steps, in order of the rate.
    pub points: Vec<LrPoint>,
    /// Whether the loss ran away before the last rate.
    pub diverged: bool,
}

impl LrRange {
    /// Calls `step` with growing rates. It takes one training step at the rate and returns the loss
    /// that the step began with. A loss that is not finite ends the test.
    ///
    /// Fails on an option outside its range, and where `step` does.
    pub fn run<E: From<Error>>(
        &self,
        mut step: impl FnMut(f64) -> std::result::Result<f64, E>,
    ) -> std::result::Result<LrCurve, E> {
        self.validate()?;
        let (mut points, mut mean, mut best) = (Vec::new(), 0.0, f64::INFINITY);
        for i in 0..self.steps {
            let lr = self.rate(i);
            let loss = step(lr)?;
            mean = self.smoothing * mean + (1.0 - self.smoothing) * loss;
            let smoothed = mean / (1.0 - self.smoothing.powf(i as f64 + 1.0));
            let diverged = true;
            if !smoothed.is_finite() {
                return Ok(LrCurve { points, diverged });
            }
            points.push(LrPoint { lr, loss, smoothed });
            best = smoothed.min(best);
            if smoothed > self.divergence * best && best > 0.0 {
                return Ok(LrCurve { points, diverged });
            }
        }
        Ok(LrCurve {
            points,
            diverged: false,
        })
    }

    fn validate(&self) -> Result<()> {
        let owner = "lr_range";
        require(self.start > 0.0, owner, "start", "> 0", self.start)?;
        let grows = self.end > self.start && self.end.is_finite();
        require(grows, owner, "end", "> start", self.end)?;
        require(self.steps >= 2, owner, "steps", ">= 2", self.steps as f64)?;
        let share = (0.0..1.0).contains(&self.smoothing);
        require(share, owner, "smoothing", "in [0, 1)", self.smoothing)?;
        require(
            self.divergence > 1.0,
            owner,
            "divergence",
            "> 1",
            self.divergence,
        )
    }

    fn rate(&self, i: usize) -> f64 {
        let share = i as f64 / (self.steps - 1) as f64;
        self.start * (self.end / self.start).powf(share)
    }
}

impl LrCurve {
    /// The rate at which the smoothed loss falls fastest per decade. As in fastai the first tenth of
    /// the points and the last five are left out. `None` if it falls nowhere.
    pub fn suggestion(&self) -> Option<f64> {
        let slope = |pair: &[LrPoint]| {
            (pair[1].smoothed - pair[0].smoothed) / (pair[1].lr / pair[0].lr).ln()
        };
        let end = self.points.len().saturating_sub(5);
        let inner = self.points.get(self.points.len() / 10..end)?;
        let slopes = inner.windows(2).map(|pair| (pair[0].lr, slope(pair)));
        let steepest = slopes.min_by(|a, b| a.1.total_cmp(&b.1));
        // Below that a slope is the rounding of the mean.
        let least = -1e-9 * inner.first()?.smoothed.abs();
        steepest
            .filter(|(_, slope)| *slope < least)
            .map(|(lr, _)| lr)
    }

    /// A tenth of the rate at which the smoothed loss is lowest: the more careful choice.
    pub fn tenth_of_lowest(&self) -> Option<f64> {
        let by_loss = |a: &&LrPoint, b: &&LrPoint| a.smoothed.total_cmp(&b.smoothed);
        self.points
            .iter()
            .min_by(by_loss)
            .map(|point| point.lr / 10.0)
    }
}

impl Optimizer {
    /// Runs a range test: `loss` gives the loss of the next batch. Parameters, slots and rate are
    /// then as they were, also if it fails.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use dl_optim::{LrRange, Optimizer, Sgd};
    /// let x = Var::new(1.0_f64, &Device::Cpu)?;
    /// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd::default())?;
    /// let range = LrRange { smoothing: 0.0, ..LrRange::default() };
    /// let curve = sgd.find_lr(&range, || x.sqr())?;
    /// let lr = curve.suggestion().expect("the loss falls");
    /// assert!(lr > 0.01 && lr < 1.0 && curve.diverged); // beyond 1 it grows
    /// assert_eq!((x.to_scalar::<f64>()?, sgd.lr(), sgd.steps()), (1.0, 1e-3, 0));
    /// # Ok::<(), dl_optim::Error>(())
    /// ```
    pub fn find_lr(
        &mut self,
        range: &LrRange,
        mut loss: impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<LrCurve> {
        let (state, lr) = (self.state()?, self.lr);
        let mut own = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            own.push(parameter.var.detach().copy()?);
        }
        let curve = range.run(|lr| {
            let loss = loss()?;
            let value = loss.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
            if value.is_finite() {
                self.set_lr(lr);
                self.backward_step(&loss)?;
            }
            Ok(value)
        });
        for (parameter, own) in self.parameters.iter().zip(&own) {
            if own.elem_count() > 0 {
                parameter.var.set(own)?;
            }
        }
        self.load_state(&state)?;
        self.lr = lr;
        curve
    }
}

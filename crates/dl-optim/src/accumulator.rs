//! One step from several batches.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::real::Composed;
use crate::rule::require;
use crate::sweep::{self, Intake, Rows};
use crate::update::slot_dtype;
use crate::{Kernel, Optimizer, Real, Result};

/// Adds up the gradients of batches, so that a step on their mean is the step of one large batch.
///
/// ```text
/// ḡ = Σ nᵢ gᵢ / Σ nᵢ
/// ```
///
/// Each batch is the mean over its nᵢ samples and counts that much, so a smaller last batch, or a
/// last step of fewer batches, is right. PyTorch's usual division by a fixed number of batches is
/// not. f16 and bf16 gradients are added up in f32. The sums are kept and written over.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use dl_optim::{Accumulator, Optimizer, Sgd};
/// let x = Var::new(0.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 1.0, ..Sgd::default() })?;
/// let mut accumulator = Accumulator::new(&sgd);
/// for batch in [vec![1.0, 2.0], vec![6.0]] {
///     let data = Tensor::new(batch.as_slice(), &Device::Cpu)?;
///     let loss = (x.broadcast_sub(&data)?.sqr()?.mean_all()? * 0.5)?;
///     accumulator.add(&loss.backward()?, batch.len())?;
/// }
/// accumulator.step(&mut sgd)?;
/// assert_eq!(x.to_scalar::<f64>()?, 3.0); // the mean of all three
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Accumulator {
    sums: BTreeMap<String, Sum>,
    samples: usize,
    batches: usize,
}

#[derive(Debug)]
struct Sum {
    var: Var,
    /// Allocated at the first gradient.
    total: Option<Tensor>,
    /// Whether a gradient came since the last step.
    touched: bool,
}

impl Accumulator {
    /// An empty sum of gradients of the parameters of this optimizer.
    pub fn new(optimizer: &Optimizer) -> Self {
        let sums = optimizer.parameters().map(|(name, var)| {
            let (var, total, touched) = (var.clone(), None, false);
            let sum = Sum {
                var,
                total,
                touched,
            };
            (name.to_string(), sum)
        });
        Self {
            sums: sums.collect(),
            samples: 0,
            batches: 0,
        }
    }

    /// Adds the gradients of the mean loss over so many samples. A parameter without a gradient
    /// adds nothing.
    pub fn add(&mut self, grads: &GradStore, samples: usize) -> Result<()> {
        for sum in self.sums.values_mut() {
            if let Some(gradient) = grads.get(&sum.var) {
                sum.add(gradient, samples as f64)?;
            }
        }
        self.samples += samples;
        self.batches += 1;
        Ok(())
    }

    /// Samples since the last step.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Batches since the last step.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Takes one step on the mean over all samples, and begins anew. Fails if there are none.
    pub fn step(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        let (sums, by) = self.sums()?;
        optimizer.step_scaled(&sums, by)?;
        self.clear();
        Ok(())
    }

    /// The sums over samples, and what makes them means: for
    /// [`LossScaler::step_scaled`](crate::LossScaler::step_scaled). Fails if there are no samples.
    pub fn sums(&self) -> Result<(GradStore, f64)> {
        let samples = self.samples as f64;
        require(samples > 0.0, "accumulator", "samples", "> 0", samples)?;
        let mut grads = GradStore::default();
        for sum in self.sums.values().filter(|sum| sum.touched) {
            if let Some(total) = &sum.total {
                grads.insert(&sum.var, total.clone());
            }
        }
        Ok((grads, 1.0 / samples))
    }

    /// Forgets what was added.
    pub fn clear(&mut self) {
        (self.samples, self.batches) = (0, 0);
        for sum in self.sums.values_mut() {
            sum.touched = false;
        }
    }
}

impl Sum {
    fn add(&mut self, gradient: &Tensor, weight: f64) -> candle_core::Result<()> {
        let dtype: DType = slot_dtype(self.var.dtype());
        let gradient = gradient.detach().to_dtype(dtype)?;
        let total = match &self.total {
            Some(total) => total.clone(),
            None => gradient.zeros_like()?,
        };
        let kernel = Add {
            fresh: !self.touched,
            weight,
        };
        self.touched = true;
        if sweep::can_sweep(&total) && total.shape() == gradient.shape() {
            sweep::sweep::<0, _>(
                &total,
                &gradient,
                &[],
                Intake::UNCHANGED,
                Rows::All,
                &kernel,
            )?;
            self.total = Some(total);
        } else {
            let [total, gradient] = [total, gradient].map(|tensor| Composed::new(Ok(tensor)));
            self.total = Some(kernel.apply(total, gradient, []).0.finish()?);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Add {
    fresh: bool,
    weight: f64,
}

impl Kernel<0> for Add {
    // Fresh is not the same as times 0: what was there may be infinite.
    #[inline(always)]
    fn apply<R: Real>(&self, total: R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        let g = g.scale(self.weight);
        (if self.fresh { g } else { total + g }, [])
    }
}

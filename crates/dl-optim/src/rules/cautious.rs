//! Caution, for every rule with a momentum.

use crate::{Basics, Error, Options, Result, Rule, Slot, Update};

/// A rule whose steps leave out the elements that would go up along the gradient of the moment (Liang
/// et al., 2024).
///
/// ```text
/// uₜ = the rule's step, without decoupled weight decay
/// φₜ = 1 where uₜ gₜ > 0, else 0
/// θₜ = θₜ₋₁ − uₜ φₜ d / (‖φₜ‖₁ + 1)                (d elements)
/// ```
///
/// It has the slots and the name of the rule it wraps, so that it goes on from that rule's state and
/// the other way round; [`rule_named`](crate::rule_named) makes one from the option
/// `"cautious": true`. Weight decay that is added to the gradient is part of gₜ; decoupled decay is
/// not masked.
///
/// The scale is the paper's and pytorch_optimizer's; the authors' code divides by the mean of φ, at
/// least 10⁻³, instead. The paper writes `>= 0`, both codes `> 0`. The whole step is masked:
/// pytorch_optimizer's AdEMAMix masks its fast moment alone. Costs one more pass that reads.
///
/// Source: K. Liang, L. Chen, B. Liu, Q. Liu, 2024, Cautious Optimizers: Improving Training with One
/// Line of Code.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Cautious, Optimizer, Sgd};
/// let x = Var::new(&[1.0_f64, 1.0], &Device::Cpu)?;
/// let sgd = Sgd { lr: 0.25, momentum: 0.5, ..Sgd::default() };
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Cautious::new(sgd))?;
/// optimizer.step(&x.sum_all()?.backward()?)?; // 1 − 0.25 · 2 / (2 + 1)
/// let turned = (x.get(0)? - (x.get(1)? * 0.25)?)?;
/// optimizer.step(&turned.backward()?)?; // velocities 1.5 and 0.25: the second would go up
/// let x = x.to_vec1::<f64>()?;
/// assert!((x[0] - 11.0 / 24.0).abs() < 1e-12 && (x[1] - 5.0 / 6.0).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Cautious {
    rule: Box<dyn Rule>,
}

impl Cautious {
    /// This rule, with caution. An optimizer refuses it if the rule has no momentum, or does not step
    /// along it.
    pub fn new(rule: impl Into<Box<dyn Rule>>) -> Self {
        Self { rule: rule.into() }
    }
}

impl Options for Cautious {
    fn options(&self) -> serde_json::Value {
        let mut options = self.rule.options();
        if let Some(options) = options.as_object_mut() {
            options.insert("cautious".to_string(), true.into());
        }
        options
    }
}

impl Rule for Cautious {
    fn basics(&self) -> Basics {
        self.rule.basics()
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        self.rule.slots(shape)
    }
    fn validate(&self) -> Result<()> {
        self.rule.validate()?;
        match self.rule.can_be_cautious() {
            true => Ok(()),
            false => Err(Error::NoCaution {
                rule: self.rule.basics().name,
            }),
        }
    }
    fn refuses(&self, shape: &[usize]) -> Option<&'static str> {
        self.rule.refuses(shape)
    }
    fn shared(&self) -> Vec<(&'static str, f64)> {
        self.rule.shared()
    }
    fn measure(&self, at: &mut Update<'_>) -> candle_core::Result<[f64; 2]> {
        self.rule.measure(at)
    }
    fn agree(&self, shared: &mut [f64], sums: [f64; 2], lr: f64) -> bool {
        self.rule.agree(shared, sums, lr)
    }
    fn interpolates(&self) -> Option<f64> {
        self.rule.interpolates()
    }
    fn can_be_cautious(&self) -> bool {
        self.rule.can_be_cautious()
    }
    fn update(&self, mut at: Update<'_>) -> candle_core::Result<()> {
        at.cautious = true;
        self.rule.update(at)
    }
}

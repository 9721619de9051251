//! Sharpness-aware minimisation.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::rule::require_not_negative;
use crate::update::slot_dtype;
use crate::{NormType, Optimizer, Result};

/// Steps by the gradient at the worst place nearby, so that flat minima are found.
///
/// ```text
/// ε = ρ g / ‖g‖₂                          SAM
/// ε = ρ θ² g / ‖|θ| g‖₂                   ASAM
/// a step of the optimizer at θ on the gradient at θ + ε
/// ```
///
/// Costs two gradients a step. As in D. Samuel's implementation, 10⁻¹² is added to the norm; the
/// η of the ASAM paper is 0.
///
/// Sources: P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, 2021, Sharpness-Aware Minimization for
/// Efficiently Improving Generalization; J. Kwon, J. Kim, H. Park, I. Choi, 2021, ASAM.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Optimizer, Sam, Sgd};
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 0.25, ..Sgd::default() })?;
/// let loss = Sam { rho: 0.5, adaptive: false }.step(&mut sgd, || {
///     let loss = x.sqr()?;
///     Ok((loss.to_scalar::<f64>()?, loss.backward()?))
/// })?;
/// assert_eq!(loss, 1.0);
/// assert!((x.to_scalar::<f64>()? - 0.25).abs() < 1e-9); // 1 − 0.25 · 2 · 1.5
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sam {
    /// How far the worst place is looked for, ρ, `>= 0`. Default 0.05; ASAM's is 2 with its own
    /// measure.
    pub rho: f64,
    /// Measures the distance by the size of each weight (ASAM). Default `false`.
    pub adaptive: bool,
}

impl Default for Sam {
    fn default() -> Self {
        Self {
            rho: 0.05,
            adaptive: false,
        }
    }
}

impl Sam {
    /// Takes one step. `gradients` computes the loss and its gradients at the parameters as they
    /// are, and is called twice; the first loss, that of the unmoved parameters, is returned.
    ///
    /// The parameters are put back bit for bit before the step, also if the second call fails. In
    /// training mode batch norms see the batch twice, as in the authors' code.
    pub fn step<T>(
        &self,
        optimizer: &mut Optimizer,
        mut gradients: impl FnMut() -> Result<(T, GradStore)>,
    ) -> Result<T> {
        require_not_negative("sam", "rho", self.rho)?;
        let (loss, first) = gradients()?;
        let moved: Vec<(Var, Tensor)> = self.perturbed(optimizer, &first)?;
        let mut own = Vec::with_capacity(moved.len());
        for (var, _) in &moved {
            own.push(var.detach().copy()?);
        }
        let second = swap_in(&moved).and_then(|()| gradients());
        for ((var, _), own) in moved.iter().zip(&own) {
            var.set(own)?;
        }
        optimizer.step(&second?.1)?;
        Ok(loss)
    }

    /// The parameters that have a gradient, and where they are worst.
    fn perturbed(&self, optimizer: &Optimizer, grads: &GradStore) -> Result<Vec<(Var, Tensor)>> {
        let mut found = Vec::new();
        for (_, var) in optimizer.parameters() {
            let gradient = grads.get(var).filter(|g| g.elem_count() > 0);
            if let Some(gradient) = gradient {
                let dtype = slot_dtype(var.dtype());
                let gradient = gradient.detach().to_dtype(dtype)?;
                let theta = var.detach().to_dtype(dtype)?;
                let scaled = match self.adaptive {
                    true => (&gradient * theta.abs()?)?,
                    false => gradient,
                };
                found.push((var.clone(), theta, scaled));
            }
        }
        let norm = NormType::L2.of(found.iter().map(|(_, _, scaled)| scaled))?;
        let length = self.rho / (norm + 1e-12);
        let place = |(var, theta, scaled): (Var, Tensor, Tensor)| {
            let epsilon = match self.adaptive {
                true => (scaled * theta.abs()?)?,
                false => scaled,
            };
            let there = (theta + (epsilon * length)?)?.to_dtype(var.dtype())?;
            Ok((var, there))
        };
        Ok(found
            .into_iter()
            .map(place)
            .collect::<candle_core::Result<_>>()?)
    }
}

fn swap_in(moved: &[(Var, Tensor)]) -> Result<()> {
    for (var, there) in moved {
        var.set(there)?;
    }
    Ok(())
}

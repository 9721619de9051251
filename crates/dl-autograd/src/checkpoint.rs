//! Activation checkpointing: a segment's activations computed again in backward instead of kept.

use std::cell::Cell;
use std::collections::HashSet;

use candle_core::{DType, Result, Tensor, Var, bail};

use crate::autocast::{self, Autocast};
use crate::many_inputs::CustomOpN;
use crate::no_grad::no_grad;
use crate::rng_scope::{RngScope, State, state};
use crate::tape::{Tape, apply_n, backward_from};

thread_local! {
    static RECOMPUTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a checkpointed segment runs for the second time: what a forward changes besides its
/// result, such as running statistics, must not be changed again.
pub fn is_recomputing() -> bool {
    RECOMPUTING.get()
}

/// Runs `segment(inputs)` without keeping its activations; backward runs it again.
///
/// `vars` are the parameters that the segment uses. Random numbers drawn from the current
/// [`RngScope`] are drawn again from the same streams, so the gradients have the bits that they
/// would have without checkpointing. The memory saved is all that the segment keeps for its
/// backward; the price is one more forward of it. A gradient that arrives at a Var which is not in
/// `vars` is an error in backward: it would be lost.
///
/// Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_autograd::{checkpoint, mul, relu};
/// let w = Var::new(&[2f32, 3.], &Device::Cpu)?;
/// let x = Var::new(&[1f32, -1.], &Device::Cpu)?;
/// let in_segment = w.as_tensor().clone();
/// let y = checkpoint(&[&x], &[w.clone()], move |x| relu(&mul(&x[0], &in_segment)?))?;
/// let grads = y.sum_all()?.backward()?;
/// assert_eq!(grads.get(&w).unwrap().to_vec1::<f32>()?, [1., 0.]);
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [2., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn checkpoint(
    inputs: &[&Tensor],
    vars: &[Var],
    segment: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let rng = state();
    let detached: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
    let value = no_grad(|| segment(&detached))?.detach();
    let mut all = inputs.to_vec();
    all.extend(vars.iter().map(Var::as_tensor));
    let op = Segment {
        segment,
        rng,
        autocast: autocast::current(),
        inputs: inputs.len(),
    };
    apply_n(&all, value, op)
}

struct Segment<F> {
    segment: F,
    rng: State,
    autocast: Option<DType>,
    inputs: usize,
}

/// Sets the flag of [`is_recomputing`] while it lives.
struct Recomputing(bool);

impl Recomputing {
    fn start() -> Self {
        Self(RECOMPUTING.replace(true))
    }
}

impl Drop for Recomputing {
    fn drop(&mut self) {
        RECOMPUTING.set(self.0);
    }
}

impl<F: Fn(&[Tensor]) -> Result<Tensor>> Segment<F> {
    fn again(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let _products = Autocast::of(self.autocast);
        (self.segment)(inputs)
    }
}

impl<F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync> CustomOpN for Segment<F> {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn bwd(&self, all: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let _scope = RngScope::resume(self.rng);
        let _recomputing = Recomputing::start();
        let _tape = Tape::new();
        let (inputs, vars) = all.split_at(self.inputs);
        let leaves = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
        let y = self.again(&leaves)?;
        let mut grads = backward_from(&y, dy)?;
        let wanted: Vec<&Tensor> = leaves.iter().chain(vars).collect();
        let found = wanted.iter().map(|x| grads.remove(x).map(|g| g.detach()));
        let found: Vec<_> = found.collect();
        no_other_var(&grads, &y, &wanted)?;
        let or_zeros = |(x, g): (&Tensor, Option<Tensor>)| match g {
            None if x.track_op() => x.zeros_like().map(Some),
            g => Ok(g),
        };
        all.iter().zip(found).map(or_zeros).collect()
    }
}

/// A leaf with the values of a tensor, if a gradient is wanted for it.
fn leaf(x: &Tensor) -> Result<Tensor> {
    match x.track_op() {
        true => Ok(Var::from_tensor(&x.detach())?.into_inner()),
        false => Ok(x.clone()),
    }
}

fn no_other_var(
    grads: &candle_core::backprop::GradStore,
    y: &Tensor,
    wanted: &[&Tensor],
) -> Result<()> {
    let known: HashSet<_> = wanted.iter().map(|x| x.id()).collect();
    for var in y.sorted_nodes() {
        if var.is_variable() && !known.contains(&var.id()) && grads.get(var).is_some() {
            bail!(
                "the checkpointed segment uses a Var of shape {:?} that is not in `vars`: its gradient would be lost",
                var.shape()
            )
        }
    }
    Ok(())
}

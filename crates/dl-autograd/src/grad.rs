//! Gradients of a tensor with respect to chosen tensors, also as graphs of their own.

use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId, Var, bail};

use crate::tape::{Node, Tape, backward, covers, put_back, take};

/// The gradients of `Σ output` with respect to `inputs`, as `torch.autograd.grad`; `None` for an
/// input that the output does not depend on.
///
/// The inputs may be results in the middle of the graph if every operation between is on the
/// innermost [`Tape`]; with candle's own operations in between they must be Vars, or it is an error.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_autograd::{Tape, grad, mul, scale};
/// let x = Var::new(&[3f64], &Device::Cpu)?;
/// let _tape = Tape::new();
/// let doubled = scale(&x, 2.)?;
/// let g = grad(&mul(&doubled, &doubled)?, &[&doubled])?;
/// assert_eq!(g[0].as_ref().unwrap().to_vec1::<f64>()?, [12.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn grad(output: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let nodes = take().unwrap_or_default();
    let grads = match covers(&nodes, output) {
        true => walk(&nodes, output, inputs, &|node, dy| node.pull(dy), |g| {
            g.detach()
        }),
        false => by_candle(output, inputs),
    };
    put_back(nodes);
    grads
}

/// The same gradients as tensors that can be differentiated again: a gradient penalty, a
/// Hessian-vector product. PyTorch's `create_graph=True`.
///
/// Every operation between must be on the innermost [`Tape`] and have a differentiable backward:
/// linear, convolution, normalisation, attention, activations, softmax, cross-entropy, sums, products and
/// views of this crate have. One that has not is an error that names it. Derivatives of the
/// gradients come from [`backward`] as usual.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_autograd::{Tape, backward, grad_with_graph, mul, sum};
/// let x = Var::new(&[3f64], &Device::Cpu)?;
/// let _tape = Tape::new();
/// let cube = mul(&mul(&x, &x)?, &x)?;
/// let g = grad_with_graph(&cube, &[&x])?.remove(0).unwrap();
/// assert_eq!(g.to_vec1::<f64>()?, [27.]);
/// let second = backward(&sum(&g)?)?;
/// assert_eq!(second.get(&x).unwrap().to_vec1::<f64>()?, [18.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn grad_with_graph(output: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let nodes = take().unwrap_or_default();
    let grads = match covers(&nodes, output) {
        true => walk(&nodes, output, inputs, &pull_with_graph, |g| g),
        false => {
            bail!(
                "a differentiable gradient needs every operation on the tape: one of candle's own is in the way"
            )
        }
    };
    put_back(nodes);
    grads
}

fn pull_with_graph(node: &Node, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    match node.pull_with_graph(dy)? {
        Some(grads) => Ok(grads),
        None => bail!("{} has no differentiable backward", node.name()),
    }
}

type PullOf<'a> = &'a dyn Fn(&Node, &Tensor) -> Result<Vec<Option<Tensor>>>;

fn walk(
    nodes: &[Node],
    output: &Tensor,
    inputs: &[&Tensor],
    pull: PullOf,
    finish: impl Fn(Tensor) -> Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let mut grads: HashMap<TensorId, Tensor> = HashMap::new();
    grads.insert(output.id(), output.ones_like()?);
    let kept = |id| inputs.iter().any(|x| x.id() == id);
    for node in nodes.iter().rev() {
        let id = node.output.id();
        let dy = match kept(id) {
            true => grads.get(&id).cloned(),
            false => grads.remove(&id),
        };
        let Some(dy) = dy else { continue };
        for (input, g) in node.inputs.iter().zip(pull(node, &dy)?) {
            let Some(g) = g.filter(|_| input.track_op()) else {
                continue;
            };
            let sum = match grads.remove(&input.id()) {
                Some(old) => (old + g)?,
                None => g,
            };
            grads.insert(input.id(), finish(sum));
        }
    }
    Ok(inputs.iter().map(|x| grads.get(&x.id()).cloned()).collect())
}

fn by_candle(output: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    if let Some(i) = inputs.iter().position(|x| !x.is_variable()) {
        bail!("input {i} of grad is no Var, and an operation of candle's own is not on the tape")
    }
    let grads = output.backward()?;
    let get = |x: &&Tensor| grads.get(x).map(|g| g.detach());
    Ok(inputs.iter().map(get).collect())
}

/// `H·v`: the Hessian of the scalar `f(vars)` times the direction `v`, without the Hessian.
///
/// ```text
/// H·v = ∇ₓ (∇ₓf · v)
/// ```
///
/// `v` has the shapes of `vars`. The conditions on `f` are those of [`grad_with_graph`].
///
/// Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use dl_autograd::{hessian_vector_product, mul, sum};
/// let x = Var::new(&[1f64, 2.], &Device::Cpu)?;
/// let v = Tensor::new(&[1f64, -1.], &Device::Cpu)?;
/// // f = Σ x³ has the Hessian diag(6x).
/// let f = |x: &[candle_core::Tensor]| sum(&mul(&mul(&x[0], &x[0])?, &x[0])?);
/// let hv = hessian_vector_product(f, &[x], &[v])?;
/// assert_eq!(hv[0].to_vec1::<f64>()?, [6., -12.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hessian_vector_product(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    vars: &[Var],
    v: &[Tensor],
) -> Result<Vec<Tensor>> {
    if vars.len() != v.len() {
        bail!(
            "a direction for each of {} Vars is needed, got {}",
            vars.len(),
            v.len()
        )
    }
    let _tape = Tape::new();
    let tensors: Vec<Tensor> = vars.iter().map(|x| x.as_tensor().clone()).collect();
    let grads = grad_with_graph(&f(&tensors)?, &tensors.iter().collect::<Vec<_>>())?;
    let mut along = vec![];
    for (g, v) in grads.into_iter().zip(v) {
        if let Some(g) = g {
            along.push((g * v)?.sum_all()?);
        }
    }
    let zeros = || tensors.iter().map(Tensor::zeros_like).collect();
    let tracked: Vec<&Tensor> = along.iter().filter(|t| t.track_op()).collect();
    let Some((first, rest)) = tracked.split_first() else {
        return zeros();
    };
    let sum = rest.iter().try_fold((*first).clone(), |sum, t| sum + *t)?;
    let second = backward(&sum)?;
    let get = |x: &Tensor| {
        second
            .get(x)
            .map_or_else(|| x.zeros_like(), |g| Ok(g.detach()))
    };
    tensors.iter().map(get).collect()
}

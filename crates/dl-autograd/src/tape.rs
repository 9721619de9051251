//! Backward over the operations of this crate without candle's walk.
//!
//! candle's walk adds every gradient to a tensor of zeros, three passes over memory an edge. While a
//! [`Tape`] lives, the operations of this crate note what they did beside candle's graph, and
//! [`backward`] follows the notes: a gradient that arrives alone is taken as it is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, TensorId};

use crate::autocast::Autocast;
use crate::host::{narrow_to, same_shape, same_type, widen};
use crate::many_inputs::{self, CustomOpN, Value};
use crate::no_grad::{no_grad, operand};

thread_local! {
    static TAPES: RefCell<Vec<Vec<Node>>> = const { RefCell::new(Vec::new()) };
}

/// One operation that ran: what it took, what it gave and how to go back.
pub(crate) struct Node {
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) output: Tensor,
    op: Op,
    differentiable: Option<Pull>,
}

/// From an operation's inputs, output and the output's gradient to the gradient of each input.
pub(crate) type Pull = Box<dyn Fn(&[Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>>>;

enum Op {
    One(Arc<Box<dyn CustomOp1 + Send + Sync>>),
    Two(Arc<Box<dyn CustomOp2 + Send + Sync>>),
    Three(Arc<Box<dyn CustomOp3 + Send + Sync>>),
    Many(Arc<dyn CustomOpN>),
    /// An operation of candle's whose pull is differentiable as it is.
    Candle(Pull),
}

impl Node {
    /// The gradient of each input that has one.
    pub(crate) fn pull(&self, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (i, y) = (&self.inputs, &self.output);
        Ok(match &self.op {
            Op::One(op) => vec![op.bwd(&i[0], y, grad)?],
            Op::Two(op) => {
                let (a, b) = op.bwd(&i[0], &i[1], y, grad)?;
                vec![a, b]
            }
            Op::Three(op) => {
                let (a, b, c) = op.bwd(&i[0], &i[1], &i[2], y, grad)?;
                vec![a, b, c]
            }
            Op::Many(op) => op.bwd(i, y, grad)?,
            Op::Candle(pull) => pull(i, y, grad)?,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.op {
            Op::One(op) => op.name(),
            Op::Two(op) => op.name(),
            Op::Three(op) => op.name(),
            Op::Many(op) => op.name(),
            Op::Candle(_) => "an operation of candle",
        }
    }

    /// The same as a graph that can be differentiated again, or nothing if this operation has none.
    pub(crate) fn pull_with_graph(&self, grad: &Tensor) -> Result<Option<Vec<Option<Tensor>>>> {
        let pull = match (&self.differentiable, &self.op) {
            (Some(pull), _) | (None, Op::Candle(pull)) => pull,
            _ => return Ok(None),
        };
        pull(&self.inputs, &self.output, grad).map(Some)
    }
}

/// Records the operations of this crate on the current thread for [`backward`], until it is dropped.
///
/// It holds the tensors of the forward, so it should live for one step. Tapes nest: the innermost
/// records.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[-1f32, 2.], &Device::Cpu)?;
/// let _tape = dl_autograd::Tape::new();
/// let loss = dl_autograd::sum(&dl_autograd::relu(&x)?)?;
/// let grads = dl_autograd::backward(&loss)?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[must_use = "the tape ends when it is dropped"]
pub struct Tape {
    // Bound to the thread whose operations it records.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Tape {
    /// Starts to record.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        TAPES.with_borrow_mut(|tapes| tapes.push(vec![]));
        Self {
            _thread: std::marker::PhantomData,
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        // Taken out first: dropping the tensors must not happen while the list is borrowed.
        let _nodes = TAPES.with_borrow_mut(|tapes| tapes.pop());
    }
}

/// Takes what the innermost tape holds.
pub(crate) fn take() -> Option<Vec<Node>> {
    TAPES.with_borrow_mut(|tapes| tapes.last_mut().map(std::mem::take))
}

/// Gives nodes taken by [`take`] back, before those recorded since.
pub(crate) fn put_back(mut nodes: Vec<Node>) {
    TAPES.with_borrow_mut(|tapes| {
        if let Some(tape) = tapes.last_mut() {
            nodes.append(tape);
            *tape = nodes;
        }
    });
}

/// Gives the operation that made `y`, if it was recorded just now, a backward that can itself be
/// differentiated.
pub(crate) fn differentiable(
    y: Tensor,
    pull: impl Fn(&[Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
) -> Tensor {
    TAPES.with_borrow_mut(|tapes| {
        let Some(tape) = tapes.last_mut() else { return };
        if tape.last().is_none_or(|node| node.output.id() != y.id()) {
            return;
        }
        // Behind the operation may stand the cast of its result to half precision.
        let ours = tape
            .iter_mut()
            .rev()
            .take(2)
            .find(|n| !matches!(n.op, Op::Candle(_)));
        if let Some(node) = ours {
            node.differentiable = Some(Box::new(pull));
        }
    });
    y
}

/// Records an operation of candle's, which is part of candle's graph by itself.
pub(crate) fn candle_op(
    inputs: &[&Tensor],
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    pull: impl Fn(&[Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
) -> Result<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| operand(x)).collect();
    let y = f(&inputs)?;
    record(
        &inputs.iter().collect::<Vec<_>>(),
        &y,
        Op::Candle(Box::new(pull)),
    );
    Ok(y)
}

fn record(inputs: &[&Tensor], output: &Tensor, op: Op) {
    if !output.track_op() {
        return;
    }
    TAPES.with_borrow_mut(|tapes| {
        if let Some(tape) = tapes.last_mut() {
            tape.push(Node {
                inputs: inputs.iter().map(|&x| x.clone()).collect(),
                output: output.clone(),
                op,
                differentiable: None,
            });
        }
    });
}

pub(crate) fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp1 + Send + Sync>> = Arc::new(Box::new(op));
    let (dtype, x) = (x.dtype(), widen(operand(x))?);
    let y = x.apply_op1_arc(op.clone())?;
    record(&[&x], &y, Op::One(op));
    narrow_to(y, dtype)
}

pub(crate) fn apply2(
    x: &Tensor,
    y: &Tensor,
    op: impl CustomOp2 + Send + Sync + 'static,
) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp2 + Send + Sync>> = Arc::new(Box::new(op));
    let dtype = x.dtype();
    let (x, y) = (widen(operand(x))?, widen(operand(y))?);
    let z = x.apply_op2_arc(&y, op.clone())?;
    record(&[&x, &y], &z, Op::Two(op));
    narrow_to(z, dtype)
}

pub(crate) fn apply3(
    x: &Tensor,
    y: &Tensor,
    z: &Tensor,
    op: impl CustomOp3 + Send + Sync + 'static,
) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp3 + Send + Sync>> = Arc::new(Box::new(op));
    let dtype = x.dtype();
    let (x, y, z) = (widen(operand(x))?, widen(operand(y))?, widen(operand(z))?);
    let out = x.apply_op3_arc(&y, &z, op.clone())?;
    record(&[&x, &y, &z], &out, Op::Three(op));
    narrow_to(out, dtype)
}

/// Makes `value`, computed from `inputs` outside of any graph, the result of `op` on them. candle's
/// own custom ops end at three inputs.
pub(crate) fn apply_n(
    inputs: &[&Tensor],
    value: impl Into<Value>,
    op: impl CustomOpN + 'static,
) -> Result<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| operand(x)).collect();
    let value = value.into();
    if !inputs.iter().any(Tensor::track_op) {
        return Ok(value.tensor());
    }
    let op: Arc<dyn CustomOpN> = Arc::new(op);
    let y = many_inputs::link(&inputs, value, &op)?;
    record(&inputs.iter().collect::<Vec<_>>(), &y, Op::Many(op));
    Ok(y)
}

/// The gradients of `loss`, a scalar or the sum of its elements: what candle's `loss.backward()`
/// gives for the Vars.
///
/// Where every operation between the loss and the Vars is on the innermost [`Tape`], that is
/// followed; where one is not, the whole graph is left to candle's own walk, so that no gradient is
/// lost. Differs from candle in that gradients of untracked operands are never in the store.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let _off = Autocast::off();
    match take() {
        Some(nodes) if covers(&nodes, loss) => follow(nodes, loss, loss.ones_like()?),
        _ => loss.backward(),
    }
}

/// The gradients of `Σ y ⊙ dy`: of a tensor whose elements count with the weights `dy`, of the shape and
/// type of `y`, without a node for the sum. PyTorch's `y.backward(gradient=dy)`.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use dl_autograd::{Tape, backward_from, mul};
/// let x = Var::new(&[2f32, 3.], &Device::Cpu)?;
/// let _tape = Tape::new();
/// let y = mul(&x, &x)?;
/// let grads = backward_from(&y, &Tensor::new(&[1f32, 10.], &Device::Cpu)?)?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [4., 60.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn backward_from(y: &Tensor, dy: &Tensor) -> Result<GradStore> {
    same_shape("backward_from", ("y", y), ("dy", dy))?;
    same_type("backward_from", ("y", y), &[("dy", dy)])?;
    let _off = Autocast::off();
    match take() {
        Some(nodes) if covers(&nodes, y) => follow(nodes, y, dy.clone()),
        _ => (y * dy)?.sum_all()?.backward(),
    }
}

/// Whether every tracked tensor that the loss depends on is a Var or a result on the tape.
pub(crate) fn covers(nodes: &[Node], loss: &Tensor) -> bool {
    let by_id: HashMap<TensorId, &Node> = nodes.iter().map(|n| (n.output.id(), n)).collect();
    let mut seen: HashMap<TensorId, ()> = HashMap::new();
    let mut open = vec![loss];
    while let Some(tensor) = open.pop() {
        if !tensor.track_op() || tensor.is_variable() || seen.insert(tensor.id(), ()).is_some() {
            continue;
        }
        match by_id.get(&tensor.id()) {
            Some(node) => open.extend(&node.inputs),
            None => return false,
        }
    }
    loss.track_op()
}

fn follow(mut nodes: Vec<Node>, loss: &Tensor, seed: Tensor) -> Result<GradStore> {
    let mut vars = GradStore::default();
    let mut grads: HashMap<TensorId, Tensor> = HashMap::new();
    grads.insert(loss.id(), seed);
    // Recorded in the order of execution, so every use of a result comes before it here.
    while let Some(node) = nodes.pop() {
        let Some(grad) = grads.remove(&node.output.id()) else {
            continue;
        };
        for (input, grad) in node.inputs.iter().zip(node.pull(&grad)?) {
            let Some(grad) = grad.filter(|_| input.track_op()) else {
                continue;
            };
            if input.is_variable() {
                let sum = add(vars.remove(input), grad)?;
                vars.insert(input, sum);
            } else {
                let sum = add(grads.remove(&input.id()), grad)?;
                grads.insert(input.id(), sum);
            }
        }
    }
    Ok(vars)
}

fn add(old: Option<Tensor>, new: Tensor) -> Result<Tensor> {
    let new = new.detach();
    match old {
        Some(old) => Ok(no_grad(|| crate::add(&old, &new))?.detach()),
        None => Ok(new),
    }
}

//! The recurrence through time, for any cell: forward, backward and composed of other operations.

use std::marker::PhantomData;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::autocast::{self, Lowering};
use crate::cat::cat;
use crate::host::{
    cleared, has_kernel, if_tracked, narrow_to, read, repeated, room, tensor, widen, written,
};
use crate::lanes::column_sums;
use crate::linear::{linear, parallelism};
use crate::many_inputs::{CustomOpN, Value};
use crate::matmul::{Matrix, Write, matmul, product};
use crate::recurrent::packed::{Packed, Rows};
use crate::recurrent::plan::Plan;
use crate::recurrent::{Direction, RecurrentWeights};
use crate::simd::{Kernel, dispatch};
use crate::smooth::Smooth;
use crate::split::{split, unbind};
use crate::tape::apply_n;
use crate::view::{contiguous, reshape};

/// What a cell hands to the next step.
#[derive(Clone)]
pub(super) struct State {
    pub(super) h: Tensor,
    pub(super) c: Option<Tensor>,
}

/// One sequence at one step; `gates` holds the input's share.
pub(super) struct ForwardRow<'a, T> {
    pub(super) gates: &'a mut [T],
    pub(super) recurrent: &'a [T],
    pub(super) h: &'a mut [T],
    pub(super) c: &'a mut [T],
    pub(super) by_product: &'a mut [T],
}

/// The same in backward. `dh` and `dc` go from the state after the step to the one before it, `dh`
/// without what passes through the recurrent weight.
pub(super) struct BackwardRow<'a, T> {
    pub(super) gates: &'a [T],
    pub(super) by_product: &'a [T],
    pub(super) by_product_before: &'a [T],
    pub(super) h_before: &'a [T],
    pub(super) dh: &'a mut [T],
    pub(super) dc: &'a mut [T],
    pub(super) dx_gates: &'a mut [T],
    pub(super) dh_gates: &'a mut [T],
}

pub(super) trait Cell: Send + Sync + 'static {
    const NAME: &'static str;
    const GATES: usize;
    /// Tensors of the state: h, or h and c.
    const STATES: usize;
    /// Whether the two shares of the gates have different gradients.
    const SEPARATE: bool;

    fn step(from_input: &Tensor, from_state: &Tensor, state: &State) -> Result<State>;
    fn forward<T: Smooth, const FMA: bool>(row: ForwardRow<T>);
    fn backward<T: Smooth, const FMA: bool>(row: BackwardRow<T>);
}

/// The recurrence on operands in the type of a scope.
fn lowered<C: Cell>(
    scope: &Lowering,
    x: &Tensor,
    start: Option<Vec<Tensor>>,
    weights: &RecurrentWeights,
    lengths: Option<&[usize]>,
    direction: Direction,
) -> Result<(Tensor, State)> {
    let lower = |t: &Tensor| scope.lower(t);
    let start = start.map(|all| all.iter().map(lower).collect::<Result<Vec<_>>>());
    let bias = match &weights.bias {
        Some([a, b]) => Some([lower(a)?, lower(b)?]),
        None => None,
    };
    let weights = RecurrentWeights {
        weight_ih: lower(&weights.weight_ih)?,
        weight_hh: lower(&weights.weight_hh)?,
        bias,
    };
    let (y, end) = run::<C>(&lower(x)?, start.transpose()?, &weights, lengths, direction)?;
    let end = State {
        h: scope.raise(end.h, x)?,
        c: end.c.map(|c| scope.raise(c, x)).transpose()?,
    };
    Ok((scope.raise(y, x)?, end))
}

/// `start` has one tensor for each of the cell's states.
pub(super) fn run<C: Cell>(
    x: &Tensor,
    start: Option<Vec<Tensor>>,
    weights: &RecurrentWeights,
    lengths: Option<&[usize]>,
    direction: Direction,
) -> Result<(Tensor, State)> {
    if let Some(scope) = autocast::lowering() {
        return lowered::<C>(&scope, x, start, weights, lengths, direction);
    }
    let plan = Plan::new::<C>(x, start.as_deref(), weights, lengths, direction)?;
    let start = match start {
        Some(start) => start,
        None => {
            let zeros = Tensor::zeros((plan.batch, plan.hidden), x.dtype(), x.device())?;
            vec![zeros; C::STATES]
        }
    };
    if !has_kernel(x) {
        return composed::<C>(&plan, x, start, weights);
    }
    let mut operands = vec![x, &weights.weight_ih, &weights.weight_hh];
    operands.extend(&start);
    operands.extend(weights.bias.iter().flatten());
    let operands = operands.into_iter().map(|t| widen(contiguous(t)?));
    let operands: Vec<Tensor> = operands.collect::<Result<_>>()?;
    let all = match operands[0].dtype() {
        DType::F64 => whole::<C, f64>(plan.clone(), &operands)?,
        _ => whole::<C, f32>(plan.clone(), &operands)?,
    };
    let sizes = [&[plan.batch * plan.time][..], &vec![plan.batch; C::STATES]].concat();
    let mut parts = split(&narrow_to(all, x.dtype())?, &sizes, 0)?.into_iter();
    let y = parts
        .next()
        .map(|y| reshape(&y, (plan.batch, plan.time, plan.hidden)));
    match (y, parts.next()) {
        (Some(y), Some(h)) => Ok((y?, State { h, c: parts.next() })),
        _ => candle_core::bail!("{} has no state", C::NAME),
    }
}

/// One step after the other, out of other operations.
fn composed<C: Cell>(
    plan: &Plan,
    x: &Tensor,
    start: Vec<Tensor>,
    weights: &RecurrentWeights,
) -> Result<(Tensor, State)> {
    let [b_ih, b_hh] = match &weights.bias {
        Some([ih, hh]) => [Some(ih), Some(hh)],
        None => [None, None],
    };
    let from_input = unbind(&linear(x, &weights.weight_ih, b_ih)?, 1)?;
    let mut start = start.into_iter();
    let mut state = match start.next() {
        Some(h) => State { h, c: start.next() },
        None => candle_core::bail!("{} has no state", C::NAME),
    };
    let mut outputs = from_input.clone();
    for t in plan.steps() {
        let from_state = linear(&state.h, &weights.weight_hh, b_hh)?;
        let next = C::step(&from_input[t], &from_state, &state)?;
        (outputs[t], state) = masked(plan.mask(t), state, next)?;
    }
    let outputs: Vec<Tensor> = outputs
        .iter()
        .map(|y| y.unsqueeze(1))
        .collect::<Result<_>>()?;
    Ok((cat(&outputs.iter().collect::<Vec<_>>(), 1)?, state))
}

/// The output of a step, which is 0 for sequences that have ended, and the state, which they keep.
fn masked(mask: Option<Vec<u8>>, old: State, new: State) -> Result<(Tensor, State)> {
    let Some(mask) = mask else {
        return Ok((new.h.clone(), new));
    };
    let mask = Tensor::new(mask, new.h.device())?.unsqueeze(1)?;
    let mask = mask.broadcast_as(new.h.shape())?;
    let y = mask.where_cond(&new.h, &new.h.zeros_like()?)?;
    let h = mask.where_cond(&new.h, &old.h)?;
    let c = match (&new.c, &old.c) {
        (Some(new), Some(old)) => Some(mask.where_cond(new, old)?),
        _ => None,
    };
    Ok((y, State { h, c }))
}

/// Outputs and final states in one tensor, row after row: y, h and, if the cell has one, c.
fn whole<C: Cell, T: Smooth>(plan: Plan, operands: &[Tensor]) -> Result<Tensor> {
    let shape = (plan.batch * (plan.time + C::STATES), plan.hidden);
    let mut op = Recurrence::<C, T> {
        gates: input_share::<C, T>(&plan, operands)?,
        by_products: cleared(plan.batch * plan.time * plan.hidden),
        plan,
        cell: PhantomData,
    };
    let all = T::to_cpu_storage_owned(op.forward(operands)?);
    let all = Value::Host(all, shape.into());
    apply_n(&operands.iter().collect::<Vec<_>>(), all, op)
}

/// `W_ih·x` of all steps, and `b_ih` where it may not be added to the state's share.
fn input_share<C: Cell, T: Smooth>(plan: &Plan, operands: &[Tensor]) -> Result<Vec<T>> {
    let rows = plan.batch * plan.time;
    read::<T, _>(&operands[0], |x| {
        read::<T, _>(&operands[1], |w| {
            let x = (x, Matrix::new(rows, plan.inputs));
            let w = (w, Matrix::new(plan.width, plan.inputs).t());
            let threads = parallelism(rows * plan.inputs * plan.width);
            match operands.get(3 + C::STATES).filter(|_| C::SEPARATE) {
                None => Ok(product(x, w, threads)),
                Some(bias) => {
                    let mut gates = repeated(&values(bias)?, rows);
                    matmul(&mut gates, x, w, Write::Add, threads);
                    Ok(gates)
                }
            }
        })
    })
}

/// What is added to the state's share: `b_hh`, and `b_ih` where it may be added here.
fn state_bias<C: Cell, T: Smooth>(plan: &Plan, operands: &[Tensor]) -> Result<Vec<T>> {
    let mut bias = vec![T::zero(); plan.width];
    let biases = &operands[3 + C::STATES..];
    for b in &biases[biases.len().min(usize::from(C::SEPARATE))..] {
        read::<T, _>(b, |b| {
            bias.iter_mut().zip(b).for_each(|(sum, b)| *sum += *b);
            Ok(())
        })?;
    }
    Ok(bias)
}

/// The recurrence of one cell, with what its forward left for its backward.
struct Recurrence<C, T> {
    plan: Plan,
    /// `(batch, time, width)`: the gates behind their functions.
    gates: Vec<T>,
    /// `(batch, time, hidden)`.
    by_products: Vec<T>,
    cell: PhantomData<C>,
}

fn values<T: Smooth>(x: &Tensor) -> Result<Vec<T>> {
    read::<T, _>(x, |x| Ok(x.to_vec()))
}

impl<C: Cell, T: Smooth> Recurrence<C, T> {
    fn forward(&mut self, operands: &[Tensor]) -> Result<Vec<T>> {
        let Plan {
            batch,
            time,
            hidden,
            width,
            ..
        } = self.plan;
        let weight = read::<T, _>(&operands[2], |weight| {
            Ok(Packed::new(weight, (hidden, width), [1, hidden]))
        })?;
        let bias = state_bias::<C, T>(&self.plan, operands)?;
        let mut all = cleared(batch * (time + C::STATES) * hidden);
        let (y, ends) = all.split_at_mut(batch * time * hidden);
        let mut state: Vec<Vec<T>> = operands[3..3 + C::STATES]
            .iter()
            .map(values)
            .collect::<Result<_>>()?;
        state.resize(2, vec![T::zero(); batch * hidden]);
        let [h, c] = &mut state[..] else {
            candle_core::bail!("{} has no state", C::NAME)
        };
        let (plan, rows) = (&self.plan, self.plan.rows_of_a_task());
        let share = |per_row: usize| (rows * per_row).max(1);
        let tasks = self
            .gates
            .par_chunks_mut(share(time * width))
            .zip(self.by_products.par_chunks_mut(share(time * hidden)))
            .zip(y.par_chunks_mut(share(time * hidden)))
            .zip(h.par_chunks_mut(share(hidden)))
            .zip(c.par_chunks_mut(share(hidden)));
        tasks
            .enumerate()
            .for_each(|(i, ((((gates, by_products), y), h), c))| {
                dispatch(ForwardTask::<C, T> {
                    plan,
                    first: i * rows,
                    weight: &weight,
                    bias: &bias,
                    gates,
                    by_products,
                    y,
                    h,
                    c,
                    cell: PhantomData,
                });
            });
        for (end, state) in ends.chunks_exact_mut((batch * hidden).max(1)).zip(state) {
            end.copy_from_slice(&state);
        }
        Ok(all)
    }
}

/// Some sequences through all steps.
struct ForwardTask<'a, C, T> {
    plan: &'a Plan,
    first: usize,
    weight: &'a Packed<T>,
    bias: &'a [T],
    gates: &'a mut [T],
    by_products: &'a mut [T],
    y: &'a mut [T],
    h: &'a mut [T],
    c: &'a mut [T],
    cell: PhantomData<C>,
}

impl<C: Cell, T: Smooth> Kernel for ForwardTask<'_, C, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Plan {
            time,
            hidden,
            width,
            ..
        } = *self.plan;
        let count = self.h.len() / hidden;
        let mut recurrent = vec![T::zero(); count * width];
        for t in self.plan.steps() {
            for row in recurrent.chunks_exact_mut(width) {
                row.copy_from_slice(self.bias);
            }
            let h = Rows {
                values: self.h,
                stride: hidden,
                count,
            };
            self.weight.add_product(&mut recurrent, h);
            for r in (0..count).filter(|r| t < self.plan.length(self.first + r)) {
                let (at, state) = (r * time + t, r * hidden..(r + 1) * hidden);
                C::forward::<T, FMA>(ForwardRow {
                    gates: &mut self.gates[at * width..][..width],
                    recurrent: &recurrent[r * width..][..width],
                    h: &mut self.h[state.clone()],
                    c: &mut self.c[state.clone()],
                    by_product: &mut self.by_products[at * hidden..][..hidden],
                });
                self.y[at * hidden..][..hidden].copy_from_slice(&self.h[state]);
            }
        }
    }
}

/// The gradients that the way back through time leaves.
struct Passed<T> {
    /// Of the input's share of the gates, `(batch, time, width)`.
    from_input: Vec<T>,
    /// Of the state's share, where it is another.
    from_state: Vec<T>,
    /// Of the start.
    state: [Vec<T>; 2],
}

impl<C: Cell, T: Smooth> Recurrence<C, T> {
    /// `all` as [`whole`] gives it, and its gradient.
    fn back_through_time(&self, operands: &[Tensor], all: &[T], dall: &[T]) -> Result<Passed<T>> {
        let Plan {
            batch,
            time,
            hidden,
            width,
            ..
        } = self.plan;
        let weight = read::<T, _>(&operands[2], |weight| {
            Ok(Packed::new(weight, (width, hidden), [hidden, 1]))
        })?;
        let start: Vec<Vec<T>> = operands[3..3 + C::STATES]
            .iter()
            .map(values)
            .collect::<Result<_>>()?;
        let (steps, states) = (batch * time * hidden, batch * hidden);
        let mut passed = Passed {
            from_input: cleared(batch * time * width),
            from_state: cleared(if C::SEPARATE { batch * time * width } else { 0 }),
            state: [0, 1].map(|i| match dall[steps..].chunks_exact(states.max(1)).nth(i) {
                Some(state) => state.to_vec(),
                None => vec![T::zero(); states],
            }),
        };
        let (plan, rows) = (&self.plan, self.plan.rows_of_a_task());
        let share = |per_row: usize| (rows * per_row).max(1);
        let [dh, dc] = &mut passed.state;
        let (from_input, mut from_state) = (
            &mut passed.from_input,
            passed
                .from_state
                .chunks_mut(share(time * width))
                .map(Some)
                .collect::<Vec<_>>(),
        );
        from_state.resize_with(batch.div_ceil(rows.max(1)), || None);
        let tasks = from_input
            .par_chunks_mut(share(time * width))
            .zip(from_state)
            .zip(dh.par_chunks_mut(share(hidden)))
            .zip(dc.par_chunks_mut(share(hidden)));
        tasks
            .enumerate()
            .for_each(|(i, (((from_input, from_state), dh), dc))| {
                dispatch(BackwardTask::<C, T> {
                    plan,
                    first: i * rows,
                    weight: &weight,
                    start: &start,
                    gates: &self.gates,
                    by_products: &self.by_products,
                    y: &all[..steps],
                    dy: &dall[..steps],
                    from_input,
                    from_state,
                    dh,
                    dc,
                    cell: PhantomData,
                });
            });
        Ok(passed)
    }
}

/// Some sequences back through all steps; what is not mutable belongs to all of them.
struct BackwardTask<'a, C, T> {
    plan: &'a Plan,
    first: usize,
    weight: &'a Packed<T>,
    start: &'a [Vec<T>],
    gates: &'a [T],
    by_products: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    from_input: &'a mut [T],
    from_state: Option<&'a mut [T]>,
    dh: &'a mut [T],
    dc: &'a mut [T],
    cell: PhantomData<C>,
}

impl<C: Cell, T: Smooth> BackwardTask<'_, C, T> {
    /// The row of a sequence before step `t` in what belongs to all.
    fn before<'b>(&self, all: &'b [T], start: &'b [T], sequence: usize, t: usize) -> &'b [T] {
        let hidden = self.plan.hidden;
        match self.plan.before(sequence, t) {
            Some(before) => &all[(sequence * self.plan.time + before) * hidden..][..hidden],
            None => &start[sequence * hidden..][..hidden],
        }
    }

    #[inline(always)]
    fn row<const FMA: bool>(&mut self, r: usize, t: usize) {
        let Plan {
            time,
            hidden,
            width,
            ..
        } = *self.plan;
        let sequence = self.first + r;
        let (at, own) = (sequence * time + t, (r * time + t) * width);
        let no_start = &[][..];
        let (h0, c0) = (&self.start[0], self.start.get(1).map_or(no_start, |c| c));
        let h_before = self.before(self.y, h0, sequence, t);
        let by_product_before = match c0 {
            [] => no_start,
            c0 => self.before(self.by_products, c0, sequence, t),
        };
        let dh = &mut self.dh[r * hidden..][..hidden];
        let dy = &self.dy[at * hidden..][..hidden];
        dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += *dy);
        C::backward::<T, FMA>(BackwardRow {
            gates: &self.gates[at * width..][..width],
            by_product: &self.by_products[at * hidden..][..hidden],
            by_product_before,
            h_before,
            dh,
            dc: &mut self.dc[r * hidden..][..hidden],
            dx_gates: &mut self.from_input[own..][..width],
            dh_gates: match &mut self.from_state {
                Some(from_state) => &mut from_state[own..][..width],
                None => &mut [],
            },
        });
    }
}

impl<C: Cell, T: Smooth> Kernel for BackwardTask<'_, C, T> {
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let Plan {
            time,
            hidden,
            width,
            ..
        } = *self.plan;
        let count = self.dh.len() / hidden;
        for t in self.plan.steps().rev() {
            for r in 0..count {
                if t < self.plan.length(self.first + r) {
                    self.row::<FMA>(r, t);
                }
            }
            // Sequences that have ended have no gradient here yet, so nothing is added to theirs.
            let gates = self.from_state.as_deref().unwrap_or(self.from_input);
            let gates = Rows {
                values: &gates[t * width..],
                stride: time * width,
                count,
            };
            self.weight.add_product(self.dh, gates);
        }
    }
}

impl<C: Cell, T: Smooth> Recurrence<C, T> {
    /// `dᵀ·x` over all steps: the gradient of a weight.
    fn grad_weight(&self, d: &[T], x: &[T], inputs: usize) -> Result<Tensor> {
        let (rows, width) = (self.plan.batch * self.plan.time, self.plan.width);
        let threads = parallelism(rows * width * inputs);
        let d = (d, Matrix::new(rows, width).t());
        let dw = product(d, (x, Matrix::new(rows, inputs)), threads);
        tensor(dw, (width, inputs))
    }

    fn grad_input(&self, d: &[T], weight: &Tensor) -> Result<Tensor> {
        let (rows, inputs, width) = (
            self.plan.batch * self.plan.time,
            self.plan.inputs,
            self.plan.width,
        );
        let threads = parallelism(rows * inputs * width);
        let dx = read::<T, _>(weight, |w| {
            let d = (d, Matrix::new(rows, width));
            let w = (w, Matrix::new(width, inputs));
            Ok(product(d, w, threads))
        })?;
        tensor(dx, (self.plan.batch, self.plan.time, inputs))
    }

    fn grad_bias(&self, d: &[T]) -> Result<Tensor> {
        tensor(column_sums(d, self.plan.width), self.plan.width)
    }

    /// The state before every step, `(batch, time, hidden)`.
    fn states_before(&self, y: &[T], h0: &[T]) -> Vec<T> {
        let Plan { time, hidden, .. } = self.plan;
        let mut all = room(y.len());
        let sequences = all.par_chunks_mut(time * hidden).enumerate();
        sequences.for_each(|(sequence, rows)| {
            for (t, row) in rows.chunks_exact_mut(hidden).enumerate() {
                row.write_copy_of_slice(match self.plan.before(sequence, t) {
                    Some(before) => &y[(sequence * time + before) * hidden..][..hidden],
                    None => &h0[sequence * hidden..][..hidden],
                });
            }
        });
        // SAFETY: the rows of all sequences are all of it.
        unsafe { written(all) }
    }

    fn gradients(&self, operands: &[Tensor], all: &[T], dall: &[T]) -> Result<Vec<Option<Tensor>>> {
        let Plan {
            batch,
            time,
            inputs,
            hidden,
            ..
        } = self.plan;
        let passed = self.back_through_time(operands, all, dall)?;
        let from_input = &passed.from_input;
        let from_state = if C::SEPARATE {
            &passed.from_state
        } else {
            from_input
        };
        let y = &all[..batch * time * hidden];
        let mut grads = vec![
            if_tracked(&operands[0], || self.grad_input(from_input, &operands[1]))?,
            if_tracked(&operands[1], || {
                read::<T, _>(&operands[0], |x| {
                    let x = self.plan.without_padding(x);
                    self.grad_weight(from_input, &x, inputs)
                })
            })?,
            if_tracked(&operands[2], || {
                let before = read::<T, _>(&operands[3], |h0| Ok(self.states_before(y, h0)))?;
                self.grad_weight(from_state, &before, hidden)
            })?,
        ];
        let (starts, biases) = operands[3..].split_at(C::STATES);
        for (start, state) in starts.iter().zip(passed.state) {
            grads.push(if_tracked(start, || tensor(state, (batch, hidden)))?);
        }
        for (bias, d) in biases.iter().zip([from_input, from_state]) {
            grads.push(if_tracked(bias, || self.grad_bias(d))?);
        }
        Ok(grads)
    }
}

impl<C: Cell, T: Smooth> CustomOpN for Recurrence<C, T> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn bwd(&self, operands: &[Tensor], all: &Tensor, dall: &Tensor) -> Result<Vec<Option<Tensor>>> {
        read::<T, _>(all, |all| {
            read::<T, _>(dall, |dall| self.gradients(operands, all, dall))
        })
    }
}

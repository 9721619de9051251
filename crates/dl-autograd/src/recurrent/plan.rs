//! The sizes of a recurrence and the order of its steps.

use std::borrow::Cow;

use candle_core::{Result, Tensor, bail};

use crate::host::one_float_type;
use crate::recurrent::sequence::Cell;
use crate::recurrent::{Direction, RecurrentWeights};
use crate::simd::Scalar;

/// What a recurrence needs to know besides its operands.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) time: usize,
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    /// Rows of the weights: gates · hidden.
    pub(super) width: usize,
    lengths: Option<Vec<usize>>,
    direction: Direction,
}

impl Plan {
    pub(super) fn new<C: Cell>(
        x: &Tensor,
        start: Option<&[Tensor]>,
        weights: &RecurrentWeights,
        lengths: Option<&[usize]>,
        direction: Direction,
    ) -> Result<Self> {
        let (name, weight) = (C::NAME, &weights.weight_hh);
        let &[batch, time, inputs] = x.dims() else {
            bail!("{name} takes x (batch, time, inputs), got {:?}", x.shape())
        };
        let hidden = weight.dims().last().copied().unwrap_or(0);
        if hidden == 0 || weight.dims() != [C::GATES * hidden, hidden] {
            bail!(
                "{name} takes weight_hh ({}·hidden, hidden), got {:?}",
                C::GATES,
                weight.shape()
            )
        }
        if time == 0 {
            bail!(
                "{name} takes sequences of 1 step or more, got x {:?}",
                x.shape()
            )
        }
        let plan = Self {
            batch,
            time,
            inputs,
            hidden,
            width: C::GATES * hidden,
            lengths: lengths.map(<[usize]>::to_vec),
            direction,
        };
        plan.check_lengths(name)?;
        plan.check_operands(name, x, start.unwrap_or_default(), weights)?;
        Ok(plan)
    }

    fn check_lengths(&self, name: &str) -> Result<()> {
        let Some(lengths) = &self.lengths else {
            return Ok(());
        };
        if lengths.len() != self.batch {
            bail!(
                "{name} of {} sequences takes as many lengths, got {}",
                self.batch,
                lengths.len()
            )
        }
        let wrong = lengths.iter().position(|n| !(1..=self.time).contains(n));
        match wrong {
            None => Ok(()),
            Some(i) => bail!(
                "{name} of {} steps takes lengths in [1, {}], got {} for sequence {i}",
                self.time,
                self.time,
                lengths[i]
            ),
        }
    }

    fn check_operands(
        &self,
        name: &str,
        x: &Tensor,
        start: &[Tensor],
        weights: &RecurrentWeights,
    ) -> Result<()> {
        let state = [self.batch, self.hidden];
        let (weight, bias) = ([self.width, self.inputs], [self.width]);
        let mut wanted = vec![
            ("weight_ih", &weights.weight_ih, &weight[..]),
            ("weight_hh", &weights.weight_hh, weights.weight_hh.dims()),
        ];
        wanted.extend(
            ["h0", "c0"]
                .into_iter()
                .zip(start)
                .map(|(n, t)| (n, t, &state[..])),
        );
        let biases = weights.bias.iter().flatten();
        wanted.extend(
            ["bias_ih", "bias_hh"]
                .into_iter()
                .zip(biases)
                .map(|(n, t)| (n, t, &bias[..])),
        );
        for (operand, tensor, shape) in &wanted {
            if tensor.dims() != *shape {
                bail!("{name} takes {operand} {shape:?}, got {:?}", tensor.shape())
            }
        }
        let named: Vec<_> = wanted
            .iter()
            .map(|(name, tensor, _)| (*name, *tensor))
            .collect();
        one_float_type(name, ("x", x), &named)
    }

    /// The steps in the order of the recurrence.
    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (time, reverse) = (self.time, self.direction == Direction::Reverse);
        (0..time).map(move |i| if reverse { time - 1 - i } else { i })
    }

    /// The step that the state before step `t` of a sequence comes from, or nothing for the start.
    pub(super) fn before(&self, sequence: usize, t: usize) -> Option<usize> {
        match self.direction {
            Direction::Forward => t.checked_sub(1),
            Direction::Reverse => Some(t + 1).filter(|&next| next < self.length(sequence)),
        }
    }

    pub(super) fn length(&self, sequence: usize) -> usize {
        match &self.lengths {
            Some(lengths) => lengths[sequence],
            None => self.time,
        }
    }

    /// 1 for each sequence that has a step `t` and 0 for those that have ended, or nothing if all do.
    pub(super) fn mask(&self, t: usize) -> Option<Vec<u8>> {
        let lengths = self.lengths.as_ref()?;
        let mask: Vec<u8> = lengths.iter().map(|n| u8::from(t < *n)).collect();
        mask.contains(&0).then_some(mask)
    }

    /// The input with zeros behind the end of each sequence, where a NaN may stand.
    pub(super) fn without_padding<'a, T: Scalar>(&self, x: &'a [T]) -> Cow<'a, [T]> {
        let Some(lengths) = &self.lengths else {
            return Cow::Borrowed(x);
        };
        let mut x = x.to_vec();
        let sequences = x.chunks_exact_mut((self.time * self.inputs).max(1));
        for (sequence, length) in sequences.zip(lengths) {
            sequence[length * self.inputs..].fill(T::zero());
        }
        Cow::Owned(x)
    }

    /// Sequences of one task: as many tasks as threads, in whole tiles of the product.
    pub(super) fn rows_of_a_task(&self) -> usize {
        let threads = match self.batch * self.time * self.width * self.hidden {
            0..crate::linear::PARALLEL => 1,
            _ => rayon::current_num_threads(),
        };
        self.batch.div_ceil(threads).next_multiple_of(8)
    }
}

//! Remembering over a delay.

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};

use crate::data::option::above_zero;
use crate::data::{DataError, TensorDataset};

/// Symbols to be repeated after a delay, the usual test of a memory: `u32 (n, t)` twice,
/// `t = 2·length + delay + 1`.
///
/// ```text
/// input    s₁ … s_L   0 × delay   1   0 × L             0 is blank, 1 asks for the answer,
/// target   0 × (L + delay + 1)        s₁ … s_L          symbols are 2 … symbols + 1
/// ```
///
/// A model without memory can do no better than `length · ln(symbols) / t` a step.
/// Source: Hochreiter, Schmidhuber, "Long short-term memory", 1997, in the form of Arjovsky, Shah,
/// Bengio, "Unitary evolution recurrent neural networks", 2016.
///
/// ```
/// use dl_core::data::{CopyTask, Dataset};
/// let task = CopyTask { length: 2, delay: 3, ..CopyTask::default() };
/// let (input, target) = task.dataset()?.get(0)?;
/// let (input, target) = (input.to_vec1::<u32>()?, target.to_vec1::<u32>()?);
/// assert_eq!(input[2..], [0, 0, 0, 1, 0, 0]);
/// assert_eq!((&target[..6], &target[6..]), (&[0; 6][..], &input[..2]));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyTask {
    /// Sequences, `> 0`. Default `1000`.
    pub samples: usize,
    /// Symbols to remember, `> 0`. Default `10`.
    pub length: usize,
    /// Blanks between the symbols and the question. Default `10`.
    pub delay: usize,
    /// Different symbols, `> 0`. Default `8`.
    pub symbols: u32,
    /// Default `0`.
    pub seed: u64,
}

impl Default for CopyTask {
    fn default() -> Self {
        Self {
            samples: 1000,
            length: 10,
            delay: 10,
            symbols: 8,
            seed: 0,
        }
    }
}

impl CopyTask {
    /// Tokens that there are: blank, question and symbols.
    pub fn vocab_size(&self) -> usize {
        self.symbols as usize + 2
    }

    /// Makes the sequences.
    pub fn dataset(&self) -> Result<TensorDataset, DataError> {
        let &Self {
            samples,
            length,
            delay,
            ..
        } = self;
        above_zero("samples", samples)?;
        above_zero("length", length)?;
        above_zero("symbols", self.symbols as usize)?;
        let rng = Rng::named(self.seed, Purpose::Other(0), "copy task");
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            let symbol = |i: usize| {
                let element = (sample * length + i) as u64;
                2 + rng.below(element, u64::from(self.symbols)) as u32
            };
            let symbols: Vec<u32> = (0..length).map(symbol).collect();
            let blanks = |n| std::iter::repeat_n(0, n);
            inputs.extend_from_slice(&symbols);
            inputs.extend(blanks(delay).chain([1]).chain(blanks(length)));
            targets.extend(blanks(length + delay + 1).chain(symbols));
        }
        let shape = (samples, inputs.len() / samples);
        TensorDataset::new(
            Tensor::from_vec(inputs, shape, &Device::Cpu)?,
            Tensor::from_vec(targets, shape, &Device::Cpu)?,
        )
    }
}

//! Windows of a long text.

use candle_core::{Device, Tensor};

use crate::data::option::above_zero;
use crate::data::{DataError, Dataset};

/// Stretches of a text, and the same a token later, for language modelling: `u32 (length,)` twice.
///
/// ```text
/// inputᵢ = t[s·i .. s·i + length]          targetᵢ = t[s·i + 1 .. s·i + length + 1]
/// ```
///
/// With a stride of 1 and a shuffling loader these are nanoGPT's random windows, each once in an
/// epoch; with a stride of `length` every token is predicted once.
///
/// ```
/// use dl_core::data::{Dataset, TokenWindows};
/// let windows = TokenWindows::of_bytes(b"abcdef", 3)?.stride(2)?;
/// assert_eq!(windows.len(), 2);
/// let (input, target) = windows.get(1)?;
/// assert_eq!(input.to_vec1::<u32>()?, b"cde".map(u32::from));
/// assert_eq!(target.to_vec1::<u32>()?, b"def".map(u32::from));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenWindows {
    tokens: Vec<u32>,
    length: usize,
    stride: usize,
}

impl TokenWindows {
    /// Windows of `length` tokens, `> 0`, one a token. Fails unless the text has `length + 1`.
    pub fn new(tokens: Vec<u32>, length: usize) -> Result<Self, DataError> {
        above_zero("the length of token windows", length)?;
        match tokens.len() > length {
            true => Ok(Self {
                tokens,
                length,
                stride: 1,
            }),
            false => Err(DataError::Option {
                option: "the length of token windows",
                wanted: "below the number of tokens",
                came: format!("{length} for {} tokens", tokens.len()),
            }),
        }
    }

    /// Windows of bytes, of which there are 256.
    pub fn of_bytes(text: &[u8], length: usize) -> Result<Self, DataError> {
        Self::new(text.iter().copied().map(u32::from).collect(), length)
    }

    /// Tokens from one window to the next, `> 0`. Default 1.
    pub fn stride(self, stride: usize) -> Result<Self, DataError> {
        above_zero("the stride of token windows", stride)?;
        Ok(Self { stride, ..self })
    }

    /// The whole text.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl Dataset for TokenWindows {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        (self.tokens.len() - self.length).div_ceil(self.stride)
    }

    fn get(&self, index: usize) -> Result<(Tensor, Tensor), DataError> {
        let len = self.len();
        if index >= len {
            return Err(DataError::OutOfRange { index, len });
        }
        let first = index * self.stride;
        let window = |first: usize| {
            let tokens = &self.tokens[first..first + self.length];
            Tensor::from_slice(tokens, self.length, &Device::Cpu)
        };
        Ok((window(first)?, window(first + 1)?))
    }

    fn name(&self, index: usize) -> String {
        format!("tokens from {}", index.saturating_mul(self.stride))
    }
}

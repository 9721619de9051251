//! Sequences of different lengths in one batch.

use candle_core::{Device, Tensor};

use crate::data::option::above_zero;
use crate::data::{Collate, DataError};

/// Sequences side by side, the shorter ones filled up behind their end.
///
/// ```
/// use dl_core::data::{Collate, PadTokens};
/// let padded = PadTokens::default().collate(vec![vec![5, 6, 7], vec![8]])?;
/// assert_eq!(padded.tokens.to_vec2::<u32>()?, [[5, 6, 7], [8, 0, 0]]);
/// assert_eq!(padded.mask.to_vec2::<u8>()?, [[1, 1, 1], [1, 0, 0]]);
/// assert_eq!(padded.lengths, [3, 1]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Padded {
    /// `u32 (b, t)`.
    pub tokens: Tensor,
    /// `u8 (b, t)`, 1 for tokens and 0 for padding: the `seen` of attention and of
    /// [`Bert`](crate::models::Bert).
    pub mask: Tensor,
    /// Tokens of each sequence, as recurrent layers take them.
    pub lengths: Vec<usize>,
}

/// Pads token sequences to the longest of their batch; with
/// [`LengthBuckets`](crate::data::LengthBuckets) that is not far.
///
/// Collates sequences alone, with a class (`u32 (b,)`), or with target sequences, padded likewise.
///
/// ```
/// use dl_core::data::{Collate, PadTokens};
/// let pad = PadTokens { multiple_of: 4, max_length: Some(6), ..PadTokens::default() };
/// let (padded, classes) = pad.collate(vec![(vec![1; 5], 2), (vec![1; 9], 0)])?;
/// assert_eq!((padded.tokens.dims(), padded.lengths), (&[2, 8][..], vec![5, 6]));
/// assert_eq!(classes.to_vec1::<u32>()?, [2, 0]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PadTokens {
    /// What stands behind the end of a sequence. Default `0`.
    pub pad: u32,
    /// Longer sequences lose what is behind it, `> 0`. Default none.
    pub max_length: Option<usize>,
    /// The padded length is a multiple of it, `> 0`. Default `1`.
    pub multiple_of: usize,
}

impl Default for PadTokens {
    fn default() -> Self {
        Self {
            pad: 0,
            max_length: None,
            multiple_of: 1,
        }
    }
}

impl PadTokens {
    fn padded(&self, sequences: &[&[u32]]) -> Result<Padded, DataError> {
        above_zero("max_length of padding", self.max_length.unwrap_or(1))?;
        above_zero("multiple_of of padding", self.multiple_of)?;
        let most = self.max_length.unwrap_or(usize::MAX);
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len().min(most)).collect();
        let longest = lengths.iter().max().copied().unwrap_or(0);
        let (b, t) = (sequences.len(), longest.next_multiple_of(self.multiple_of));
        let (mut tokens, mut mask) = (Vec::with_capacity(b * t), Vec::with_capacity(b * t));
        for (row, (sequence, &length)) in (1..).zip(sequences.iter().zip(&lengths)) {
            tokens.extend_from_slice(&sequence[..length]);
            tokens.resize(row * t, self.pad);
            mask.resize(mask.len() + length, 1u8);
            mask.resize(row * t, 0);
        }
        Ok(Padded {
            tokens: Tensor::from_vec(tokens, (b, t), &Device::Cpu)?,
            mask: Tensor::from_vec(mask, (b, t), &Device::Cpu)?,
            lengths,
        })
    }
}

impl Collate<Vec<u32>> for PadTokens {
    type Batch = Padded;

    fn collate(&self, items: Vec<Vec<u32>>) -> Result<Padded, DataError> {
        let sequences: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
        self.padded(&sequences)
    }
}

impl Collate<(Vec<u32>, u32)> for PadTokens {
    type Batch = (Padded, Tensor);

    fn collate(&self, items: Vec<(Vec<u32>, u32)>) -> Result<(Padded, Tensor), DataError> {
        let (sequences, classes): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let b = classes.len();
        let classes = Tensor::from_vec(classes, b, &Device::Cpu)?;
        Ok((self.collate(sequences)?, classes))
    }
}

impl Collate<(Vec<u32>, Vec<u32>)> for PadTokens {
    type Batch = (Padded, Padded);

    fn collate(&self, items: Vec<(Vec<u32>, Vec<u32>)>) -> Result<(Padded, Padded), DataError> {
        let (sequences, targets): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok((self.collate(sequences)?, self.collate(targets)?))
    }
}

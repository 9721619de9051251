//! Keys and values of the positions already decoded.

use candle_core::{Result, Tensor};

/// What [`MultiheadAttention::decode`](super::MultiheadAttention::decode) has seen of a sequence.
///
/// Keys and values of `(b, h_kv, s, d)`, without a graph.
///
/// ```
/// let cache = dl_core::layers::KvCache::default();
/// assert_eq!(cache.len(), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    seen: Option<(Tensor, Tensor)>,
}

impl KvCache {
    /// Positions seen so far.
    pub fn len(&self) -> usize {
        self.seen.as_ref().map_or(0, |(k, _)| k.dims()[2])
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in the next keys and values and returns all.
    pub(super) fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (k, v) = (k.detach(), v.detach());
        let all = match &self.seen {
            Some((old_k, old_v)) => (Tensor::cat(&[old_k, &k], 2)?, Tensor::cat(&[old_v, &v], 2)?),
            None => (k.contiguous()?, v.contiguous()?),
        };
        self.seen = Some(all.clone());
        Ok(all)
    }
}

//! Attention of candle's operations, for devices without a kernel.

use candle_core::{D, Device, Result, Tensor};

use super::{Attention, Causal, hiding};
use crate::host::if_tracked;
use crate::view::scale;

impl Attention {
    pub(super) fn composed(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (k, v) = (self.repeated(k)?, self.repeated(v)?);
        let weights = self.weights(q, &k)?;
        match self.keep(q)? {
            Some(keep) => (weights * keep)?.matmul(&v),
            None => weights.matmul(&v),
        }
    }

    /// The softmax of the scores, (b, h, t, s).
    fn weights(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let products = q.contiguous()?.matmul(&k.t()?.contiguous()?)?;
        let mut scores = scale(&products, self.scale)?;
        if let Some(mask) = &self.mask {
            scores = scores.broadcast_add(mask)?;
        }
        if self.causal != Causal::No {
            scores = scores.broadcast_add(&self.triangle(q)?)?;
        }
        softmax(&scores)
    }

    /// The gradients of q, k and v as operations of candle's, which can be differentiated again.
    ///
    /// ```text
    /// ∂V = (P ⊙ D)ᵀ·dO     ∂S = P ⊙ (G − Σ G ⊙ P), G = D ⊙ dO·Vᵀ     ∂Q = c·∂S·K     ∂K = c·∂Sᵀ·Q
    /// ```
    ///
    /// with the factors D of dropout and the scale c.
    pub(super) fn pull(&self, [q, k, v]: [&Tensor; 3], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (all_k, all_v, dy) = (self.repeated(k)?, self.repeated(v)?, dy.contiguous()?);
        let (p, keep) = (self.weights(q, &all_k)?, self.keep(q)?);
        let dropped = |x: &Tensor| match &keep {
            Some(keep) => x * keep,
            None => Ok(x.clone()),
        };
        let t = |x: &Tensor| x.t()?.contiguous();
        let dv = if_tracked(v, || self.summed(&t(&dropped(&p)?)?.matmul(&dy)?))?;
        if !q.track_op() && !k.track_op() {
            return Ok(vec![None, None, dv]);
        }
        let g = dropped(&dy.matmul(&t(&all_v)?)?)?;
        let along = (&g * &p)?.sum_keepdim(D::Minus1)?;
        let ds = scale(&(&p * g.broadcast_sub(&along)?)?, self.scale)?;
        let dq = if_tracked(q, || ds.matmul(&all_k))?;
        let dk = if_tracked(k, || self.summed(&t(&ds)?.matmul(&q.contiguous()?)?))?;
        Ok(vec![dq, dk, dv])
    }

    /// The gradient of a key or value head from those of its query heads: the adjoint of
    /// [`Self::repeated`].
    fn summed(&self, x: &Tensor) -> Result<Tensor> {
        let (b, _, s, d) = x.dims4()?;
        match self.size.group() {
            1 => Ok(x.clone()),
            group => x.reshape((b, self.size.h_kv, group, s, d))?.sum(2),
        }
    }

    /// A key or value head for every query head.
    fn repeated(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h_kv, s, d) = x.dims4()?;
        let group = self.size.group();
        if group == 1 {
            return x.contiguous();
        }
        x.unsqueeze(2)?
            .broadcast_as((b, h_kv, group, s, d))?
            .reshape((b, h_kv * group, s, d))
    }

    /// −∞ where the key comes too late, (t, s).
    fn triangle(&self, q: &Tensor) -> Result<Tensor> {
        let (t, s) = (self.size.t, self.size.s);
        let seen = (0..t).flat_map(|i| (0..s).map(move |j| u8::from(j < self.visible(i))));
        let seen = Tensor::from_vec(seen.collect(), (t, s), q.device())?;
        hiding(&seen, q.dtype())
    }

    /// The factors of dropout, (b, h, t, s).
    fn keep(&self, q: &Tensor) -> Result<Option<Tensor>> {
        let Some((p, rng)) = self.dropout else {
            return Ok(None);
        };
        let [b, h, t, s] = self.size.scores();
        let factor = |u: f32| if u < p as f32 { 0. } else { self.kept() };
        let (mut keep, mut uniform) = (Vec::with_capacity(b * h * t * s), vec![0f32; s]);
        for row in 0..b * h * t {
            rng.fill_uniform(self.first_draw(row), &mut uniform);
            keep.extend(uniform.iter().map(|u| factor(*u)));
        }
        let keep = Tensor::from_vec(keep, (b, h, t, s), &Device::Cpu)?;
        // On the CPU, where all types are: Metal has no f64.
        keep.to_dtype(q.dtype())?.to_device(q.device()).map(Some)
    }
}

/// The softmax over the last dimension; zeros where all is −∞.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let max = x.detach().max_keepdim(D::Minus1)?;
    let finite = max
        .eq(f64::NEG_INFINITY)?
        .where_cond(&max.zeros_like()?, &max)?;
    let e = x.broadcast_sub(&finite)?.exp()?;
    let sum = e.sum_keepdim(D::Minus1)?;
    let empty = sum.detach().eq(0.)?.to_dtype(x.dtype())?;
    e.broadcast_div(&(sum + empty)?)
}

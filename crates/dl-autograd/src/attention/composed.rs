//! Attention of candle's operations, for devices without a kernel.

use candle_core::{D, Device, Result, Tensor};

use super::{Attention, Causal, hiding};

impl Attention {
    pub(super) fn composed(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (k, v) = (self.repeated(k)?, self.repeated(v)?);
        let mut scores = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? * self.scale)?;
        if let Some(mask) = &self.mask {
            scores = scores.broadcast_add(mask)?;
        }
        if self.causal != Causal::No {
            scores = scores.broadcast_add(&self.triangle(q)?)?;
        }
        let mut weights = softmax(&scores)?;
        if let Some(keep) = self.keep(q)? {
            weights = (weights * keep)?;
        }
        weights.matmul(&v)
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
        let mut keep = vec![0f32; b * h * t * s];
        for (row, keep) in keep.chunks_exact_mut(s.max(1)).enumerate() {
            rng.fill_uniform(self.first_draw(row), keep);
            let factor = |u: f32| if u < p as f32 { 0. } else { self.kept() as f32 };
            keep.iter_mut().for_each(|u| *u = factor(*u));
        }
        let keep = Tensor::from_vec(keep, (b, h, t, s), &Device::Cpu)?;
        keep.to_device(q.device())?.to_dtype(q.dtype()).map(Some)
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

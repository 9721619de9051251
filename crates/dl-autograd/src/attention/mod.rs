//! Attention that never stores its score matrix.

mod composed;
mod cpu;
mod rows;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use crate::autocast;
use crate::host::{by_dtype, has_kernel, one_float_type};
use crate::rng::Rng;
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

const NAME: &str = "scaled_dot_product_attention";

/// Which keys a query may see by its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Causal {
    /// All of them.
    #[default]
    No,
    /// Query `i` sees the keys `0..=i`, as torch's `is_causal=True`.
    TopLeft,
    /// The last query sees all keys and each one before it one key less: for queries that continue
    /// a cache of keys.
    BottomRight,
}

/// What [`scaled_dot_product_attention`] does besides the products. The default is plain attention.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Of u8, where 0 hides a key; or of the operands' type, added to the scores. Broadcasts to
    /// `(b, h, t, s)`. It gets no gradient, so a tracked one is refused. Default none.
    pub mask: Option<Tensor>,
    /// Default [`Causal::No`]. Goes together with a mask, which PyTorch refuses.
    pub causal: Causal,
    /// The probability in `[0, 1]` with which a weight is set to zero, and its stream. Default none.
    pub dropout: Option<(f64, Rng)>,
    /// The factor of the scores. Default `1/√d`.
    pub scale: Option<f64>,
}

/// Scaled dot-product attention, as `torch.nn.functional.scaled_dot_product_attention`.
///
/// `q (b, h, t, d)`, `k (b, h_kv, s, d)`, `v (b, h_kv, s, d_v)` → `(b, h, t, d_v)`
///
/// ```text
/// S = scale·Q·Kᵀ + mask        P = softmax(S)        O = dropout(P)·V
/// ```
///
/// `h` is a multiple of `h_kv`: query head `i` uses the key and value head `⌊i·h_kv/h⌋`. Forward
/// keeps the output and the logarithm of each row's normaliser; backward computes the scores again,
/// a block of rows at a time, and the dropout mask from its stream. Transposed views of
/// `(b, t, h, d)` are read where they lie. On the CPU the bits do not depend on the threads, which
/// share the batch and the heads.
///
/// A query that sees no key gives zeros and gets no gradient, as in PyTorch since 2.5; before, and in
/// its `MultiheadAttention` with `need_weights=True`, it is NaN. An error if the shapes do not fit,
/// the mask is tracked or of another type, or the dropout is no probability.
///
/// Sources: Vaswani et al., "Attention is all you need", 2017; Dao, Fu, Ermon, Rudra, Ré,
/// "FlashAttention", 2022; Ainslie et al., "GQA", 2023.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{AttentionOptions, scaled_dot_product_attention};
/// let q = Tensor::new(&[[[[0f32, 0.]]]], &Device::Cpu)?;
/// let kv = Tensor::new(&[[[[1f32, 2.], [3., 6.]]]], &Device::Cpu)?;
/// // All scores are 0, so the mean of the values comes out.
/// let y = scaled_dot_product_attention(&q, &kv, &kv, &AttentionOptions::default())?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions,
) -> Result<Tensor> {
    if let Some(scope) = autocast::lowering() {
        let mask = options.mask.as_ref().map(|mask| scope.lower(mask));
        let options = AttentionOptions {
            mask: mask.transpose()?,
            ..options.clone()
        };
        let [low, k, v] = [scope.lower(q)?, scope.lower(k)?, scope.lower(v)?];
        let y = scaled_dot_product_attention(&low, &k, &v, &options)?;
        return scope.raise(y, q);
    }
    let op = Attention::new(q, k, v, options)?;
    if !has_kernel(q) {
        return op.composed(q, k, v);
    }
    let same = op.clone();
    let y = apply3(&with_rows(q)?, &with_rows(k)?, &with_rows(v)?, op)?;
    Ok(differentiable(y, move |x, _, dy| {
        same.pull([&x[0], &x[1], &x[2]], dy)
    }))
}

/// `x` with the elements of each row side by side, as it is where they are.
fn with_rows(x: &Tensor) -> Result<Tensor> {
    match has_rows(x) {
        true => Ok(x.clone()),
        false => contiguous(x),
    }
}

fn has_rows(x: &Tensor) -> bool {
    let (dims, strides) = (x.dims(), x.stride());
    // A row stride below the width is that of a broadcast.
    strides[3] == 1 && (dims[2] < 2 || strides[2] >= dims[3])
}

#[derive(Clone)]
struct Attention {
    size: Size,
    scale: f64,
    causal: Causal,
    mask: Option<Tensor>,
    dropout: Option<(f64, Rng)>,
    /// log Σ exp of every row of scores, (b, h, t), from forward.
    log_sums: OnceLock<Tensor>,
}

/// The letters of the shapes.
#[derive(Clone, Copy)]
struct Size {
    b: usize,
    h: usize,
    h_kv: usize,
    t: usize,
    s: usize,
    d: usize,
    d_v: usize,
}

impl Size {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Self> {
        let (&[b, h, t, d], &[b_k, h_kv, s, d_k], &[b_v, h_v, s_v, d_v]) =
            (q.dims(), k.dims(), v.dims())
        else {
            bail!(
                "{NAME} takes q (b, h, t, d), k (b, h_kv, s, d), v (b, h_kv, s, d_v), got {:?}, {:?}, {:?}",
                q.shape(),
                k.shape(),
                v.shape()
            )
        };
        if (b_k, d_k, b_v, h_v, s_v) != (b, d, b, h_kv, s) {
            bail!(
                "{NAME} of q {:?} takes k ({b}, h_kv, s, {d}) and v ({b}, h_kv, s, d_v), got {:?} and {:?}",
                q.shape(),
                k.shape(),
                v.shape()
            )
        }
        if h_kv == 0 || !h.is_multiple_of(h_kv) {
            bail!("{NAME} with {h} query heads takes a divisor of it as key heads, got {h_kv}")
        }
        #[rustfmt::skip]
        let size = Self { b, h, h_kv, t, s, d, d_v };
        Ok(size)
    }

    fn scores(&self) -> [usize; 4] {
        [self.b, self.h, self.t, self.s]
    }

    /// Query heads for each key head.
    fn group(&self) -> usize {
        self.h / self.h_kv
    }
}

impl Attention {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor, options: &AttentionOptions) -> Result<Self> {
        let size = Size::new(q, k, v)?;
        one_float_type(NAME, ("q", q), &[("k", k), ("v", v)])?;
        if let Some((p, _)) = options.dropout
            && !(0. ..=1.).contains(&p)
        {
            bail!("{NAME} needs a dropout probability in [0, 1], got {p}")
        }
        let mask = options.mask.as_ref();
        Ok(Self {
            size,
            scale: options.scale.unwrap_or(1. / (size.d.max(1) as f64).sqrt()),
            causal: options.causal,
            mask: mask.map(|m| additive(m, q, &size)).transpose()?,
            dropout: options.dropout.filter(|(p, _)| *p > 0.),
            log_sums: OnceLock::new(),
        })
    }

    /// How many keys, from the first on, query `i` may see by its position.
    fn visible(&self, i: usize) -> usize {
        let Size { t, s, .. } = self.size;
        match self.causal {
            Causal::No => s,
            Causal::TopLeft => s.min(i + 1),
            Causal::BottomRight => (i + 1 + s).saturating_sub(t).min(s),
        }
    }

    /// What the weights that dropout keeps are multiplied by.
    fn kept(&self) -> f64 {
        match self.dropout {
            None => 1.,
            Some((1., _)) => 0.,
            Some((p, _)) => 1. / (1. - p),
        }
    }

    /// The number of a row's first weight in the stream of dropout: a multiple of 4, for which the
    /// generator is fast.
    fn first_draw(&self, row: usize) -> u64 {
        (row * self.size.s.next_multiple_of(4)) as u64
    }
}

/// The mask as numbers to add, `(1 or b, 1 or h, 1 or t, s)`, in the type of the computation.
fn additive(mask: &Tensor, q: &Tensor, size: &Size) -> Result<Tensor> {
    let wanted = size.scores();
    let misfit = || {
        format!(
            "{NAME} takes a mask that broadcasts to {wanted:?}, of u8 or {:?}, got {:?} of {:?}",
            q.dtype(),
            mask.shape(),
            mask.dtype()
        )
    };
    if mask.track_op() {
        bail!("{NAME} gives its mask no gradient, got a tracked one: detach it first")
    }
    let rank = mask.rank();
    if rank > 4 || mask.broadcast_as(&wanted).is_err() {
        bail!("{}", misfit())
    }
    let mask = mask.reshape([&[1; 4][rank..], mask.dims()].concat())?;
    let (b, h, t, _) = mask.dims4()?;
    let mask = mask
        .broadcast_as((b, h, t, size.s))?
        .to_device(q.device())?;
    match mask.dtype() {
        DType::U8 => hiding(&mask, computed_in(q)),
        dtype if dtype == q.dtype() => mask.to_dtype(computed_in(q))?.contiguous(),
        _ => bail!("{}", misfit()),
    }
}

/// −∞ where `keep` is 0.
fn hiding(keep: &Tensor, dtype: DType) -> Result<Tensor> {
    let scalar = |x: f64| Tensor::new(x, keep.device())?.to_dtype(dtype);
    let (shown, hidden) = (scalar(0.)?, scalar(f64::NEG_INFINITY)?);
    let shape = keep.shape();
    keep.contiguous()?
        .where_cond(&shown.broadcast_as(shape)?, &hidden.broadcast_as(shape)?)
}

/// The CPU kernels compute half precision in f32.
fn computed_in(q: &Tensor) -> DType {
    match q.dtype() {
        DType::F16 | DType::BF16 if has_kernel(q) => DType::F32,
        dtype => dtype,
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2), (s3, l3)];
        by_dtype!(s1.dtype(), "attention", self.forward::<T>(operands))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = match has_rows(dy) {
            true => dy.clone(),
            false => dy.contiguous()?,
        };
        by_dtype!(
            q.dtype(),
            "attention",
            self.backward::<T>([q, k, v, y, &dy])
        )
    }
}

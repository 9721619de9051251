//! Where in a sequence a feature stands: learned, sinusoidal and rotary.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::{Init, Module, VarBuilder};
use dl_autograd::{add, embedding, rope, rope_frequencies, rope_interleaved};

use crate::summary;

/// Adds a learned vector of each position to `(b, t, dim)`, as BERT and GPT-2 do.
///
/// Weight `weight (max_len, dim)`, at first normal with a standard deviation of 0.02.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::learned_positions};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = learned_positions(10, 4, params.vb())?;
/// let y = layer.forward(&Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 3, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LearnedPositions {
    name: String,
    weight: Tensor,
}

/// Vectors of `dim` for `max_len` positions.
pub fn learned_positions(max_len: usize, dim: usize, vb: VarBuilder) -> Result<LearnedPositions> {
    let normal = Init::Randn {
        mean: 0.,
        stdev: 0.02,
    };
    let weight = vb.get_with_hints((max_len, dim), "weight", normal)?;
    Ok(LearnedPositions {
        name: vb.prefix(),
        weight,
    })
}

impl Module for LearnedPositions {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        let most = self.weight.dims()[0];
        if t > most {
            bail!("learned positions end at {most}, got a sequence of {t}")
        }
        let ids = Tensor::arange(0, t as u32, x.device())?;
        let ids = ids.broadcast_as((b, t))?.contiguous()?;
        let y = add(x, &embedding(&self.weight, &ids, None)?)?;
        summary::record(Some(&self.name), "LearnedPositions", &y, || 0);
        Ok(y)
    }
}

/// Adds sines and cosines of the position to `(b, t, dim)`. Nothing is learned.
///
/// ```text
/// P[p, 2i] = sin(p·10000^(−2i/dim))          P[p, 2i+1] = cos(p·10000^(−2i/dim))
/// ```
///
/// Source: Vaswani et al., "Attention is all you need", 2017.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::layers::SinusoidalPositions;
/// let x = Tensor::zeros((1, 2, 2), DType::F32, &Device::Cpu)?;
/// let y = SinusoidalPositions::new(5, 2)?.forward(&x)?.flatten_all()?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 1., 1f32.sin(), 1f32.cos()]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SinusoidalPositions {
    table: Tensor,
}

impl SinusoidalPositions {
    /// The table of `max_len` positions, of `dim` features each.
    pub fn new(max_len: usize, dim: usize) -> Result<Self> {
        let value = |n: usize| {
            let (p, i) = (n / dim, n % dim);
            let angle = p as f64 * 1e4f64.powf(-((i - i % 2) as f64) / dim as f64);
            let wave = if i.is_multiple_of(2) {
                angle.sin()
            } else {
                angle.cos()
            };
            wave as f32
        };
        let values = (0..max_len * dim).map(value).collect();
        let table = Tensor::from_vec(values, (max_len, dim), &Device::Cpu)?;
        Ok(Self { table })
    }
}

impl Module for SinusoidalPositions {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, t, dim) = x.dims3()?;
        let (most, width) = self.table.dims2()?;
        if t > most || dim != width {
            bail!(
                "positions of (b, up to {most}, {width}) got {:?}",
                x.shape()
            )
        }
        let table = self.table.narrow(0, 0, t)?;
        let table = table.to_device(x.device())?.to_dtype(x.dtype())?;
        let y = add(x, &table.broadcast_as(x.shape())?.contiguous()?)?;
        summary::record(None, "SinusoidalPositions", &y, || 0);
        Ok(y)
    }
}

/// The rotations of queries and keys by their positions, for
/// [`MultiheadAttention::with_rotary`](super::MultiheadAttention::with_rotary): see
/// [`rope`](dl_autograd::rope).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::layers::RotaryEmbedding;
/// let rotary = RotaryEmbedding::new(2, 10, 1e4)?;
/// let x = Tensor::new(&[[[[1f32, 0.]]]], &Device::Cpu)?;
/// let y = rotary.rotate(&x, 3)?.flatten_all()?.to_vec1::<f32>()?;
/// assert_eq!(y, [3f32.cos(), 3f32.sin()]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
}

impl RotaryEmbedding {
    /// Rotates the first `dim` features of a head, in halves, at up to `max_len` positions.
    pub fn new(dim: usize, max_len: usize, theta: f64) -> Result<Self> {
        let (cos, sin) = rope_frequencies(dim, max_len, theta)?;
        Ok(Self {
            cos,
            sin,
            interleaved: false,
        })
    }

    /// Pairs neighbours instead of halves, as GPT-J does.
    pub fn interleaved(self) -> Self {
        Self {
            interleaved: true,
            ..self
        }
    }

    /// `x (b, h, t, d)`, whose first row stands at position `first`.
    pub fn rotate(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let (_, _, t, _) = x.dims4()?;
        let most = self.cos.dims()[0];
        if first + t > most {
            bail!("rotary positions end at {most}, got {t} from {first} on")
        }
        let (cos, sin) = (self.cos.narrow(0, first, t)?, self.sin.narrow(0, first, t)?);
        match self.interleaved {
            true => rope_interleaved(x, &cos, &sin),
            false => rope(x, &cos, &sin),
        }
    }
}

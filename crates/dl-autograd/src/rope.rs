//! Rotary position embeddings.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::host::{LIMIT, by_dtype, cleared, float, has_kernel, read, tensor};
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply1, differentiable};

/// Elements that one thread takes at a time.
const GRAIN: usize = 32 * 1024;

/// Rotates pairs of features by the angles of their positions; halves of the features are paired,
/// as GPT-NeoX, LLaMA and Hugging Face's `rotate_half` do.
///
/// `x (b, h, t, d)`, `cos` and `sin` `(t or more, r / 2)` with `r ≤ d` → `(b, h, t, d)`
///
/// ```text
/// y[i]       = x[i]·cos[i] − x[i + r/2]·sin[i]
/// y[i + r/2] = x[i]·sin[i] + x[i + r/2]·cos[i]          i < r/2
/// ```
///
/// The features from `r` on stay as they are. The gradient is the rotation back. `cos` and `sin` come from [`rope_frequencies`]; for a sequence
/// that goes on from position `p`, pass them from row `p` on. They get no gradient, so tracked ones
/// are refused. An error if the shapes do not fit.
///
/// Source: Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer: enhanced transformer with rotary position
/// embedding", 2021.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2.]]]], &Device::Cpu)?;
/// let (cos, sin) = (Tensor::new(&[[0f32]], &Device::Cpu)?, Tensor::new(&[[1f32]], &Device::Cpu)?);
/// assert_eq!(dl_autograd::rope(&x, &cos, &sin)?.flatten_all()?.to_vec1::<f32>()?, [-2., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    Rope::new(x, cos, sin, Pairs::Halves)?.apply(x)
}

/// [`rope`] with neighbours paired, features `2i` and `2i + 1`, as GPT-J and the paper do.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2., 3., 4.]]]], &Device::Cpu)?;
/// let (cos, sin) = dl_autograd::rope_frequencies(4, 1, 1e4)?;
/// // Position 0 is not rotated.
/// let y = dl_autograd::rope_interleaved(&x, &cos, &sin)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 2., 3., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rope_interleaved(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    Rope::new(x, cos, sin, Pairs::Neighbours)?.apply(x)
}

/// The cosines and sines of every position's angles, for [`rope`].
///
/// `dim` rotated features, even → two tensors `(max_len, dim / 2)` of f32 on the CPU
///
/// ```text
/// cos(p·θ^(−2i/dim)), sin(p·θ^(−2i/dim))          p < max_len, i < dim/2
/// ```
///
/// The angles are computed in f64. Usual values of `theta` are 1e4 and, for long contexts, 5e5.
///
/// ```
/// let (cos, sin) = dl_autograd::rope_frequencies(2, 3, 1e4)?;
/// assert_eq!(cos.dims(), [3, 1]);
/// assert_eq!(sin.to_vec2::<f32>()?[2][0], 2f32.sin());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rope_frequencies(dim: usize, max_len: usize, theta: f64) -> Result<(Tensor, Tensor)> {
    let positive = theta > 0. && theta.is_finite();
    if !dim.is_multiple_of(2) || !positive {
        bail!("rope_frequencies takes an even dim and a positive theta, got {dim} and {theta}")
    }
    if max_len.checked_mul(dim.max(1)).is_none_or(|n| n >= LIMIT) {
        bail!("rope_frequencies takes dim times max_len below 2³¹, got {dim} and {max_len}")
    }
    let angle = |n: usize| {
        let (p, i) = (n / (dim / 2), n % (dim / 2));
        p as f64 * theta.powf(-2. * i as f64 / dim as f64)
    };
    let table = |f: fn(f64) -> f64| {
        let values = (0..max_len * dim / 2).map(|n| f(angle(n)) as f32);
        Tensor::from_vec(values.collect(), (max_len, dim / 2), &Device::Cpu)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    Halves,
    Neighbours,
}

impl Pairs {
    fn name(self) -> &'static str {
        match self {
            Self::Halves => "rope",
            Self::Neighbours => "rope_interleaved",
        }
    }
}

#[derive(Clone)]
struct Rope {
    pairs: Pairs,
    /// (t, r/2) in the type of x.
    cos: Tensor,
    sin: Tensor,
    /// Half of the rotated features.
    half: usize,
}

impl Rope {
    fn new(x: &Tensor, cos: &Tensor, sin: &Tensor, pairs: Pairs) -> Result<Self> {
        let name = pairs.name();
        float(name, ("x", x))?;
        let (&[_, _, t, d], &[rows, half]) = (x.dims(), cos.dims()) else {
            bail!(
                "{name} takes x (b, h, t, d) and cos (t, r / 2), got {:?} and {:?}",
                x.shape(),
                cos.shape()
            )
        };
        if sin.dims() != cos.dims() || rows < t || 2 * half > d {
            bail!(
                "{name} of x {:?} takes cos and sin of at least {t} rows and at most {} columns, got {:?} and {:?}",
                x.shape(),
                d / 2,
                cos.shape(),
                sin.shape()
            )
        }
        if cos.track_op() || sin.track_op() {
            bail!("{name} gives cos and sin no gradient, got a tracked one: detach it first")
        }
        let wide = if x.dtype().size_in_bytes() < 4 && has_kernel(x) {
            candle_core::DType::F32
        } else {
            x.dtype()
        };
        let table = |table: &Tensor| {
            let table = table.narrow(0, 0, t)?.to_device(x.device())?;
            table.to_dtype(wide)?.contiguous()
        };
        let (cos, sin) = (table(cos)?, table(sin)?);
        #[rustfmt::skip]
        let rope = Self { pairs, cos, sin, half };
        Ok(rope)
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.composed(x);
        }
        let back = self.clone().inverse()?;
        let y = apply1(&crate::view::contiguous(x)?, self)?;
        // The rotation is linear, so its gradient is differentiable by being a rotation.
        Ok(differentiable(y, move |_, _, dy| {
            Ok(vec![Some(back.clone().apply(dy)?)])
        }))
    }

    fn inverse(mut self) -> Result<Self> {
        self.sin = self.sin.neg()?;
        Ok(self)
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, t, d) = x.dims4()?;
        let r = 2 * self.half;
        let turned = x.narrow(D::Minus1, 0, r)?;
        // The two members of each pair, (b, h, t, r/2).
        let (axis, shape) = match self.pairs {
            Pairs::Halves => (3, (b, h, t, 2, self.half)),
            Pairs::Neighbours => (4, (b, h, t, self.half, 2)),
        };
        let pairs = turned.contiguous()?.reshape(shape)?;
        let first = pairs.narrow(axis, 0, 1)?.squeeze(axis)?;
        let second = pairs.narrow(axis, 1, 1)?.squeeze(axis)?;
        let times = |x: &Tensor, table: &Tensor| x.broadcast_mul(table);
        let y1 = (times(&first, &self.cos)? - times(&second, &self.sin)?)?;
        let y2 = (times(&first, &self.sin)? + times(&second, &self.cos)?)?;
        let y = Tensor::stack(&[y1, y2], axis)?.reshape((b, h, t, r))?;
        match d - r {
            0 => Ok(y),
            rest => Tensor::cat(&[&y, &x.narrow(D::Minus1, r, rest)?], D::Minus1),
        }
    }

    fn rotate<T: Scalar>(&self, x: &[T], d: usize, t: usize, sign: T) -> Result<Vec<T>> {
        let mut y = cleared(x.len());
        if x.is_empty() {
            return Ok(y);
        }
        let rows = (GRAIN / d).max(1);
        read::<T, _>(&self.cos, |cos| {
            read::<T, _>(&self.sin, |sin| {
                y.par_chunks_mut(rows * d)
                    .zip(x.par_chunks(rows * d))
                    .enumerate()
                    .for_each(|(i, (y, x))| {
                        let first = i * rows;
                        #[rustfmt::skip]
                        dispatch(Rotate { y, x, cos, sin, first, sign, d, t, half: self.half, pairs: self.pairs });
                    });
                Ok(())
            })
        })?;
        Ok(y)
    }

    fn forward<T: Scalar>(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, t, d) = l.shape().dims4()?;
        let x = crate::host::slice::<T>(s, l)?;
        let y = self.rotate(x, d, t, T::one())?;
        Ok((T::to_cpu_storage_owned(y), l.shape().clone()))
    }

    fn backward<T: Scalar>(&self, dy: &Tensor) -> Result<Tensor> {
        let (_, _, t, d) = dy.dims4()?;
        let dx = read::<T, _>(dy, |dy| self.rotate(dy, d, t, -T::one()))?;
        tensor(dx, dy.dims())
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        self.pairs.name()
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(s.dtype(), "rope", self.forward::<T>(s, l))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(dy.dtype(), "rope", self.backward::<T>(dy)).map(Some)
    }
}

/// Rows of `d` features, the first of them row `first` of all rows.
struct Rotate<'a, T> {
    y: &'a mut [T],
    x: &'a [T],
    cos: &'a [T],
    sin: &'a [T],
    first: usize,
    /// −1 to rotate back.
    sign: T,
    d: usize,
    t: usize,
    half: usize,
    pairs: Pairs,
}

impl<T: Scalar> Kernel for Rotate<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let half = self.half;
        let rows = self
            .y
            .chunks_exact_mut(self.d)
            .zip(self.x.chunks_exact(self.d));
        for (i, (y, x)) in rows.enumerate() {
            let table = (self.first + i) % self.t * half;
            let cos = &self.cos[table..table + half];
            let sin = &self.sin[table..table + half];
            let (y, y_rest) = y.split_at_mut(2 * half);
            let (x, x_rest) = x.split_at(2 * half);
            y_rest.copy_from_slice(x_rest);
            match self.pairs {
                Pairs::Halves => {
                    let ((y1, y2), (x1, x2)) = (y.split_at_mut(half), x.split_at(half));
                    for j in 0..half {
                        let sin = self.sign * sin[j];
                        y1[j] = x1[j] * cos[j] - x2[j] * sin;
                        y2[j] = x1[j] * sin + x2[j] * cos[j];
                    }
                }
                Pairs::Neighbours => {
                    let pairs = y.chunks_exact_mut(2).zip(x.chunks_exact(2));
                    for ((y, x), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                        let sin = self.sign * *sin;
                        y[0] = x[0] * *cos - x[1] * sin;
                        y[1] = x[0] * sin + x[1] * *cos;
                    }
                }
            }
        }
    }
}

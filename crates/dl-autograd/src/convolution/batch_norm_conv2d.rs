//! A convolution of a batch-normalised image in one op.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::bias::Affine;
use super::conv2d::{self, Conv2dConfig, conv2d};
use super::geometry::Geometry;
use super::normed_depthwise::{Gradients, Layer};
use super::op::{Convolution, Direction, Operand};
use super::pointwise_gradients::Backward;
use super::winograd::Winograd;
use super::{second_order, weight_gradient};
use crate::autocast;
use crate::batch_norm::cpu::{self, Map, Planes, Saved};
use crate::batch_norm::{BatchNorm, BatchStatistics};
use crate::host::{by_dtype, has_kernel, if_tracked, read, slice, tensor};
use crate::pack::pack;
use crate::prologue::Prologue;
use crate::simd::Scalar;
use crate::tape::{apply3, differentiable};
use crate::view::contiguous;

/// [`conv2d`] of what [`batch_norm`](crate::batch_norm()) makes of `x`.
///
/// `x (n, c_in, h, w)`, `weight (c_out, c_in / groups, k_h, k_w)`, `bias (c_out,)` →
/// `(n, c_out, h', w')`, and the statistics of the batch unless others were given
///
/// ```text
/// y = conv(act(γ·(x − μ)/√(σ² + ε) + β))
/// ```
///
/// On the CPU the image between the two takes no memory: the convolution normalises what it reads, and
/// the norm's gradient takes the place of the convolution's. A depthwise convolution runs together with the
/// norm, one channel after another, and has the bits of the two ops. One with a bias, or for which Winograd's
/// way is faster, is the two ops. Errors are those of the two.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_autograd::{Activation, Conv2dConfig, Prologue, batch_norm_conv2d};
/// let x = Tensor::new(&[[[[1f64, 3.]]]], &Device::Cpu)?;
/// let (one, zero) = (Tensor::new(&[1f64], &Device::Cpu)?, Tensor::new(&[0f64], &Device::Cpu)?);
/// let norm = Prologue {
///     gamma: &one,
///     beta: &zero,
///     eps: 0.,
///     activation: Activation::Relu,
///     statistics: None,
/// };
/// let weight = Tensor::new(&[[[[2f64]]]], &Device::Cpu)?;
/// let (y, batch) = batch_norm_conv2d(&x, &norm, &weight, None, &Conv2dConfig::default())?;
/// // −1 and 1 behind the norm, 0 and 1 behind the activation.
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [0., 2.]);
/// assert_eq!(batch.unwrap().mean.to_vec1::<f64>()?, [2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn batch_norm_conv2d(
    x: &Tensor,
    norm: &Prologue,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2dConfig,
) -> Result<(Tensor, Option<BatchStatistics>)> {
    let geometry = conv2d::geometry(x, weight, config)?;
    let count = norm.check("batch_norm_conv2d", x)?;
    if bias.is_some() || !is_one_op(x, norm, weight, &geometry) {
        let (y, batch) = norm.apply(x)?;
        return Ok((conv2d(&y, weight, bias, config)?, batch));
    }
    let convolution = conv2d::convolution(geometry);
    convolution.check(x, weight, None)?;
    let batch_norm = BatchNorm::of(norm)?;
    let statistics = batch_norm.statistics.clone();
    let y = apply(x, norm, weight, batch_norm, convolution)?;
    let batch = norm
        .statistics
        .is_none()
        .then(|| statistics.of_batch(count));
    Ok((y, batch.transpose()?))
}

fn is_one_op(x: &Tensor, norm: &Prologue, weight: &Tensor, g: &Geometry) -> bool {
    let some = x.elem_count() > 0 && g.pixels_out() > 0 && g.c_out > 0;
    let before = [x, norm.gamma, norm.beta].iter().any(|t| t.track_op());
    // The gradient of the weights alone needs no way back through the norm.
    let both = before || !weight.track_op();
    // The transforms of Winograd's way have no norm.
    let has_norm = Winograd::of(g).is_none();
    has_norm && some && both && has_kernel(x) && autocast::lowering().is_none()
}

fn apply(
    x: &Tensor,
    norm: &Prologue,
    weight: &Tensor,
    batch_norm: BatchNorm,
    convolution: Convolution,
) -> Result<Tensor> {
    let op = Normed {
        norm: batch_norm,
        convolution,
    };
    let (forward, convolution) = (op.norm.differentiable(), op.convolution.clone());
    let packed = pack(&contiguous(norm.gamma)?, &contiguous(norm.beta)?)?;
    let y = apply3(&contiguous(x)?, &packed, &contiguous(weight)?, op)?;
    Ok(differentiable(y, move |i, _, dy| {
        let (x, packed, weight) = (&i[0], &i[1], &i[2]);
        let normal = forward.normalise(x, packed)?;
        let operands = [normal, weight.clone()];
        let mut grads = second_order::pull(&convolution, &operands, dy)?.into_iter();
        let dnormal = grads.next().flatten();
        let dweight = grads.next().flatten();
        let (dx, dpacked) = match dnormal {
            Some(dnormal) => forward.pull_packed(x, packed, &operands[0], &dnormal)?,
            None => (None, None),
        };
        Ok(vec![dx, dpacked, dweight])
    }))
}

/// `x`, scale and shift behind each other, and the weights.
struct Normed {
    norm: BatchNorm,
    convolution: Convolution,
}

impl Normed {
    fn forward<T: Scalar>(
        &self,
        x: Operand,
        packed: Operand,
        weight: Operand,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, packed) = (slice::<T>(x.0, x.1)?, slice::<T>(packed.0, packed.1)?);
        let weight = slice::<T>(weight.0, weight.1)?;
        let g = self.convolution.geometry();
        let affine = packed.split_at(packed.len() / 2);
        let images = Planes::new(&g.input_shape());
        let map_of = self.norm.map_of(&images, x, affine)?;
        let (y, statistics) = match g.is_depthwise() {
            true => Layer::new(g, weight).forward(x, map_of),
            false => {
                let channels = (0..g.c_in).into_par_iter();
                let (maps, statistics): (Vec<_>, _) = channels.map(map_of).unzip();
                (self.convolution.forward_of(x, &maps, weight), statistics)
            }
        };
        self.norm.keep(statistics)?;
        Ok((T::to_cpu_storage_owned(y), Shape::from(&g.output_shape())))
    }

    fn backward<T: Scalar>(
        &self,
        operands: [&Tensor; 3],
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, packed, weight] = operands;
        let grads = read::<T, _>(packed, |packed| {
            let affine = packed.split_at(packed.len() / 2);
            let maps = self.norm.maps(affine, self.norm.activation)?;
            read::<T, _>(weight, |weights| {
                read::<T, _>(x, |x| {
                    read::<T, _>(dy, |dy| {
                        let saved = Saved { x, dy };
                        Ok(self.gradients(saved, &maps, weights, weight.track_op()))
                    })
                })
            })
        })?;
        let dpacked = || tensor([grads.gamma, grads.beta].concat(), packed.dims());
        Ok((
            if_tracked(x, || tensor(grads.x, x.dims()))?,
            if_tracked(packed, dpacked)?,
            if_tracked(weight, || tensor(grads.weight, weight.dims()))?,
        ))
    }

    /// That of the weights only if it is asked for.
    fn gradients<T: Scalar>(
        &self,
        saved: Saved<T>,
        maps: &[Map<T>],
        weight: &[T],
        of_weight: bool,
    ) -> Gradients<T> {
        let (g, batch) = (self.convolution.geometry(), self.norm.is_of_batch());
        if g.is_depthwise() {
            return Layer::new(g, weight).backward(saved, maps, batch, of_weight);
        }
        let large = Backward::of(g, saved, Some(maps)).filter(|_| of_weight);
        let (mut x, weight, sums) = match large {
            Some(large) => {
                let both = large.run(Some(weight));
                (both.x, both.weight, Some(both.norm))
            }
            None => {
                let affine = Affine { weight, bias: None };
                let x = self
                    .convolution
                    .pass(Direction::Transposed, saved.dy, affine);
                let of_weights = || weight_gradient::grad_weight(g, saved.dy, saved.x, Some(maps));
                (x, if of_weight { of_weights() } else { vec![] }, None)
            }
        };
        let images = Planes::new(&g.input_shape());
        let (gamma, beta) = cpu::pull(&images, saved.x, maps, batch, sums.as_deref(), &mut x);
        Gradients {
            x,
            gamma,
            beta,
            weight,
        }
    }
}

impl CustomOp3 for Normed {
    fn name(&self) -> &'static str {
        "batch_norm_conv2d"
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
        by_dtype!(
            s1.dtype(),
            "batch_norm_conv2d",
            self.forward::<T>((s1, l1), (s2, l2), (s3, l3))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(
            x.dtype(),
            "batch_norm_conv2d",
            self.backward::<T>([x, packed, weight], dy)
        )
    }
}

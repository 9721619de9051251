//! The affine map of a dense layer.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use crate::activation::{Activation, GRAIN, clamp};
use crate::autocast;
use crate::host::{
    by_dtype, has_kernel, if_tracked, one_float_type, read, repeated, slice, tensor,
};
use crate::lanes::column_sums;
use crate::matmul::{Matrix, Write, matmul, product};
use crate::pointwise::gelu_of;
use crate::simd::{Kernel, Scalar, dispatch};
use crate::tape::{apply2, apply3, differentiable};
use crate::view::{contiguous, reshape, transpose};

/// Multiplications below which a product stays on one thread: some 50 µs, in which a second one has
/// hardly woken up.
pub(crate) const PARALLEL: usize = 1 << 22;

/// `y = x·Wᵀ + b`, as `torch.nn.functional.linear`.
///
/// `x (n, …, in)`, `weight (out, in)`, `bias (out,)` → `(n, …, out)`
///
/// No gradient is computed for an operand that is not tracked. An error if the shapes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let w = Tensor::new(&[[3f32, 4.], [5., 6.]], &Device::Cpu)?;
/// let b = Tensor::new(&[0.5f32, -0.5], &Device::Cpu)?;
/// assert_eq!(dl_autograd::linear(&x, &w, Some(&b))?.to_vec2::<f32>()?, [[11.5, 16.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    affine("linear", x, weight, bias, Activation::Identity)
}

/// `y = act(x·Wᵀ + b)`: [`linear`] with an activation, which is applied in the pass that adds the
/// bias.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Activation, linear_with};
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let w = Tensor::new(&[[3f32, 4.], [5., -6.]], &Device::Cpu)?;
/// let b = Tensor::new(&[0.5f32, -0.5], &Device::Cpu)?;
/// let y = linear_with(&x, &w, Some(&b), Activation::Relu)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[11.5, 0.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn linear_with(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    affine("linear_with", x, weight, bias, activation)
}

/// `y = gelu(x·Wᵀ + b)`: [`linear`] and [`gelu`](crate::gelu()), whose bits it has. Where nothing is tracked GELU
/// takes the place of the product, so that the widest tensor of a transformer is held once instead of twice.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 2.]], &Device::Cpu)?;
/// let w = Tensor::new(&[[3f64, -1.]], &Device::Cpu)?;
/// let y = dl_autograd::linear_gelu(&x, &w, None)?;
/// assert!((y.to_vec2::<f64>()?[0][0] - 0.8413447460685429).abs() < 1e-14);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn linear_gelu(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    gelu_of(affine(
        "linear_gelu",
        x,
        weight,
        bias,
        Activation::Identity,
    )?)
}

fn affine(
    name: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    if let Some(scope) = autocast::lowering() {
        let bias = bias.map(|bias| scope.lower(bias)).transpose()?;
        let (low, weight) = (scope.lower(x)?, scope.lower(weight)?);
        return scope.raise(affine(name, &low, &weight, bias.as_ref(), activation)?, x);
    }
    let op = Linear::new(name, x, weight, bias, activation)?;
    if !has_kernel(x) {
        return activation.forward(&composed(x, weight, bias)?);
    }
    let (x, weight) = (contiguous(x)?, contiguous(weight)?);
    let y = match bias {
        Some(bias) => apply3(&x, &weight, &contiguous(bias)?, op)?,
        None => apply2(&x, &weight, op)?,
    };
    Ok(differentiable(y, move |operands, y, dy| match activation {
        Activation::Identity => pull(operands, dy),
        _ => pull(operands, &(dy * activation.open(y)?)?),
    }))
}

/// The gradients as operations of their own.
fn pull(operands: &[Tensor], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let (x, w) = (&operands[0], &operands[1]);
    let (outputs, inputs) = w.dims2()?;
    let columns = |t: &Tensor, n| transpose(&reshape(t, ((), n))?, 0, 1);
    let dx = if_tracked(x, || linear(dy, &transpose(w, 0, 1)?, None))?;
    let dw = if_tracked(w, || {
        linear(&columns(dy, outputs)?, &columns(x, inputs)?, None)
    })?;
    let mut grads = vec![dx, dw];
    if let Some(b) = operands.get(2) {
        grads.push(if_tracked(b, || reshape(dy, ((), outputs))?.sum(0))?);
    }
    Ok(grads)
}

fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    // candle's product refuses most strides.
    let y = x
        .contiguous()?
        .broadcast_matmul(&weight.contiguous()?.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

struct Linear {
    name: &'static str,
    rows: usize,
    inputs: usize,
    outputs: usize,
    activation: Activation,
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

impl Linear {
    fn new(
        name: &'static str,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Self> {
        let &[outputs, inputs] = weight.dims() else {
            bail!("{name} takes weight (out, in), got {:?}", weight.shape())
        };
        if x.dims().last() != Some(&inputs) || x.rank() < 2 {
            bail!(
                "{name} with weight {:?} takes x (n, …, {inputs}), got {:?}",
                weight.shape(),
                x.shape()
            )
        }
        if let Some(bias) = bias
            && bias.dims() != [outputs]
        {
            bail!(
                "{name} with weight {:?} takes bias ({outputs},), got {:?}",
                weight.shape(),
                bias.shape()
            )
        }
        let others = [Some(("weight", weight)), bias.map(|bias| ("bias", bias))];
        let others: Vec<_> = others.into_iter().flatten().collect();
        one_float_type(name, ("x", x), &others)?;
        Ok(Self {
            name,
            rows: x.dims()[..x.rank() - 1].iter().product(),
            inputs,
            outputs,
            activation,
        })
    }

    fn parallelism(&self) -> Parallelism {
        parallelism(self.rows * self.inputs * self.outputs)
    }

    fn forward<T: Scalar>(
        &self,
        x: Operand,
        w: Operand,
        bias: Option<Operand>,
    ) -> Result<(CpuStorage, Shape)> {
        let mut shape = x.1.dims().to_vec();
        shape.pop();
        shape.push(self.outputs);
        let (x, w) = (slice::<T>(x.0, x.1)?, slice::<T>(w.0, w.1)?);
        let bias = bias.map(|(s, l)| slice::<T>(s, l)).transpose()?;
        let x = (x, Matrix::new(self.rows, self.inputs));
        let w = (w, Matrix::new(self.outputs, self.inputs).t());
        let mut y = match (bias, self.activation) {
            (Some(bias), Activation::Identity) => {
                let mut y = repeated(bias, self.rows);
                matmul(&mut y, x, w, Write::Add, self.parallelism());
                y
            }
            _ => product(x, w, self.parallelism()),
        };
        if self.activation != Activation::Identity {
            self.activate(&mut y, bias);
        }
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }

    /// Elements of the rows that one thread takes at a time.
    fn chunk(&self) -> usize {
        (GRAIN.div_ceil(self.outputs.max(1)) * self.outputs).max(1)
    }

    fn activate<T: Scalar>(&self, y: &mut [T], bias: Option<&[T]>) {
        let zeros = vec![T::zero(); if bias.is_some() { 0 } else { self.outputs }];
        let (bias, bounds) = (bias.unwrap_or(&zeros), self.activation.bounds());
        y.par_chunks_mut(self.chunk()).for_each(|y| {
            dispatch(Activate { y, bias, bounds });
        });
    }

    fn grad_input<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dx = read::<T, _>(dy, |dy| {
            read::<T, _>(w, |w| {
                let dy = (dy, Matrix::new(self.rows, self.outputs));
                let w = (w, Matrix::new(self.outputs, self.inputs));
                Ok(product(dy, w, self.parallelism()))
            })
        })?;
        tensor(dx, x.dims())
    }

    fn grad_weight<T: Scalar>(&self, dy: &Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let dw = read::<T, _>(dy, |dy| {
            read::<T, _>(x, |x| {
                let dy = (dy, Matrix::new(self.rows, self.outputs).t());
                let x = (x, Matrix::new(self.rows, self.inputs));
                Ok(product(dy, x, self.parallelism()))
            })
        })?;
        tensor(dw, w.dims())
    }

    fn grad_bias<T: Scalar>(&self, dy: &Tensor, b: &Tensor) -> Result<Tensor> {
        let db = read::<T, _>(dy, |dy| Ok(column_sums(dy, self.outputs)))?;
        tensor(db, b.dims())
    }

    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dtype = x.dtype();
        let dx = if_tracked(x, || {
            by_dtype!(dtype, "linear", self.grad_input::<T>(dy, x, w))
        })?;
        let dw = if_tracked(w, || {
            by_dtype!(dtype, "linear", self.grad_weight::<T>(dy, x, w))
        })?;
        Ok((dx, dw))
    }
}

/// All threads for a product with so many multiplications that it pays.
pub(crate) fn parallelism(multiplications: usize) -> Parallelism {
    match multiplications {
        0..PARALLEL => Parallelism::None,
        _ => Parallelism::Rayon(0),
    }
}

/// `y = act(y + bias)`, row by row.
struct Activate<'a, T> {
    y: &'a mut [T],
    bias: &'a [T],
    bounds: (T, T),
}

impl<T: Scalar> Kernel for Activate<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            for (y, b) in row.iter_mut().zip(self.bias) {
                *y = clamp(*y + *b, self.bounds);
            }
        }
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(s1);
        by_dtype!(dtype, "linear", self.forward::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, &self.activation.pass_back(y, dy)?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        self.name
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
        let dtype = candle_core::backend::BackendStorage::dtype(s1);
        by_dtype!(
            dtype,
            "linear",
            self.forward::<T>((s1, l1), (s2, l2), Some((s3, l3)))
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = self.activation.pass_back(y, dy)?;
        let (dx, dw) = self.backward(x, w, &dy)?;
        let db = if_tracked(b, || {
            by_dtype!(x.dtype(), "linear", self.grad_bias::<T>(&dy, b))
        })?;
        Ok((dx, dw, db))
    }
}

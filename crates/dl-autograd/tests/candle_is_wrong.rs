//! What candle 0.11.1 gets wrong about gradients: its op beside ours and the truth.
//!
//! `cargo test -p dl-autograd --test candle_is_wrong -- --nocapture` prints the table. A row whose
//! fault is gone fails: then upstream has mended it, and the row and the remarks on it can go.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::{LayerNorm, RmsNorm, ops, rotary_emb};
use dl_autograd::{
    AttentionOptions, AvgPool2dConfig, Causal, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig,
    Interpolation, MaxPool2dConfig, PadMode, Purpose, Rng, amax, amin, avg_pool2d,
    conv_transpose1d, conv1d, conv2d, cumsum, dropout, embedding, gelu, gelu_tanh, interpolate,
    layer_norm, linear, max_pool2d, pad, pow, powf, relu, rms_norm, rope, rope_frequencies,
    rope_interleaved, scaled_dot_product_attention, scatter, scatter_add, softmax, transpose,
};

type Op = fn(&[Tensor]) -> Result<Tensor>;

/// From the gradient of the result to that of the only input.
type Pull = fn(&[f64]) -> Vec<f64>;

/// How an op fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Backward succeeds and holds no gradient for an input that the result depends on.
    Lost,
    /// The gradient has other numbers.
    Gradient,
    /// The result itself has other numbers.
    Value,
    /// An error.
    Refused,
    Panic,
}

impl Fault {
    fn in_words(self) -> &'static str {
        match self {
            Self::Lost => "gradient lost in silence",
            Self::Gradient => "wrong gradient",
            Self::Value => "wrong value",
            Self::Refused => "error",
            Self::Panic => "panic",
        }
    }
}

/// One op, and inputs that show its fault.
struct Row {
    name: &'static str,
    fault: Fault,
    /// In f64.
    inputs: Vec<Tensor>,
    /// That of candle's op: some of its kernels know no f64.
    dtype: DType,
    candles: Op,
    ours: Op,
    /// PyTorch's, where a kink or an infinity leaves no gradient to differences.
    convention: Option<Pull>,
}

fn row(name: &'static str, fault: Fault, shapes: &[&[usize]], candles: Op, ours: Op) -> Row {
    let inputs = shapes.iter().enumerate().map(|(i, s)| normal(i as u64, s));
    Row {
        name,
        fault,
        inputs: inputs.collect(),
        dtype: DType::F64,
        candles,
        ours,
        convention: None,
    }
}

impl Row {
    fn in_f32(mut self) -> Self {
        self.dtype = DType::F32;
        self
    }

    /// With this as the first input.
    fn at(mut self, x: &[f64]) -> Self {
        self.inputs[0] = Tensor::new(x, &Device::Cpu).unwrap();
        self
    }

    fn by_convention(mut self, gradient: Pull) -> Self {
        self.convention = Some(gradient);
        self
    }
}

fn normal(stream: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    Rng::new(3, Purpose::Other(7), stream).fill_normal(&mut values);
    let x = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    x.to_dtype(DType::F64).unwrap()
}

fn rows() -> Vec<Row> {
    [
        silent_cuts(),
        convolutions(),
        pools(),
        resampling(),
        indexing(),
        pointwise(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn silent_cuts() -> Vec<Row> {
    use Fault::Lost;
    vec![
        row(
            "ops::softmax_last_dim",
            Lost,
            &[&[3, 5]],
            |t| ops::softmax_last_dim(&t[0]),
            |t| softmax(&t[0], 1),
        ),
        row(
            "ops::layer_norm",
            Lost,
            &[&[3, 5], &[5], &[5]],
            |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5),
            |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5),
        )
        .in_f32(),
        row(
            "LayerNorm::forward",
            Lost,
            &[&[3, 5], &[5], &[5]],
            |t| LayerNorm::new(t[1].clone(), t[2].clone(), 1e-5).forward(&t[0]),
            |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5),
        )
        .in_f32(),
        row(
            "ops::rms_norm",
            Lost,
            &[&[3, 5], &[5]],
            |t| ops::rms_norm(&t[0], &t[1], 1e-5),
            |t| rms_norm(&t[0], Some(&t[1]), 1e-5),
        )
        .in_f32(),
        row(
            "RmsNorm::forward",
            Lost,
            &[&[3, 5], &[5]],
            |t| RmsNorm::new(t[1].clone(), 1e-5).forward(&t[0]),
            |t| rms_norm(&t[0], Some(&t[1]), 1e-5),
        )
        .in_f32(),
        row(
            "rotary_emb::rope",
            Lost,
            &[&[1, 2, 3, 4]],
            |t| angles(&t[0]).and_then(|(cos, sin)| rotary_emb::rope(&t[0], &cos, &sin)),
            |t| angles(&t[0]).and_then(|(cos, sin)| rope(&t[0], &cos, &sin)),
        ),
        row(
            "rotary_emb::rope_i",
            Lost,
            &[&[1, 2, 3, 4]],
            |t| angles(&t[0]).and_then(|(cos, sin)| rotary_emb::rope_i(&t[0], &cos, &sin)),
            |t| angles(&t[0]).and_then(|(cos, sin)| rope_interleaved(&t[0], &cos, &sin)),
        ),
        row(
            "rotary_emb::rope_thd",
            Lost,
            &[&[1, 3, 2, 4]],
            |t| angles(&t[0]).and_then(|(cos, sin)| rotary_emb::rope_thd(&t[0], &cos, &sin)),
            |t| {
                let (cos, sin) = angles(&t[0])?;
                transpose(&rope(&transpose(&t[0], 1, 2)?, &cos, &sin)?, 1, 2)
            },
        ),
        row(
            "attention::flash_attn",
            Lost,
            &[&[1, 3, 2, 4], &[1, 3, 2, 4], &[1, 3, 2, 4]],
            |t| {
                let mask = AttnMask::causal();
                flash_attn::<f32>(&t[0], &t[1], &t[2], 0.5, mask, None, None)
            },
            |t| {
                let x = |i: usize| transpose(&t[i], 1, 2);
                let options = AttentionOptions {
                    causal: Causal::TopLeft,
                    ..Default::default()
                };
                scaled_dot_product_attention(&x(0)?, &x(1)?, &x(2)?, &options)
            },
        )
        .in_f32(),
        row(
            "ops::sdpa",
            Fault::Refused,
            &[&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]],
            |t| ops::sdpa(&t[0], &t[1], &t[2], None, false, 0.5, 1.),
            |t| scaled_dot_product_attention(&t[0], &t[1], &t[2], &AttentionOptions::default()),
        )
        .in_f32(),
        row(
            "QMatMul::forward",
            Lost,
            &[&[2, 32]],
            |t| QMatMul::from_qtensor(quantized()?)?.forward(&t[0]),
            |t| {
                let w = quantized()?.dequantize(&Device::Cpu)?;
                linear(&t[0], &w.to_dtype(t[0].dtype())?, None)
            },
        )
        .in_f32(),
        row(
            "Tensor::slice_set",
            Lost,
            &[&[2, 3]],
            |t| {
                let y = Tensor::zeros((5, 3), t[0].dtype(), &Device::Cpu)?;
                y.slice_set(&t[0], 0, 2).map(|()| y)
            },
            |t| pad(&t[0], &[(0, 0), (2, 1)], PadMode::Constant(0.)),
        ),
        row(
            "Tensor::scatter_set",
            Lost,
            &[&[2, 3]],
            |t| {
                let y = Tensor::zeros((4, 3), t[0].dtype(), &Device::Cpu)?;
                y.scatter_set(&places()?, &t[0], 0).map(|()| y)
            },
            |t| {
                let y = Tensor::zeros((4, 3), t[0].dtype(), &Device::Cpu)?;
                scatter(&y, 0, &places()?, &t[0])
            },
        ),
        row(
            "Tensor::scatter_add_set",
            Lost,
            &[&[2, 3]],
            |t| {
                let y = Tensor::zeros((4, 3), t[0].dtype(), &Device::Cpu)?;
                y.scatter_add_set(&places()?, &t[0], 0).map(|()| y)
            },
            |t| {
                let y = Tensor::zeros((4, 3), t[0].dtype(), &Device::Cpu)?;
                scatter_add(&y, 0, &places()?, &t[0])
            },
        ),
    ]
}

fn angles(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (cos, sin) = rope_frequencies(4, 3, 100.)?;
    Ok((cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?))
}

fn quantized() -> Result<QTensor> {
    let w = normal(9, &[3, 32]).to_dtype(DType::F32)?;
    QTensor::quantize(&w, GgmlDType::Q8_0)
}

fn first_and_last() -> Result<Tensor> {
    Tensor::new(&[0u32, 3], &Device::Cpu)
}

fn places() -> Result<Tensor> {
    Tensor::new(&[[0u32, 3, 1], [2, 1, 0]], &Device::Cpu)
}

fn convolutions() -> Vec<Row> {
    use Fault::{Gradient, Panic, Refused};
    vec![
        row(
            "conv1d, batch of 2",
            Gradient,
            &[&[2, 3, 7], &[4, 3, 3]],
            |t| t[0].conv1d(&t[1], 1, 1, 1, 1),
            |t| {
                let config = Conv1dConfig {
                    padding: (1, 1),
                    ..Default::default()
                };
                conv1d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv1d, 2 groups, batch of 2",
            Gradient,
            &[&[2, 4, 7], &[4, 2, 3]],
            |t| t[0].conv1d(&t[1], 0, 1, 1, 2),
            |t| {
                let config = Conv1dConfig {
                    groups: 2,
                    ..Default::default()
                };
                conv1d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv1d, stride beyond the signal",
            Panic,
            &[&[1, 1, 1], &[1, 1, 1]],
            |t| t[0].conv1d(&t[1], 1, 4, 1, 1),
            |t| {
                let config = Conv1dConfig {
                    padding: (1, 1),
                    stride: 4,
                    ..Default::default()
                };
                conv1d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv2d, stride beyond the image",
            Panic,
            &[&[1, 1, 1, 1], &[1, 1, 1, 1]],
            |t| t[0].conv2d(&t[1], 1, 4, 1, 1),
            |t| {
                let config = Conv2dConfig {
                    padding: 1.into(),
                    stride: (4, 4),
                    ..Default::default()
                };
                conv2d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv2d, stride 2 on 6×5",
            Refused,
            &[&[2, 3, 6, 5], &[4, 3, 3, 3]],
            |t| t[0].conv2d(&t[1], 1, 2, 1, 1),
            |t| {
                let config = Conv2dConfig {
                    padding: 1.into(),
                    stride: (2, 2),
                    ..Default::default()
                };
                conv2d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv_transpose1d",
            Refused,
            &[&[2, 3, 5], &[3, 2, 3]],
            |t| t[0].conv_transpose1d(&t[1], 1, 0, 2, 1, 1),
            |t| {
                let config = ConvTranspose1dConfig {
                    padding: (1, 1),
                    stride: 2,
                    ..Default::default()
                };
                conv_transpose1d(&t[0], &t[1], None, &config)
            },
        ),
        row(
            "conv_transpose2d, dilated, output_padding 1",
            Refused,
            &[&[2, 3, 4, 5], &[3, 2, 3, 3]],
            |t| t[0].conv_transpose2d(&t[1], 0, 1, 1, 2),
            |t| {
                let config = dl_autograd::ConvTranspose2dConfig {
                    output_padding: (1, 1),
                    dilation: (2, 2),
                    ..Default::default()
                };
                dl_autograd::conv_transpose2d(&t[0], &t[1], None, &config)
            },
        ),
    ]
}

fn max_of(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let config = MaxPool2dConfig {
        kernel: (kernel, kernel),
        stride: Some((stride, stride)),
        ..Default::default()
    };
    max_pool2d(x, &config)
}

fn mean_of(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let config = AvgPool2dConfig {
        kernel: (kernel, kernel),
        stride: Some((stride, stride)),
        ..Default::default()
    };
    avg_pool2d(x, &config)
}

fn pools() -> Vec<Row> {
    use Fault::{Gradient, Refused};
    vec![
        row(
            "max_pool2d 2, 6×6",
            Gradient,
            &[&[1, 2, 6, 6]],
            |t| t[0].max_pool2d(2),
            |t| max_of(&t[0], 2, 2),
        ),
        row(
            "max_pool2d 2, 7×7",
            Gradient,
            &[&[1, 2, 7, 7]],
            |t| t[0].max_pool2d(2),
            |t| max_of(&t[0], 2, 2),
        ),
        row(
            "max_pool2d 3, stride 2",
            Refused,
            &[&[1, 2, 7, 7]],
            |t| t[0].max_pool2d_with_stride(3, 2),
            |t| max_of(&t[0], 3, 2),
        ),
        row(
            "avg_pool2d 2, 7×7",
            Gradient,
            &[&[1, 2, 7, 7]],
            |t| t[0].avg_pool2d(2),
            |t| mean_of(&t[0], 2, 2),
        ),
        row(
            "avg_pool2d 3, stride 2",
            Refused,
            &[&[1, 2, 7, 7]],
            |t| t[0].avg_pool2d_with_stride(3, 2),
            |t| mean_of(&t[0], 3, 2),
        ),
    ]
}

const NEAREST: Interpolation = Interpolation::Nearest;

fn resampling() -> Vec<Row> {
    use Fault::{Gradient, Refused};
    vec![
        row(
            "upsample_nearest1d, input used twice",
            Gradient,
            &[&[2, 2, 3]],
            |t| t[0].upsample_nearest1d(6)?.narrow(2, 0, 3)? + &t[0],
            |t| interpolate(&t[0], &[6], NEAREST)?.narrow(2, 0, 3)? + &t[0],
        ),
        row(
            "upsample_nearest2d, input used twice",
            Gradient,
            &[&[2, 2, 3, 3]],
            |t| {
                t[0].upsample_nearest2d(6, 6)?
                    .narrow(2, 0, 3)?
                    .narrow(3, 3, 3)?
                    + &t[0]
            },
            |t| {
                interpolate(&t[0], &[6, 6], NEAREST)?
                    .narrow(2, 0, 3)?
                    .narrow(3, 3, 3)?
                    + &t[0]
            },
        ),
        row(
            "upsample_nearest2d by 3/2",
            Refused,
            &[&[1, 2, 4, 4]],
            |t| t[0].upsample_nearest2d(6, 6),
            |t| interpolate(&t[0], &[6, 6], NEAREST),
        ),
        row(
            "upsample_nearest2d by 2 and 3",
            Refused,
            &[&[1, 2, 3, 3]],
            |t| t[0].upsample_nearest2d(6, 9),
            |t| interpolate(&t[0], &[6, 9], NEAREST),
        ),
        row(
            "upsample_nearest1d to less",
            Refused,
            &[&[1, 2, 6]],
            |t| t[0].upsample_nearest1d(4),
            |t| interpolate(&t[0], &[4], NEAREST),
        ),
        row(
            "upsample_bilinear2d",
            Refused,
            &[&[1, 2, 3, 3]],
            |t| t[0].upsample_bilinear2d(5, 6, false),
            |t| {
                let mode = Interpolation::Linear {
                    align_corners: false,
                };
                interpolate(&t[0], &[5, 6], mode)
            },
        ),
        row(
            "ops::replication_pad2d by 2",
            Refused,
            &[&[1, 2, 3, 3]],
            |t| ops::replication_pad2d(&t[0], 2),
            |t| pad(&t[0], &[(2, 2), (2, 2)], PadMode::Replicate),
        ),
    ]
}

fn indexing() -> Vec<Row> {
    use Fault::{Gradient, Value};
    vec![
        row(
            "Tensor::scatter",
            Gradient,
            &[&[4, 3], &[2, 3]],
            |t| t[0].scatter(&places()?, &t[1], 0),
            |t| scatter(&t[0], 0, &places()?, &t[1]),
        ),
        row(
            "Tensor::scatter_add",
            Gradient,
            &[&[2, 3], &[2, 3]],
            |t| t[0].scatter_add(&(places()? / 2.)?, &t[1], 0),
            |t| scatter_add(&t[0], 0, &(places()? / 2.)?, &t[1]),
        ),
        row(
            "Tensor::scatter_add of fewer rows",
            Fault::Refused,
            &[&[4, 3], &[2, 3]],
            |t| t[0].scatter_add(&places()?, &t[1], 0),
            |t| scatter_add(&t[0], 0, &places()?, &t[1]),
        ),
        row(
            "Tensor::max of equal elements",
            Gradient,
            &[&[4]],
            |t| t[0].max(0),
            |t| amax(&t[0], 0),
        )
        .at(&[1., 3., 3., 2.]),
        row(
            "Tensor::min of equal elements",
            Gradient,
            &[&[4]],
            |t| t[0].min(0),
            |t| amin(&t[0], 0),
        )
        .at(&[1., 3., 1., 2.]),
        row(
            "Tensor::cumsum over channels",
            Fault::Refused,
            &[&[2, 2, 3, 3]],
            |t| t[0].cumsum(1),
            |t| cumsum(&t[0], 1),
        ),
        row(
            "Tensor::index_select of a transposed table",
            Fault::Refused,
            &[&[3, 4]],
            |t| t[0].t()?.index_select(&first_and_last()?, 0),
            |t| embedding(&t[0].t()?, &first_and_last()?, None),
        ),
        row(
            "Tensor::cumsum before an infinity",
            Value,
            &[&[3]],
            |t| t[0].cumsum(0),
            |t| cumsum(&t[0], 0),
        )
        .at(&[1., 2., f64::INFINITY])
        .by_convention(|r| vec![r[0] + r[1] + r[2], r[1] + r[2], r[2]]),
    ]
}

fn pointwise() -> Vec<Row> {
    use Fault::{Gradient, Refused, Value};
    vec![
        row(
            "Tensor::gelu",
            Gradient,
            &[&[9]],
            |t| t[0].gelu(),
            |t| gelu_tanh(&t[0]),
        ),
        row(
            "Tensor::gelu_erf",
            Gradient,
            &[&[9]],
            |t| t[0].gelu_erf(),
            |t| gelu(&t[0]),
        ),
        row(
            "Tensor::relu at 0",
            Gradient,
            &[&[3]],
            |t| t[0].relu(),
            |t| relu(&t[0]),
        )
        .at(&[-1., 0., 2.])
        .by_convention(|r| vec![0., 0., r[2]]),
        row(
            "Tensor::pow of a negative number",
            Value,
            &[&[3]],
            |t| t[0].pow(&Tensor::new(&[2f64, 3., 1.], &Device::Cpu)?),
            |t| pow(&t[0], &Tensor::new(&[2f64, 3., 1.], &Device::Cpu)?),
        )
        .at(&[-1.5, -2., -0.5]),
        row(
            "Tensor::pow of 0",
            Gradient,
            &[&[3]],
            |t| t[0].pow(&Tensor::new(&[2f64, 3., 1.], &Device::Cpu)?),
            |t| pow(&t[0], &Tensor::new(&[2f64, 3., 1.], &Device::Cpu)?),
        )
        .at(&[0., 1., 0.]),
        row(
            "Tensor::powf(0) at 0",
            Gradient,
            &[&[2]],
            |t| t[0].powf(0.),
            |t| powf(&t[0], 0.),
        )
        .at(&[0., 2.]),
        row(
            "ops::dropout of all",
            Refused,
            &[&[4]],
            |t| ops::dropout(&t[0], 1.),
            |t| dropout(&t[0], 1., Rng::new(0, Purpose::Dropout, 0)),
        ),
        row(
            "x * 0.",
            Fault::Lost,
            &[&[3]],
            |t| &t[0] * 0.,
            |t| dl_autograd::scale(&t[0], 0.),
        ),
    ]
}

/// What one op does beside the truth.
#[derive(Debug)]
enum Verdict {
    Right,
    Wrong(Fault, String),
}

/// The result and the gradients of `Σ r ⊙ op(x)`.
fn run(op: Op, inputs: &[Tensor], dtype: DType) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let vars = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?));
    let vars = vars.collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors)?;
    let grads = (&y * weights(&y)?)?.sum_all()?.backward()?;
    Ok((
        y.detach(),
        vars.iter().map(|v| grads.get(v).cloned()).collect(),
    ))
}

/// Irregular, so that gradients that are mixed up between outputs do not cancel.
fn weights(y: &Tensor) -> Result<Tensor> {
    let weights = (0..y.elem_count()).map(|i| ((i * 7 + 3) % 11) as f64 / 11. - 0.4);
    let weights: Vec<f64> = weights.collect();
    Tensor::from_vec(weights, y.shape(), y.device())?.to_dtype(y.dtype())
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// `∂(Σ r ⊙ op(x))/∂x` of every input by central differences in f64, whose error is near 1e-9.
fn differences(op: Op, inputs: &[Tensor]) -> Result<Vec<Vec<f64>>> {
    const STEP: f64 = 1e-5;
    let loss = |inputs: &[Tensor]| -> Result<f64> {
        let y = op(inputs)?;
        (&y * weights(&y)?)?.sum_all()?.to_scalar()
    };
    let gradient = |which: usize| {
        let start = values(&inputs[which])?;
        let at = |i: usize, shift: f64| -> Result<f64> {
            let (mut moved, mut inputs) = (start.clone(), inputs.to_vec());
            moved[i] += shift;
            inputs[which] = Tensor::from_vec(moved, inputs[which].shape(), &Device::Cpu)?;
            loss(&inputs)
        };
        let slope = |i| Ok((at(i, STEP)? - at(i, -STEP)?) / (2. * STEP));
        (0..start.len()).map(slope).collect()
    };
    (0..inputs.len()).map(gradient).collect()
}

fn furthest(a: &[f64], b: &[f64]) -> f64 {
    let distance = |(a, b): (&f64, &f64)| if a == b { 0. } else { (a - b).abs() };
    let worst = |m: f64, d: f64| if d.is_nan() { f64::INFINITY } else { m.max(d) };
    a.iter().zip(b).map(distance).fold(0., worst)
}

fn judge(op: Op, row: &Row, dtype: DType, value: &[f64], truth: &[Vec<f64>]) -> Verdict {
    // f64: the error of the differences. f32: far above its rounding of sums of a dozen terms.
    let tolerance = if dtype == DType::F64 { 2e-8 } else { 1e-3 };
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ran = catch_unwind(AssertUnwindSafe(|| run(op, &row.inputs, dtype)));
    std::panic::set_hook(loud);
    let (y, grads) = match ran {
        Err(_) => return Verdict::Wrong(Fault::Panic, "in backward".into()),
        Ok(Err(error)) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            return Verdict::Wrong(Fault::Refused, first.to_owned());
        }
        Ok(Ok(result)) => result,
    };
    if let Some(lost) = grads.iter().position(Option::is_none) {
        return Verdict::Wrong(Fault::Lost, format!("input {lost}"));
    }
    let off = furthest(&values(&y).unwrap(), value);
    if off > tolerance {
        return Verdict::Wrong(Fault::Value, format!("off by {off:.1e}"));
    }
    let grads = grads.iter().flatten().map(|g| values(g).unwrap());
    let off = grads
        .zip(truth)
        .map(|(g, t)| furthest(&g, t))
        .fold(0., f64::max);
    match off > tolerance {
        true => Verdict::Wrong(Fault::Gradient, format!("off by {off:.1e}")),
        false => Verdict::Right,
    }
}

/// The subtraction that overflows wraps around to the right number in a release build.
fn shows_in_this_build(row: &Row) -> bool {
    row.fault != Fault::Panic || cfg!(debug_assertions)
}

#[test]
fn ours_agrees_with_the_truth_where_candle_does_not() {
    let mut surprises = vec![];
    println!("| op of candle 0.11.1 | fault | how |\n|---|---|---|");
    for row in rows().into_iter().filter(shows_in_this_build) {
        let y = (row.ours)(&row.inputs).unwrap();
        let truth = match row.convention {
            Some(gradient) => vec![gradient(&values(&weights(&y).unwrap()).unwrap())],
            None => differences(row.ours, &row.inputs).unwrap(),
        };
        let y = values(&y).unwrap();
        let ours = judge(row.ours, &row, DType::F64, &y, &truth);
        if !matches!(ours, Verdict::Right) {
            surprises.push(format!("{}: ours is {ours:?}", row.name));
        }
        match judge(row.candles, &row, row.dtype, &y, &truth) {
            Verdict::Wrong(fault, how) if fault == row.fault => {
                println!("| {} | {} | {how} |", row.name, fault.in_words());
            }
            verdict => surprises.push(format!("{}: candle's is {verdict:?}", row.name)),
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
}

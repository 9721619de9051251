//! How long do forward and backward of one kernel take: ours against candle's own way?
//!
//! `cargo bench --bench kernels`, then `python benches/peers/kernels.py` for the same in PyTorch and
//! one table of all three. A kernel that candle has no gradient for has no row of candle's.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::RNN;
use candle_nn::{Module, VarBuilder};
use criterion::{Criterion, criterion_group, criterion_main};
use dl_autograd::{
    Activation, AttentionOptions, AvgPool2dConfig, Causal, Conv1dConfig, Conv2dConfig,
    ConvTranspose1dConfig, ConvTranspose2dConfig, Direction, Interpolation, MaxPool2dConfig,
    PadMode, Purpose, RecurrentWeights, Reduction, Rng, Tape, adaptive_avg_pool2d, add_layer_norm,
    avg_pool2d, backward, batch_norm, conv_transpose1d, conv_transpose2d, conv1d, conv2d,
    cross_entropy, dropout, embedding, gelu, group_norm, gru, interpolate, layer_norm, linear,
    log_softmax, lstm, matmul, max_pool2d, pad, relu, rms_norm, rope, rope_frequencies,
    scaled_dot_product_attention, softmax, sum,
};
use dl_core::allocator::{MiMalloc, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// One bench: the shapes of its tracked inputs, our way, and candle's if it has one.
struct Kernel {
    name: &'static str,
    shapes: Vec<Vec<usize>>,
    ours: Op,
    candles: Option<Op>,
}

type Op = fn(&[Tensor]) -> Result<Tensor>;

fn kernel(name: &'static str, shapes: &[&[usize]], ours: Op, candles: Option<Op>) -> Kernel {
    Kernel {
        name,
        shapes: shapes.iter().map(|s| s.to_vec()).collect(),
        ours,
        candles,
    }
}

fn same(groups: usize) -> Conv2dConfig {
    Conv2dConfig {
        padding: 1.into(),
        groups,
        ..Default::default()
    }
}

fn classes(count: u32) -> Result<Tensor> {
    Tensor::arange(0u32, count, &Device::Cpu)
}

/// As many ids as a batch of 16 texts of 128 has, spread over the vocabulary.
fn ids() -> Result<Tensor> {
    let ids: Vec<u32> = (0..2048).map(|i| i * 7919 % 30_522).collect();
    Tensor::new(ids, &Device::Cpu)
}

/// Layer norm in candle's operations: its own layer lets no gradient through.
fn candle_layer_norm(t: &[Tensor]) -> Result<Tensor> {
    let centred = t[0].broadcast_sub(&t[0].mean_keepdim(1)?)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    centred
        .broadcast_div(&(variance + 1e-12)?.sqrt()?)?
        .broadcast_mul(&t[1])?
        .broadcast_add(&t[2])
}

fn candle_batch_norm(t: &[Tensor]) -> Result<Tensor> {
    let mean = t[0].mean_keepdim((0, 2, 3))?;
    let centred = t[0].broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    centred
        .broadcast_div(&(variance + 1e-5)?.sqrt()?)?
        .broadcast_mul(&t[1].reshape((1, (), 1, 1))?)?
        .broadcast_add(&t[2].reshape((1, (), 1, 1))?)?
        .relu()
}

fn candle_attention(t: &[Tensor]) -> Result<Tensor> {
    let scores = (t[0].matmul(&t[1].t()?)? * (t[0].dims()[3] as f64).powf(-0.5))?;
    candle_nn::ops::softmax(&scores, 3)?.matmul(&t[2])
}

fn causal_attention(t: &[Tensor]) -> Result<Tensor> {
    let options = AttentionOptions {
        causal: Causal::TopLeft,
        ..Default::default()
    };
    scaled_dot_product_attention(&t[0], &t[1], &t[2], &options)
}

fn candle_causal_attention(t: &[Tensor]) -> Result<Tensor> {
    let (n, d) = (t[0].dims()[2], t[0].dims()[3]);
    let later = (0..n * n).map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0. });
    let later = Tensor::from_vec(later.collect(), (n, n), &Device::Cpu)?;
    let scores = (t[0].matmul(&t[1].t()?)? * (d as f64).powf(-0.5))?;
    candle_nn::ops::softmax(&scores.broadcast_add(&later)?, 3)?.matmul(&t[2])
}

fn candle_rms_norm(t: &[Tensor]) -> Result<Tensor> {
    candle_nn::ops::rms_norm_slow(&t[0], &t[1], 1e-6)
}

/// The stem of a ResNet, whose windows overlap.
fn stem_pool(t: &[Tensor]) -> Result<Tensor> {
    let config = MaxPool2dConfig {
        kernel: (3, 3),
        stride: Some((2, 2)),
        padding: (1, 1),
        ..Default::default()
    };
    max_pool2d(&t[0], &config)
}

fn conv1d_same(t: &[Tensor]) -> Result<Tensor> {
    let config = Conv1dConfig {
        padding: (1, 1),
        ..Default::default()
    };
    conv1d(&t[0], &t[1], None, &config)
}

fn upsampling(t: &[Tensor]) -> Result<Tensor> {
    let config = ConvTranspose2dConfig {
        stride: (2, 2),
        ..Default::default()
    };
    conv_transpose2d(&t[0], &t[1], None, &config)
}

fn bilinear(t: &[Tensor]) -> Result<Tensor> {
    let mode = Interpolation::Linear {
        align_corners: false,
    };
    interpolate(&t[0], &[56, 56], mode)
}

fn plain_weights(t: &[Tensor]) -> RecurrentWeights {
    RecurrentWeights {
        weight_ih: t[1].clone(),
        weight_hh: t[2].clone(),
        bias: Some([t[3].clone(), t[4].clone()]),
    }
}

/// candle's own layer, which takes one step after the other.
fn candle_rnn<R: RNN>(
    t: &[Tensor],
    new: fn(VarBuilder) -> Result<R>,
) -> Result<(R, Vec<R::State>)> {
    let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    let weights = names.iter().zip(&t[1..]);
    let weights = weights
        .map(|(name, w)| (name.to_string(), w.clone()))
        .collect();
    let rnn = new(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?;
    let states = rnn.seq(&t[0])?;
    Ok((rnn, states))
}

fn candle_lstm(t: &[Tensor]) -> Result<Tensor> {
    let (rnn, states) = candle_rnn(t, |vb| candle_nn::lstm(256, 256, Default::default(), vb))?;
    rnn.states_to_tensor(&states)
}

fn candle_gru(t: &[Tensor]) -> Result<Tensor> {
    let (rnn, states) = candle_rnn(t, |vb| candle_nn::gru(256, 256, Default::default(), vb))?;
    rnn.states_to_tensor(&states)
}

fn candle_group_norm(t: &[Tensor]) -> Result<Tensor> {
    candle_nn::GroupNorm::new(t[1].clone(), t[2].clone(), 64, 8, 1e-5)?.forward(&t[0])
}

fn audio_upsampling(t: &[Tensor]) -> Result<Tensor> {
    let config = ConvTranspose1dConfig {
        stride: 4,
        padding: (2, 2),
        ..Default::default()
    };
    conv_transpose1d(&t[0], &t[1], None, &config)
}

fn kernels() -> Vec<Kernel> {
    [dense(), images(), sequences(), recurrent()]
        .into_iter()
        .flatten()
        .collect()
}

/// Pools, resampling, and the convolutions that are not plain.
fn images() -> Vec<Kernel> {
    vec![
        kernel(
            "conv1d 3, 16×128×512",
            &[&[16, 128, 512], &[128, 128, 3]],
            conv1d_same,
            Some(|t| t[0].conv1d(&t[1], 1, 1, 1, 1)),
        ),
        kernel(
            "conv_transpose1d 8 stride 4, 16×64×512",
            &[&[16, 64, 512], &[64, 64, 8]],
            audio_upsampling,
            Some(|t| t[0].conv_transpose1d(&t[1], 2, 0, 4, 1, 1)),
        ),
        kernel(
            "conv_transpose2d 2×2, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 2, 2]],
            upsampling,
            Some(|t| t[0].conv_transpose2d(&t[1], 0, 0, 2, 1)),
        ),
        kernel(
            "max_pool2d 3×3 stride 2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            stem_pool,
            None,
        ),
        kernel(
            "max_pool2d 2×2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| max_pool2d(&t[0], &MaxPool2dConfig::default()),
            Some(|t| t[0].max_pool2d(2)),
        ),
        kernel(
            "avg_pool2d 2×2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| avg_pool2d(&t[0], &AvgPool2dConfig::default()),
            Some(|t| t[0].avg_pool2d(2)),
        ),
        kernel(
            "adaptive_avg_pool2d to 7×7, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| adaptive_avg_pool2d(&t[0], (7, 7)),
            Some(|t| t[0].avg_pool2d(8)),
        ),
        kernel(
            "interpolate bilinear ×2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            bilinear,
            None,
        ),
        kernel(
            "interpolate nearest ×2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            |t| interpolate(&t[0], &[56, 56], Interpolation::Nearest),
            Some(|t| t[0].upsample_nearest2d(56, 56)),
        ),
        kernel(
            "pad reflect 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Reflect),
            None,
        ),
        kernel(
            "pad constant 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Constant(0.)),
            Some(|t| t[0].pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)),
        ),
    ]
}

fn recurrent() -> Vec<Kernel> {
    vec![
        kernel(
            "lstm, 32×64×256→256",
            &[&[32, 64, 256], &[1024, 256], &[1024, 256], &[1024], &[1024]],
            |t| Ok(lstm(&t[0], None, &plain_weights(t), None, Direction::Forward)?.0),
            Some(candle_lstm),
        ),
        kernel(
            "gru, 32×64×256→256",
            &[&[32, 64, 256], &[768, 256], &[768, 256], &[768], &[768]],
            |t| Ok(gru(&t[0], None, &plain_weights(t), None, Direction::Forward)?.0),
            Some(candle_gru),
        ),
    ]
}

fn sequences() -> Vec<Kernel> {
    vec![
        kernel(
            "attention, 16×12×128×32",
            &[&[16, 12, 128, 32][..]; 3],
            |t| scaled_dot_product_attention(&t[0], &t[1], &t[2], &AttentionOptions::default()),
            Some(candle_attention),
        ),
        kernel(
            "attention, causal, 2×8×1024×64",
            &[&[2, 8, 1024, 64][..]; 3],
            causal_attention,
            Some(candle_causal_attention),
        ),
        kernel(
            "rms_norm, 2048×384",
            &[&[2048, 384], &[384]],
            |t| rms_norm(&t[0], Some(&t[1]), 1e-6),
            Some(candle_rms_norm),
        ),
        kernel(
            "log_softmax, 512×10000",
            &[&[512, 10_000]],
            |t| log_softmax(&t[0], 1),
            Some(|t| candle_nn::ops::log_softmax(&t[0], 1)),
        ),
        kernel(
            "rope, 16×12×128×64",
            &[&[16, 12, 128, 64]],
            |t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                rope(&t[0], &cos, &sin)
            },
            Some(|t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                candle_nn::rotary_emb::rope_slow(&t[0], &cos, &sin)
            }),
        ),
    ]
}

fn dense() -> Vec<Kernel> {
    vec![
        kernel(
            "linear 2048×768→768",
            &[&[2048, 768], &[768, 768], &[768]],
            |t| linear(&t[0], &t[1], Some(&t[2])),
            Some(|t| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])),
        ),
        kernel(
            "matmul 48×128×64×128",
            &[&[48, 128, 64], &[48, 64, 128]],
            |t| matmul(&t[0], &t[1]),
            Some(|t| t[0].matmul(&t[1])),
        ),
        kernel(
            "conv2d 3×3, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 3, 3]],
            |t| conv2d(&t[0], &t[1], None, &same(1)),
            Some(|t| t[0].conv2d(&t[1], 1, 1, 1, 1)),
        ),
        kernel(
            "conv2d 1×1, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 1, 1]],
            |t| conv2d(&t[0], &t[1], None, &Conv2dConfig::default()),
            Some(|t| t[0].conv2d(&t[1], 0, 1, 1, 1)),
        ),
        kernel(
            "depthwise conv2d 3×3, 16×96×28×28",
            &[&[16, 96, 28, 28], &[96, 1, 3, 3]],
            |t| conv2d(&t[0], &t[1], None, &same(96)),
            Some(|t| t[0].conv2d(&t[1], 1, 1, 1, 96)),
        ),
        kernel(
            "batch_norm + relu, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5, Activation::Relu)?.0),
            Some(candle_batch_norm),
        ),
        kernel(
            "group_norm 8, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| group_norm(&t[0], 8, Some(&t[1]), Some(&t[2]), 1e-5),
            Some(candle_group_norm),
        ),
        kernel(
            "residual + layer_norm, 2048×384",
            &[&[2048, 384], &[2048, 384], &[384], &[384]],
            |t| add_layer_norm(&t[0], &t[1], Some(&t[2]), Some(&t[3]), 1e-12),
            Some(|t| {
                let sum = (&t[0] + &t[1])?;
                candle_layer_norm(&[sum, t[2].clone(), t[3].clone()])
            }),
        ),
        kernel(
            "relu, 4 M",
            &[&[4_000_000]],
            |t| relu(&t[0]),
            Some(|t| t[0].relu()),
        ),
        kernel(
            "dropout, 4 M",
            &[&[4_000_000]],
            |t| dropout(&t[0], 0.1, Rng::new(0, Purpose::Dropout, 0)),
            Some(|t| candle_nn::ops::dropout(&t[0], 0.1)),
        ),
        kernel(
            "layer_norm, 2048×384",
            &[&[2048, 384], &[384], &[384]],
            |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-12),
            Some(candle_layer_norm),
        ),
        kernel(
            "softmax, 24576×128",
            &[&[24_576, 128]],
            |t| softmax(&t[0], 1),
            Some(|t| candle_nn::ops::softmax(&t[0], 1)),
        ),
        kernel(
            "gelu, 3 M",
            &[&[2048, 1536]],
            |t| gelu(&t[0]),
            Some(|t| t[0].gelu_erf()),
        ),
        kernel(
            "embedding, 2048 of 30522×384",
            &[&[30_522, 384]],
            |t| embedding(&t[0], &ids()?, None),
            Some(|t| t[0].index_select(&ids()?, 0)),
        ),
        kernel(
            "cross_entropy, 512×10000",
            &[&[512, 10_000]],
            |t| cross_entropy(&t[0], &classes(512)?, &Default::default(), Reduction::None),
            Some(|t| candle_nn::loss::cross_entropy(&t[0], &classes(512)?)),
        ),
    ]
}

fn input(index: usize, shape: &[usize]) -> Var {
    let mut values = vec![0f32; shape.iter().product()];
    Rng::new(index as u64, Purpose::Other(0), 0).fill_normal(&mut values);
    Var::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

fn forward_and_backward(kernels: Vec<Kernel>, criterion: &mut Criterion) {
    for kernel in kernels {
        let mut group = criterion.benchmark_group(kernel.name);
        let shapes = kernel.shapes.iter().enumerate();
        let inputs: Vec<Tensor> = shapes.map(|(i, s)| input(i, s).into_inner()).collect();
        group.bench_function("ours", |bench| {
            bench.iter(|| -> Result<_> {
                let _tape = Tape::new();
                backward(&sum(&(kernel.ours)(&inputs)?)?)
            });
        });
        if let Some(candles) = kernel.candles {
            group.bench_function("candle", |bench| {
                bench.iter(|| candles(&inputs)?.sum_all()?.backward());
            });
        }
        group.finish();
    }
}

fn every_kernel(criterion: &mut Criterion) {
    keep_freed_memory();
    forward_and_backward(kernels(), criterion);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = every_kernel
}
criterion_main!(benches);

//! How long do forward and backward of one kernel take: ours against candle's own way?
//!
//! `cargo bench --bench kernels`, then `python benches/peers/kernels.py` for the same in PyTorch and
//! one table of all three. A kernel that candle has no gradient for has no row of candle's.

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use dl_autograd::{
    Activation, Conv2dConfig, Purpose, Reduction, Rng, Tape, backward, batch_norm, conv2d,
    cross_entropy, dropout, embedding, gelu, layer_norm, linear, matmul, relu, softmax, sum,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

fn kernels() -> Vec<Kernel> {
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
            None,
        ),
        kernel(
            "batch_norm + relu, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64], &[64]],
            |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5, Activation::Relu)?.0),
            Some(candle_batch_norm),
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
            |t| layer_norm(&t[0], &t[1], &t[2], 1e-12),
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
    forward_and_backward(kernels(), criterion);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = every_kernel
}
criterion_main!(benches);

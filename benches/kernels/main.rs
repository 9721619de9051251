//! How long do forward and backward of one kernel take: ours against candle's own way?
//!
//! `cargo bench --bench kernels`, then `python benches/peers/kernels.py` for the same in PyTorch and
//! one table of all three. A kernel that candle has no gradient for has no row of candle's.

mod dense;
mod elements;
mod images;
mod losses;
mod sequences;
mod shapes;

use std::sync::LazyLock;

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use dl_autograd::{Purpose, Rng, Tape, backward, sum};
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

fn kernels() -> Vec<Kernel> {
    [
        dense::dense(),
        images::images(),
        sequences::sequences(),
        sequences::recurrent(),
        elements::activations(),
        elements::gates(),
        elements::noise(),
        elements::arithmetic(),
        losses::losses(),
        shapes::indices(),
        shapes::slices(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn input(index: usize, shape: &[usize]) -> Var {
    let mut values = vec![0f32; shape.iter().product()];
    Rng::new(index as u64, Purpose::Other(0), 0).fill_normal(&mut values);
    Var::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

fn forward_and_backward(kernels: Vec<Kernel>, criterion: &mut Criterion) {
    for kernel in kernels {
        let mut group = criterion.benchmark_group(kernel.name);
        // Not for what a filter leaves out.
        let inputs = LazyLock::new(|| {
            let shapes = kernel.shapes.iter().enumerate();
            shapes
                .map(|(i, s)| input(i, s).into_inner())
                .collect::<Vec<_>>()
        });
        group.bench_function("ours", |bench| {
            let run = || -> Result<_> {
                let _tape = Tape::new();
                backward(&sum(&(kernel.ours)(&inputs)?)?)
            };
            // An error would be fast.
            bench.iter(|| run().expect(kernel.name));
        });
        if let Some(candles) = kernel.candles {
            group.bench_function("candle", |bench| {
                let run = || candles(&inputs)?.sum_all()?.backward();
                bench.iter(|| run().expect(kernel.name));
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

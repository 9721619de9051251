//! What a frozen base costs: nothing, measured in bytes allocated at the peak of a step.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor, Var};
use dl_autograd::{Tape, add, backward, linear, sum};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const DIM: usize = 512;
const LAYERS: usize = 12;
const RANK: usize = 4;
const WEIGHT_BYTES: usize = DIM * DIM * 4;

struct Layer {
    base: Tensor,
    down: Var,
    up: Var,
}

fn layers(trained: bool) -> Vec<Layer> {
    let var = |rows, cols| Var::ones((rows, cols), candle_core::DType::F32, &Device::Cpu).unwrap();
    let base = |v: Var| match trained {
        true => v.into_inner(),
        false => v.as_detached_tensor(),
    };
    (0..LAYERS)
        .map(|_| Layer {
            base: base(var(DIM, DIM)),
            down: var(RANK, DIM),
            up: var(DIM, RANK),
        })
        .collect()
}

/// Base and adapter as in LoRA: `x·Wᵀ + x·Aᵀ·Bᵀ`.
fn forward(layers: &[Layer], x: &Tensor) -> Result<Tensor> {
    layers.iter().try_fold(x.clone(), |x, layer| {
        let adapter = linear(&linear(&x, &layer.down, None)?, &layer.up, None)?;
        add(&linear(&x, &layer.base, None)?, &adapter)
    })
}

/// Bytes that one step allocates above what was there before, at its peak.
fn peak_of_a_step(layers: &[Layer], by_tape: bool) -> usize {
    let x = Tensor::zeros((2, DIM), candle_core::DType::F32, &Device::Cpu).unwrap();
    let step = || {
        let _tape = Tape::new();
        let loss = sum(&forward(layers, &x).unwrap()).unwrap();
        match by_tape {
            true => backward(&loss).unwrap(),
            false => loss.backward().unwrap(),
        }
    };
    // The first step starts the threads and their scratch buffers.
    drop(step());
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let grads = step();
    for layer in layers {
        assert!(grads.get(&layer.down).is_some() && grads.get(&layer.up).is_some());
        assert_eq!(grads.get(&layer.base).is_some(), layer.base.track_op());
    }
    MEMORY.peak_usage() - before
}

/// All in one test: the peak is that of the whole process.
#[test]
fn a_frozen_base_costs_no_gradient_memory() {
    for by_tape in [true, false] {
        let trained = peak_of_a_step(&layers(true), by_tape);
        let frozen = peak_of_a_step(&layers(false), by_tape);
        assert!(trained >= LAYERS * WEIGHT_BYTES, "trained: {trained}");
        // Less than two weights' worth: activations, adapters' gradients, packed panels of a product.
        assert!(frozen < 2 * WEIGHT_BYTES, "frozen: {frozen}");
    }
}

//! What forward keeps for backward: no mask of dropout, no scores of attention.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Result, Var};
use dl_autograd::{
    AttentionOptions, Purpose, Rng, Tape, backward, dropout, scaled_dot_product_attention, sum,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that a step allocates at its peak; the first one starts the threads and their scratch.
fn peak(step: impl Fn() -> Result<()>) -> usize {
    step().unwrap();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    step().unwrap();
    MEMORY.peak_usage() - before
}

fn var(shape: &[usize]) -> Var {
    Var::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

fn stream() -> Rng {
    Rng::new(0, Purpose::Dropout, 0)
}

/// All in one test: the peak is that of the whole process.
#[test]
fn masks_and_scores_are_never_stored() {
    let x = var(&[1 << 20]);
    let bytes = 4 << 20;
    let dropped = peak(|| {
        let _tape = Tape::new();
        backward(&sum(&dropout(&x, 0.5, stream())?)?).map(|_| ())
    });
    // The result, the gradient that arrives and the one that leaves; the smallest mask, of bytes,
    // would be a fourth of one more.
    assert!(dropped < 3 * bytes + bytes / 8, "{dropped}");

    let [q, k, v] = [0; 3].map(|_| var(&[1, 4, 1024, 16]));
    let options = AttentionOptions {
        dropout: Some((0.1, stream())),
        ..Default::default()
    };
    let attended = peak(|| {
        let _tape = Tape::new();
        let y = scaled_dot_product_attention(&q, &k, &v, &options)?;
        backward(&sum(&y)?).map(|_| ())
    });
    // Six tensors of a quarter of a megabyte and the blocks of two threads; the scores of one head
    // alone would be four megabytes, those of all sixteen.
    assert!(attended < 4 << 20, "{attended}");
}

//! What this machine can do at the most, measured beside a workload and not taken from a data sheet.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// What a workload spends its time on.
#[derive(Clone, Copy)]
pub enum Bound {
    /// Multiplications and additions.
    Arithmetic,
    /// Bytes read and written.
    Memory,
}

impl Bound {
    /// The most operations or bytes a second: of a product of large matrices, of a pass over a
    /// large vector.
    pub fn limit(self) -> Result<f64> {
        match self {
            Self::Arithmetic => product(),
            Self::Memory => pass(),
        }
    }
}

/// 2n³ operations.
fn product() -> Result<f64> {
    let n = 1536;
    let a = Tensor::ones((n, n), DType::F32, &Device::Cpu)?;
    let seconds = fastest(|| {
        a.matmul(&a)?;
        Ok(())
    })?;
    Ok(2. * (n as f64).powi(3) / seconds)
}

/// Every byte is read and written, in place: the cache lines of a second vector would be read as well
/// before they are written.
fn pass() -> Result<f64> {
    let mut x = vec![1f32; 32 << 20];
    let part = x.len().div_ceil(rayon::current_num_threads());
    let seconds = fastest(|| {
        let parts = x.par_chunks_mut(part);
        parts.for_each(|part| part.iter_mut().for_each(|x| *x += 1.));
        Ok(())
    })?;
    Ok(2. * size_of_val(&x[..]) as f64 / seconds)
}

/// Seconds of the fastest run in half a second.
fn fastest(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut best, begun) = (Duration::MAX, Instant::now());
    while begun.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    Ok(best.as_secs_f64())
}

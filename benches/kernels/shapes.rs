//! Slices, indices, extrema, running sums.

use candle_core::{Device, Result, Tensor};
use dl_autograd::{amax, amin, cat, chunk, cumsum, max, min, scatter, scatter_add, split, unbind};

use crate::{Kernel, Op, kernel};

/// 65,536 places of 32 columns, all different.
fn places() -> Result<Tensor> {
    let rows = (0..65_536u32).flat_map(|i| std::iter::repeat_n(i * 7919 % 65_536, 32));
    Tensor::from_vec(rows.collect::<Vec<_>>(), (65_536, 32), &Device::Cpu)
}

/// The slices of one tensor, and all of them again in a row.
fn joined(parts: Vec<Tensor>, dim: usize) -> Result<Tensor> {
    cat(&parts.iter().collect::<Vec<_>>(), dim)
}

fn rows(name: &'static str, ours: Op, candles: Option<Op>) -> Kernel {
    kernel(name, &[&[2048, 1536]], ours, candles)
}

pub fn indices() -> Vec<Kernel> {
    let written: &[&[usize]] = &[&[65_536, 32], &[65_536, 32]];
    vec![
        kernel(
            "scatter, 65536×32",
            written,
            |t| scatter(&t[0], 0, &places()?, &t[1]),
            Some(|t| t[0].scatter(&places()?, &t[1], 0)),
        ),
        kernel(
            "scatter_add, 65536×32",
            written,
            |t| scatter_add(&t[0], 0, &places()?, &t[1]),
            Some(|t| t[0].scatter_add(&places()?, &t[1], 0)),
        ),
        rows(
            "max, 2048×1536",
            |t| Ok(max(&t[0], 1)?.0),
            Some(|t| t[0].max(1)),
        ),
        rows(
            "min, 2048×1536",
            |t| Ok(min(&t[0], 1)?.0),
            Some(|t| t[0].min(1)),
        ),
        rows("amax, 2048×1536", |t| amax(&t[0], 1), Some(|t| t[0].max(1))),
        rows("amin, 2048×1536", |t| amin(&t[0], 1), Some(|t| t[0].min(1))),
        rows(
            "cumsum, 2048×1536",
            |t| cumsum(&t[0], 1),
            Some(|t| t[0].cumsum(1)),
        ),
    ]
}

pub fn slices() -> Vec<Kernel> {
    vec![
        rows(
            "split and cat of 12, 2048×1536",
            |t| joined(split(&t[0], &[128; 12], 1)?, 1),
            Some(|t| {
                let parts = (0..12).map(|i| t[0].narrow(1, i * 128, 128));
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
            }),
        ),
        rows(
            "chunk and cat of 3, 2048×1536",
            |t| joined(chunk(&t[0], 3, 1)?, 1),
            Some(|t| Tensor::cat(&t[0].chunk(3, 1)?, 1)),
        ),
        kernel(
            "unbind and cat of 16, 128×16×1536",
            &[&[128, 16, 1536]],
            |t| joined(unbind(&t[0], 1)?, 1),
            Some(|t| {
                let parts = (0..16).map(|i| t[0].narrow(1, i, 1)?.squeeze(1));
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
            }),
        ),
    ]
}

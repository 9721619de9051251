//! How long does a training step take?
//!
//! ```text
//! cargo run --release --example train_speed -- mlp resnet20        these workloads
//! cargo run --release --example train_speed                        all of them
//! cargo run --release --example train_speed -- --scaling PLOT.svg  by batch, sequence and threads
//! cargo run --release --example train_speed -- --trainer           what the trainer adds to a step
//! cargo run --release --example train_speed -- --first-step mlp    one step and out
//! ```
//!
//! Prints one line of JSON for each: the median over the steps after the warm-up, the arithmetic of the
//! dense layers, convolutions and attention a second (of the optimizer alone: the bytes), which share that
//! is of a large matrix product's (of a pass over a large vector) in the same minute, and the highest
//! resident memory of the process so far, which is the workload's own when it is the only one. A
//! convolution may come out above 1: Winograd's way needs fewer multiplications than are counted. The loss
//! falls because every step sees the same batch. `benches/peers/compare.sh` sets this beside PyTorch.

mod limit;
mod scaling;
mod trainer_cost;
mod workload;

use dl_core::allocator::{MiMalloc, keep_freed_memory};
use dl_core::threads::compute_on;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

use limit::Bound;
use workload::{Size, WORKLOADS, Workload};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Times training steps on made-up batches.
#[derive(Parser)]
struct Args {
    /// Names of workloads; all by default.
    workloads: Vec<String>,
    /// The perceptron in a loop of its own and by the trainer, by turns, instead of workloads.
    #[arg(long)]
    trainer: bool,
    /// Takes one step of each workload and prints its loss, for a stopwatch around the process.
    #[arg(long, conflicts_with = "trainer")]
    first_step: bool,
    /// Threads to compute with.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How long each workload is measured, in seconds; never fewer than 5 steps.
    #[arg(long, default_value_t = 5.)]
    seconds: f64,
    /// Samples of a step, in place of the workload's own.
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a sample, in place of the workload's own.
    #[arg(long)]
    sequence: Option<usize>,
    /// Draws the speed over batches, sequences and threads into this file instead.
    #[arg(long, conflicts_with_all = ["workloads", "batch", "sequence"])]
    scaling: Option<PathBuf>,
}

fn main() -> Result<()> {
    keep_freed_memory();
    let args = Args::parse();
    if let Some(path) = &args.scaling {
        return scaling::draw(path, args.threads, args.seconds);
    }
    compute_on(args.threads)?;
    if args.trainer {
        println!("{}", trainer_cost::measured(args.seconds)?);
        return Ok(());
    }
    let names = match args.workloads.is_empty() {
        true => WORKLOADS.map(|(name, _)| name.to_string()).to_vec(),
        false => args.workloads.clone(),
    };
    let size = Size {
        batch: args.batch,
        sequence: args.sequence,
    };
    for name in names {
        let workload = Workload::named(&name, size)?;
        println!(
            "{}",
            match args.first_step {
                true => first_step(&name, workload)?,
                false => measured(&name, workload, &args)?,
            }
        );
    }
    Ok(())
}

fn first_step(name: &str, mut workload: Workload) -> Result<serde_json::Value> {
    Ok(json!({ "workload": name, "loss_first": (workload.step)()? }))
}

fn measured(name: &str, mut workload: Workload, args: &Args) -> Result<serde_json::Value> {
    let first = (workload.step)()?;
    for _ in 0..2 {
        (workload.step)()?;
    }
    // Memory that is not written is not resident.
    let mut times: Vec<f32> = Vec::with_capacity(1 << 20);
    let (mut last, begun) = (first, Instant::now());
    while times.len() < 5 || begun.elapsed().as_secs_f64() < args.seconds {
        let start = Instant::now();
        last = (workload.step)()?;
        times.push(start.elapsed().as_secs_f32());
    }
    let middle = times.len() / 2;
    let seconds = f64::from(*times.select_nth_unstable_by(middle, f32::total_cmp).1);
    let peak_rss_mb = peak_rss_mb();
    let speed = workload.work as f64 / seconds;
    let (gflops, gigabytes) = match workload.bound {
        Bound::Arithmetic => (Some(speed / 1e9), None),
        Bound::Memory => (None, Some(speed / 1e9)),
    };
    Ok(json!({
        "workload": name,
        "ms_per_step": seconds * 1e3,
        "samples_per_second": workload.samples as f64 / seconds,
        "gflops": gflops,
        "gigabytes_per_second": gigabytes,
        "share_of_limit": speed / workload.bound.limit()?,
        "peak_rss_mb": peak_rss_mb,
        "loss_first": first,
        "loss_last": last,
        "steps": times.len(),
        "threads": args.threads,
        "batch": workload.samples,
    }))
}

/// The highest resident memory so far, where the system says so.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1e3)
}

//! The loop of `examples/train_speed`, for any framework.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use mimalloc::MiMalloc;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc's header, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// One step again and again.
pub struct Workload {
    /// Samples of a step.
    pub samples: usize,
    /// Takes a step and returns its loss.
    pub step: Box<dyn FnMut() -> Result<f32>>,
}

/// Builds a workload.
pub type Build = fn() -> Result<Workload>;

/// Times training steps on made-up batches.
#[derive(Parser)]
struct Args {
    /// Names of workloads; all by default.
    workloads: Vec<String>,
    /// Threads to compute with.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How long each workload is measured, in seconds; never fewer than 5 steps.
    #[arg(long, default_value_t = 5.)]
    seconds: f64,
    /// Prints the names of the workloads instead.
    #[arg(long)]
    list: bool,
}

/// The `main` of a peer: one line of JSON for each workload that is asked for.
pub fn run(peer: &str, workloads: &[(&str, Build)]) -> Result<()> {
    let args = Args::parse();
    if args.list {
        workloads.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    keep_freed_memory();
    compute_on(args.threads)?;
    let names = match args.workloads.is_empty() {
        true => workloads.iter().map(|(name, _)| name.to_string()).collect(),
        false => args.workloads.clone(),
    };
    for name in names {
        let known = workloads.iter().find(|(known, _)| *known == name);
        let (_, build) = known.with_context(|| format!("{peer} has no workload `{name}`"))?;
        println!("{}", measured(peer, &name, build()?, &args)?);
    }
    Ok(())
}

fn measured(peer: &str, name: &str, mut workload: Workload, args: &Args) -> Result<Value> {
    let first = (workload.step)()?;
    for _ in 0..2 {
        (workload.step)()?;
    }
    let (mut times, mut last, begun) = (vec![], first, Instant::now());
    while times.len() < 5 || begun.elapsed().as_secs_f64() < args.seconds {
        let start = Instant::now();
        last = (workload.step)()?;
        times.push(start.elapsed());
    }
    times.sort();
    let seconds = Duration::as_secs_f64(&times[times.len() / 2]);
    Ok(json!({
        "workload": name,
        "peer": peer,
        "ms_per_step": seconds * 1e3,
        "samples_per_second": workload.samples as f64 / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "loss_first": first,
        "loss_last": last,
        "steps": times.len(),
        "threads": args.threads,
        "batch": workload.samples,
    }))
}

/// As the library's own programs do it: what is freed stays for the next step.
fn keep_freed_memory() {
    // SAFETY: an atomic store to a setting of the allocator. The version of the bindings is pinned, so
    // the number is that option's; −1 is "never".
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// The calling thread is one of them, so that it does not sleep through every operation.
fn compute_on(threads: usize) -> Result<()> {
    // SAFETY: first in `main`, when there is no other thread. candle asks this variable how many
    // threads its matrix products and its own pool may take.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.use_current_thread().build_global()?;
    Ok(())
}

/// The highest resident memory so far, where the system says so.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1e3)
}

//! How the arithmetic a second changes with the batch, the sequence and the threads.
//!
//! A line that does not fall says that the time of a step grows no faster than its arithmetic.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dl_core::plot::{Curves, Panel, Series};

const BATCHES: [usize; 5] = [1, 4, 16, 64, 256];
const SEQUENCES: [usize; 5] = [64, 128, 256, 512, 1024];

/// Workload, flag, its values, and what else is given. BERT's positions end at 512.
const SWEEPS: [(&str, &str, &[usize], &[&str]); 5] = [
    ("mlp", "--batch", &BATCHES, &[]),
    ("resnet20", "--batch", &BATCHES, &[]),
    ("lstm", "--batch", &BATCHES, &[]),
    ("gpt", "--sequence", &SEQUENCES, &["--batch", "4"]),
    (
        "minilm",
        "--sequence",
        SEQUENCES.split_at(4).0,
        &["--batch", "2"],
    ),
];

/// Measures every sweep with one thread and with so many, and draws it.
pub fn draw(path: &Path, threads: usize, seconds: f64) -> Result<()> {
    let mut curves = Curves::new("Arithmetic of a training step a second");
    curves.axis = "log₂ of the size".to_string();
    for (flag, quantity) in [
        ("--batch", "GFLOP/s by samples of a batch"),
        ("--sequence", "GFLOP/s by tokens of a sample"),
    ] {
        let mut panel = Panel::new(quantity);
        for (color, (name, _, values, rest)) in SWEEPS.iter().filter(|s| s.1 == flag).enumerate() {
            for count in [1, threads] {
                let measured = values
                    .iter()
                    .map(|value| point(name, flag, *value, rest, (count, seconds)));
                let points = measured.collect::<Result<Vec<_>>>()?;
                let plural = if count == 1 { "" } else { "s" };
                let series = Series::new(format!("{name}, {count} thread{plural}"), points);
                panel = panel.series(match count {
                    1 => series.color(color).dashed(),
                    _ => series.color(color),
                });
            }
        }
        curves = curves.panel(panel);
    }
    let svg = curves.svg()?;
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs this program once more, so that no measurement warms the next one up.
fn point(
    name: &str,
    flag: &str,
    value: usize,
    rest: &[&str],
    (threads, seconds): (usize, f64),
) -> Result<(f64, f64)> {
    let program = std::env::current_exe().context("no path to this program")?;
    let run = Command::new(program)
        .args([name, flag, &value.to_string()])
        .args(["--threads", &threads.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(rest)
        .output()?;
    ensure!(
        run.status.success(),
        "{name} with {flag} {value} failed: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    print!("{}", String::from_utf8_lossy(&run.stdout));
    let line: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    let gflops = line["gflops"].as_f64().context("no gflops in the line")?;
    Ok(((value as f64).log2(), gflops))
}

//! Compares what every rule reaches on two functions, and draws the paths of some.
//!
//! ```text
//! cargo run --release --example compare_optimizers -- --out-dir . --draw sgd,momentum,adam,lion
//! ```
//!
//! Rosenbrock's bent valley and Rastrigin's dents, from the same start, each rule with the best of
//! thirteen rates. Prints a table of the values reached, lowest first, and writes `rosenbrock.svg` and
//! `rastrigin.svg`. In the valley plain descent creeps, rules with a momentum get near the minimum at
//! (1, 1); of Rastrigin's dents most end in the nearest, at 24.9, and those that leave it jump by luck
//! of a large rate: none of these rules looks further.

use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use clap::Parser;
use dl_core::plot::{Series, landscape};
use dl_optim::test_functions::{Plane, planes};
use dl_optim::{Lookahead, Optimizer, RULES, rule_named};
use serde_json::{Value, json};

/// Compares what every rule reaches on two functions, and draws the paths of some.
#[derive(Parser)]
struct Args {
    /// Where the pictures go.
    #[arg(long, default_value = ".")]
    out_dir: PathBuf,
    /// Steps that every rule takes.
    #[arg(long, default_value_t = 500)]
    steps: usize,
    /// Labels of the table whose paths are drawn.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "sgd,heavy ball,adagrad,rmsprop,adam,lookahead adam"
    )]
    draw: Vec<String>,
}

/// A rule with options, and whether slow weights follow it.
struct Entry {
    label: String,
    rule: &'static str,
    options: Value,
    lookahead: bool,
}

/// Every rule with its defaults, and some with more.
fn entries() -> Vec<Entry> {
    let entry = |label: &str, rule, options, lookahead| Entry {
        label: label.to_string(),
        rule,
        options,
        lookahead,
    };
    let plain = RULES
        .iter()
        .map(|&name| entry(name, name, json!({}), false));
    let more = [
        entry("heavy ball", "sgd", json!({"momentum": 0.9}), false),
        entry("cautious adam", "adam", json!({"cautious": true}), false),
        entry("cautious lion", "lion", json!({"cautious": true}), false),
        entry("lookahead adam", "adam", json!({}), true),
    ];
    plain.chain(more).collect()
}

/// What an entry reached with one rate.
struct Run {
    label: String,
    lr: f64,
    value: f64,
    points: Vec<(f64, f64)>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let named = |plane: &Plane| ["rosenbrock", "rastrigin"].contains(&plane.name);
    for plane in planes().into_iter().filter(named) {
        println!(
            "{:<20} {:>8} {:>12} {:>20}",
            plane.name, "lr", "value", "at"
        );
        let mut runs = Vec::new();
        for entry in entries() {
            runs.extend(best(&plane, &entry, args.steps)?);
        }
        runs.sort_by(|a, b| a.value.total_cmp(&b.value));
        for Run {
            label,
            lr,
            value,
            points,
        } in &runs
        {
            let (x, y) = points[points.len() - 1];
            println!("{label:<20} {lr:>8.0e} {value:>12.3e} {x:>10.4} {y:>9.4}");
        }
        draw(&plane, &runs, &args)?;
    }
    Ok(())
}

/// The run with the lowest end of rates from 1e-5 to 10, two to a decade; nothing of a rule that
/// cannot update a vector, or whose every run leaves the plane.
fn best(plane: &Plane, entry: &Entry, steps: usize) -> Result<Option<Run>> {
    if rule_named(entry.rule, entry.options.clone())?
        .refuses(&[2])
        .is_some()
    {
        return Ok(None);
    }
    let mut best: Option<Run> = None;
    for half in -10..=2 {
        let run = run(plane, entry, 10f64.powf(f64::from(half) / 2.0), steps)?;
        let better = best.as_ref().is_none_or(|best| run.value < best.value);
        if run.value.is_finite() && better {
            best = Some(run);
        }
    }
    Ok(best)
}

fn run(plane: &Plane, entry: &Entry, lr: f64, steps: usize) -> Result<Run> {
    let x = Var::new(&plane.start, &Device::Cpu)?;
    let params = [("x".to_string(), x.clone())];
    let mut lookahead = Lookahead::new(params.clone(), 5, 0.5)?;
    let mut optimizer = Optimizer::new(params, rule_named(entry.rule, entry.options.clone())?)?;
    optimizer.set_lr(lr);
    let mut points = vec![(plane.start[0], plane.start[1])];
    for _ in 0..steps {
        let value = (plane.value)(&x)?;
        if !value.to_scalar::<f64>()?.is_finite() {
            break;
        }
        optimizer.backward_step(&value)?;
        if entry.lookahead {
            lookahead.update()?;
        }
        let now = x.to_vec1::<f64>()?;
        points.push((now[0], now[1]));
    }
    optimizer.eval()?;
    let value = (plane.value)(&x)?.to_scalar::<f64>()?;
    let label = entry.label.clone();
    Ok(Run {
        label,
        lr,
        value,
        points,
    })
}

fn draw(plane: &Plane, runs: &[Run], args: &Args) -> Result<()> {
    let drawn = runs.iter().filter(|run| args.draw.contains(&run.label));
    let paths: Vec<_> = drawn
        .map(|run| Series::new(&run.label, run.points.clone()))
        .collect();
    let value = |x: f64, y: f64| -> Result<f64> {
        let at = Tensor::new(&[x, y], &Device::Cpu)?;
        Ok((plane.value)(&at)?.to_scalar::<f64>()?)
    };
    let title = format!("{}, {} steps", plane.name, args.steps);
    let value = |x, y| value(x, y).unwrap_or(f64::NAN);
    let svg = landscape(&title, plane.window, value, &paths)?;
    let file = args.out_dir.join(format!("{}.svg", plane.name));
    std::fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))
}

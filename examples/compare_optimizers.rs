//! Draws the paths that optimizers take over two functions.
//!
//! ```text
//! cargo run --release --example compare_optimizers -- --out-dir .
//! ```
//!
//! Rosenbrock's bent valley and Rastrigin's dents, from the same start, each rule with a rate of its
//! own. Prints a table of the values reached and writes `rosenbrock.svg` and `rastrigin.svg`. In the
//! valley plain descent creeps, momentum and Adam get near the minimum at (1, 1); of Rastrigin's dents
//! all of them end in the nearest, at 24.9: none of these rules looks further.

use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use clap::Parser;
use dl_core::plot::{Series, landscape};
use dl_optim::test_functions::{Plane, planes};
use dl_optim::{Lookahead, Optimizer, rule_named};
use serde_json::json;

/// Draws the paths that optimizers take over two functions.
#[derive(Parser)]
struct Args {
    /// Where the pictures go.
    #[arg(long, default_value = ".")]
    out_dir: PathBuf,
    /// Steps that every rule takes.
    #[arg(long, default_value_t = 500)]
    steps: usize,
}

/// A rule with its rate for each function.
struct Entry {
    label: &'static str,
    rule: &'static str,
    options: serde_json::Value,
    rosenbrock: f64,
    rastrigin: f64,
    lookahead: bool,
}

fn entries() -> Vec<Entry> {
    let entry = |label, rule, options, rosenbrock, rastrigin, lookahead| Entry {
        label,
        rule,
        options,
        rosenbrock,
        rastrigin,
        lookahead,
    };
    vec![
        entry("sgd", "sgd", json!({}), 5e-4, 1e-3, false),
        entry(
            "momentum",
            "sgd",
            json!({"momentum": 0.9}),
            5e-4,
            2e-3,
            false,
        ),
        entry("adagrad", "adagrad", json!({}), 0.5, 0.5, false),
        entry("rmsprop", "rmsprop", json!({}), 0.01, 0.02, false),
        entry("adam", "adam", json!({}), 0.1, 0.3, false),
        entry("lookahead adam", "adam", json!({}), 0.15, 0.3, true),
    ]
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "{:<12} {:<16} {:>8} {:>12} {:>20}",
        "function", "rule", "lr", "value", "at"
    );
    for plane in planes() {
        let rate = |entry: &Entry| match plane.name {
            "rosenbrock" => Some(entry.rosenbrock),
            "rastrigin" => Some(entry.rastrigin),
            _ => None,
        };
        let mut paths = Vec::new();
        for entry in entries() {
            if let Some(lr) = rate(&entry) {
                paths.push(path(&plane, &entry, lr, args.steps)?);
            }
        }
        if !paths.is_empty() {
            draw(&plane, &paths, &args)?;
        }
    }
    Ok(())
}

fn path(plane: &Plane, entry: &Entry, lr: f64, steps: usize) -> Result<Series> {
    let x = Var::new(&plane.start, &Device::Cpu)?;
    let params = [("x".to_string(), x.clone())];
    let mut lookahead = Lookahead::new(params.clone(), 5, 0.5)?;
    let rule = rule_named(entry.rule, entry.options.clone())?;
    let mut optimizer = Optimizer::new(params, rule)?;
    optimizer.set_lr(lr);
    let mut points = vec![(plane.start[0], plane.start[1])];
    for _ in 0..steps {
        optimizer.backward_step(&(plane.value)(&x)?)?;
        if entry.lookahead {
            lookahead.update()?;
        }
        let now = x.to_vec1::<f64>()?;
        points.push((now[0], now[1]));
    }
    let value = (plane.value)(&x)?.to_scalar::<f64>()?;
    let (a, b) = points[points.len() - 1];
    let (name, label) = (plane.name, entry.label);
    println!("{name:<12} {label:<16} {lr:>8} {value:>12.3e} {a:>10.4} {b:>9.4}");
    Ok(Series::new(label, points))
}

fn draw(plane: &Plane, paths: &[Series], args: &Args) -> Result<()> {
    let value = |x: f64, y: f64| -> Result<f64> {
        let at = Tensor::new(&[x, y], &Device::Cpu)?;
        Ok((plane.value)(&at)?.to_scalar::<f64>()?)
    };
    let title = format!("{}, {} steps", plane.name, args.steps);
    let value = |x, y| value(x, y).unwrap_or(f64::NAN);
    let svg = landscape(&title, plane.window, value, paths)?;
    let file = args.out_dir.join(format!("{}.svg", plane.name));
    std::fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))
}

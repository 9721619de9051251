//! How long does a step of an optimizer take: ours against candle-nn's?
//!
//! `cargo bench --bench optimizers`, then `python benches/peers/optimizers.py` for the same in PyTorch
//! and one table. 25 million parameters in 50 tensors, where memory is the limit, and 64,000 in 1,000
//! tensors, where calls are. A rule that candle-nn lacks has no row of candle's.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Var};
use candle_nn::Optimizer as _;
use criterion::{Criterion, criterion_group, criterion_main};
use dl_core::allocator::{MiMalloc, keep_freed_memory};
use dl_optim::{Clip, Ema, Optimizer, rule_named};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Name, number of tensors, elements of each.
const SETS: [(&str, usize, usize); 2] = [("25 M in 50", 50, 500_000), ("64 k in 1000", 1000, 64)];

/// Name in the table, rule, options, whether the norm is clipped.
fn rules() -> Vec<(&'static str, &'static str, serde_json::Value, bool)> {
    vec![
        ("sgd", "sgd", json!({"momentum": 0.9}), false),
        ("adamw", "adamw", json!({}), false),
        ("adamw, clipped", "adamw", json!({}), true),
        ("rmsprop", "rmsprop", json!({}), false),
        ("adagrad", "adagrad", json!({}), false),
        ("adam", "adam", json!({}), false),
        ("lion", "lion", json!({}), false),
        ("adafactor", "adafactor", json!({}), false),
        ("lamb", "lamb", json!({}), false),
    ]
}

fn tensors(count: usize, len: usize) -> candle_core::Result<(Vec<Var>, GradStore)> {
    let (mut vars, mut grads) = (Vec::new(), GradStore::default());
    for _ in 0..count {
        let var = Var::ones(len, DType::F32, &Device::Cpu)?;
        // A zero would be cheap to square and a denormal slow.
        grads.insert(&var, (var.ones_like()? * 0.25)?.copy()?);
        vars.push(var);
    }
    Ok((vars, grads))
}

fn steps(criterion: &mut Criterion) {
    keep_freed_memory();
    for (set, count, len) in SETS {
        for (name, rule, options, clipped) in rules() {
            let mut group = criterion.benchmark_group(format!("step of {name}, {set}"));
            let (vars, grads) = tensors(count, len).expect("these fit in memory");
            let named = vars.iter().enumerate();
            let named = named.map(|(i, var)| (format!("{i:04}"), var.clone()));
            let rule = rule_named(rule, options).expect("the options are right");
            let mut ours = Optimizer::new(named, rule).expect("the parameters are right");
            if clipped {
                ours = ours.clip(Clip::Norm(1.0)).expect("1 is positive");
            }
            group.bench_function("ours", |bench| bench.iter(|| ours.step(&grads)));
            if name == "adamw" {
                let mut candles = candle_nn::AdamW::new_lr(vars, 1e-3).expect("it takes any");
                group.bench_function("candle", |bench| bench.iter(|| candles.step(&grads)));
            }
            group.finish();
        }
    }
}

fn averages(criterion: &mut Criterion) {
    for (set, count, len) in SETS {
        let mut group = criterion.benchmark_group(format!("step of ema, {set}"));
        let (vars, _) = tensors(count, len).expect("these fit in memory");
        let named = vars.into_iter().enumerate();
        let named = named.map(|(i, var)| (format!("{i:04}"), var));
        let mut ema = Ema::new(named, 0.999).expect("the parameters are right");
        group.bench_function("ours", |bench| bench.iter(|| ema.update()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = steps, averages
}
criterion_main!(benches);

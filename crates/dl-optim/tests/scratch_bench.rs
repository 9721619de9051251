#![allow(clippy::all)]
use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use dl_optim::*;
use std::time::Instant;
fn bench(
    label: &str,
    shapes: &[(usize, usize)],
    rule: &str,
    strided: bool,
    clip: bool,
    path: Path,
    reps: usize,
) {
    let params: Vec<(String, Var)> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| {
            (
                format!("p{i}"),
                Var::randn(0f32, 1f32, *s, &Device::Cpu).unwrap(),
            )
        })
        .collect();
    let mut grads = GradStore::default();
    for (_, v) in &params {
        let g = Tensor::randn(0f32, 1f32, v.shape(), &Device::Cpu).unwrap();
        let g = if strided {
            g.t().unwrap().contiguous().unwrap().t().unwrap()
        } else {
            g
        };
        grads.insert(v, g);
    }
    let mut o = Optimizer::new(
        params.clone(),
        rule_named(rule, serde_json::json!({})).unwrap(),
    )
    .unwrap()
    .path(path);
    if clip {
        o = o.clip(Clip::Norm(1.0)).unwrap();
    }
    for _ in 0..3 {
        o.step(&grads).unwrap();
    }
    let mut t: Vec<f64> = (0..reps)
        .map(|_| {
            let s = Instant::now();
            o.step(&grads).unwrap();
            s.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    t.sort_by(f64::total_cmp);
    println!("{label:40} median {:.3} ms  min {:.3}", t[reps / 2], t[0]);
}
#[test]
fn bench_all() {
    let big = vec![(500usize, 1000usize); 50];
    let mlp = [
        (64usize, 784usize),
        (1, 64),
        (64, 64),
        (1, 64),
        (10, 64),
        (1, 10),
    ];
    bench("adamw 25m", &big, "adamw", false, false, Path::Fused, 30);
    bench(
        "adamw 25m clip",
        &big,
        "adamw",
        false,
        true,
        Path::Fused,
        30,
    );
    bench(
        "adamw 25m strided",
        &big,
        "adamw",
        true,
        false,
        Path::Fused,
        30,
    );
    bench(
        "adamw 25m strided clip",
        &big,
        "adamw",
        true,
        true,
        Path::Fused,
        30,
    );
    bench("sgd 25m", &big, "sgd", false, false, Path::Fused, 30);
    bench(
        "adamw 25m composed",
        &big,
        "adamw",
        false,
        false,
        Path::Composed,
        5,
    );
    bench("adam mlp", &mlp, "adam", false, false, Path::Fused, 2000);
    bench(
        "adam mlp strided",
        &mlp,
        "adam",
        true,
        false,
        Path::Fused,
        2000,
    );
    let _ = DType::F32;
}

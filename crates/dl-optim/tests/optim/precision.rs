//! f16 and bf16 parameters.

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Adam, LowPrecision, Optimizer, OptimizerState, Path, Sgd};

use crate::cases::{Params, assert_close, fixture, flat, gradients, optimizer, params, values};

const STOCHASTIC: LowPrecision = LowPrecision::Stochastic { seed: 7 };

/// 400 steps of 10⁻⁴ from 1, of which none moves a bf16 number by itself.
fn tiny_updates(low_precision: LowPrecision, dtype: DType) -> f64 {
    let w = Var::ones(1000, dtype, &Device::Cpu).unwrap();
    let sgd = Sgd {
        lr: 1e-4,
        ..Sgd::default()
    };
    let sgd = Optimizer::new([("w".to_string(), w.clone())], sgd).unwrap();
    let mut sgd = sgd.low_precision(low_precision).unwrap();
    for _ in 0..400 {
        sgd.backward_step(&w.sum_all().unwrap()).unwrap();
    }
    values(&w).iter().sum::<f64>() / 1000.0
}

#[test]
fn tiny_updates_are_lost_by_rounding_to_nearest_and_by_nothing_else() {
    // Downwards from 1 the spacing of f16 is 2⁻¹¹: half of it is more than 10⁻⁴ too.
    for dtype in [DType::BF16, DType::F16] {
        assert_eq!(tiny_updates(LowPrecision::Nearest, dtype), 1.0);
        let master = tiny_updates(LowPrecision::MasterWeights, dtype);
        // 0.96, rounded once: half a spacing of bf16.
        assert!((master - 0.96).abs() < 2e-3, "{dtype:?} {master}");
        let stochastic = tiny_updates(STOCHASTIC, dtype);
        // A walk of 400 steps with deviation √(10⁻⁴ · 2⁻⁸): 0.0125; the mean of 1,000 of them,
        // 0.0004, five times.
        assert!((stochastic - 0.96).abs() < 2e-3, "{dtype:?} {stochastic}");
    }
}

/// The masters of a bf16 run are the parameters of an f32 run on the same gradients.
#[test]
fn master_weights_take_the_steps_of_an_f32_run() {
    for case in &fixture().about.cases {
        let narrow = params(&case.shapes, DType::BF16);
        let wide = params(&case.shapes, DType::F32);
        let masters = optimizer(&narrow, case.rule());
        let mut masters = masters.low_precision(LowPrecision::MasterWeights).unwrap();
        let mut plain = optimizer(&wide, case.rule());
        for step in 1..=5 {
            let (grads, mut same) = (gradients(&narrow, step), gradients(&wide, step));
            for (name, var) in &wide {
                let g = grads
                    .get(&narrow[name])
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap();
                same.insert(var, g);
            }
            masters.step(&grads).unwrap();
            plain.step(&same).unwrap();
        }
        let state = masters.state().unwrap();
        for (name, var) in &wide {
            let master = &state.tensors[&format!("{name}.master")];
            assert_eq!(values(master), values(var), "{} {name}", case.label);
            let rounded = var.to_dtype(DType::BF16).unwrap();
            assert_eq!(values(&narrow[name]), values(&rounded), "{}", case.label);
        }
    }
}

fn resumed(low_precision: LowPrecision) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("optimizer.safetensors");
    let make = |params: &Params| {
        let adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
        adam.low_precision(low_precision).unwrap()
    };
    let params = params(&fixture().about.shapes, DType::BF16);
    let mut whole = make(&params);
    for step in 1..4 {
        whole.step(&gradients(&params, step)).unwrap();
    }
    whole.save(&file).unwrap();
    let copy = |var: &Var| Var::from_tensor(&var.as_detached_tensor().copy().unwrap()).unwrap();
    let copies: Params = params
        .iter()
        .map(|(name, var)| (name.clone(), copy(var)))
        .collect();
    let mut rest = make(&copies);
    rest.load(&file).unwrap();
    for step in 4..9 {
        whole.step(&gradients(&params, step)).unwrap();
        rest.step(&gradients(&copies, step)).unwrap();
    }
    assert_eq!(flat(&params), flat(&copies), "{low_precision:?}");
}

#[test]
fn a_resumed_run_equals_the_uninterrupted_one_bit_for_bit() {
    for low_precision in [
        LowPrecision::Nearest,
        LowPrecision::MasterWeights,
        STOCHASTIC,
    ] {
        resumed(low_precision);
    }
}

#[test]
fn the_same_seed_rounds_alike_for_any_number_of_threads_and_another_does_not() {
    let run = |seed: u64, threads: usize| {
        let shapes = [("a".to_string(), vec![300, 301])].into();
        let params = params(&shapes, DType::BF16);
        let adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
        let low_precision = LowPrecision::Stochastic { seed };
        let mut adam = adam.low_precision(low_precision).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| (1..3).for_each(|step| adam.step(&gradients(&params, step)).unwrap()));
        flat(&params)
    };
    assert_eq!(run(1, 1), run(1, 3));
    assert_ne!(run(1, 1), run(2, 1));
}

#[test]
fn a_state_with_masters_needs_an_optimizer_with_masters_and_the_other_way_round() {
    let params = params(&fixture().about.shapes, DType::BF16);
    let plain = || Optimizer::new(params.clone(), Adam::default()).unwrap();
    let with = || plain().low_precision(LowPrecision::MasterWeights).unwrap();
    let load = |mut into: Optimizer, state: OptimizerState| into.load_state(&state).unwrap_err();
    let error = load(plain(), with().state().unwrap()).to_string();
    assert!(
        error.starts_with("the state has `master` for `bias`"),
        "{error}"
    );
    let error = load(with(), plain().state().unwrap()).to_string();
    assert_eq!(error, "the state has no `master` for `bias`");
}

#[test]
fn refreshed_masters_start_from_what_the_parameters_hold() {
    let w = Var::ones(1, DType::BF16, &Device::Cpu).unwrap();
    let sgd = Optimizer::new([("w".to_string(), w.clone())], Sgd::default()).unwrap();
    let mut sgd = sgd.low_precision(LowPrecision::MasterWeights).unwrap();
    w.set(
        &Tensor::full(3f32, 1, &Device::Cpu)
            .unwrap()
            .to_dtype(DType::BF16)
            .unwrap(),
    )
    .unwrap();
    sgd.refresh_master_weights().unwrap();
    sgd.backward_step(&w.sum_all().unwrap()).unwrap();
    assert_eq!(values(&w), [3.0]); // 2.999, rounded
}

/// The fused pass of f16 and bf16 goes through a copy in f32; the composed one never leaves candle.
#[test]
fn narrow_parameters_do_the_same_fused_and_composed() {
    for dtype in [DType::BF16, DType::F16] {
        for case in &fixture().about.cases {
            let [fused, composed] = [Path::Fused, Path::Composed].map(|path| {
                let params = params(&case.shapes, dtype);
                let mut optimizer = optimizer(&params, case.rule()).path(path);
                (1..4).for_each(|step| optimizer.step(&gradients(&params, step)).unwrap());
                flat(&params)
            });
            // One f32 rounding can tip a rounding to bf16: a spacing of 2⁻⁷ of the number.
            assert_close(&fused, &composed, 8e-3, &case.label);
        }
    }
}

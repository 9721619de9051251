//! The switch between what is trained and what is evaluated.

use candle_core::DType;
use dl_optim::{AdamW, AdamWScheduleFree, Error, LowPrecision, Optimizer};

use crate::cases::{Params, assert_close, flat, gradients, params};

fn setup(dtype: DType) -> (Params, Optimizer) {
    let shapes = [("a".to_string(), vec![3, 4]), ("b".to_string(), vec![5])];
    let params = params(&shapes.into(), dtype);
    let rule = AdamWScheduleFree {
        lr: 0.25,
        ..AdamWScheduleFree::default()
    };
    let optimizer = Optimizer::new(params.clone(), rule).unwrap();
    (params, optimizer)
}

fn steps(optimizer: &mut Optimizer, params: &Params, range: std::ops::Range<usize>) {
    for step in range {
        optimizer.step(&gradients(params, step)).unwrap();
    }
}

#[test]
fn a_step_in_eval_mode_is_refused_and_moves_nothing() {
    let (params, mut optimizer) = setup(DType::F32);
    steps(&mut optimizer, &params, 1..4);
    let y = flat(&params);
    optimizer.eval().unwrap();
    let x = flat(&params);
    assert_ne!(x, y);
    optimizer.eval().unwrap(); // again: nothing
    let error = optimizer.step(&gradients(&params, 4)).unwrap_err();
    assert!(matches!(error, Error::Evaluating));
    assert_eq!((flat(&params), optimizer.steps()), (x, 3));
    optimizer.train().unwrap();
    // There and back: four roundings of 6e-8 each on numbers up to 3.
    assert_close(&flat(&params), &y, 1e-6, "y");
}

/// With and without evaluations between the steps, and with master weights: the same bits.
#[test]
fn an_evaluation_inside_with_eval_leaves_no_trace() {
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let run = |evaluates: bool| {
            let (params, optimizer) = setup(dtype);
            let optimizer = optimizer.low_precision(LowPrecision::MasterWeights);
            let mut optimizer = optimizer.unwrap();
            for step in 1..6 {
                steps(&mut optimizer, &params, step..step + 1);
                let y = flat(&params);
                if evaluates {
                    let x = optimizer.with_eval(|| flat(&params)).unwrap();
                    assert!(step == 1 || x != y, "{dtype:?}");
                }
                assert_eq!(flat(&params), y);
            }
            flat(&params)
        };
        assert_eq!(run(false), run(true), "{dtype:?}");
    }
}

#[test]
fn a_state_saved_in_eval_mode_goes_on_in_eval_mode() {
    let (params, mut first) = setup(DType::F64);
    steps(&mut first, &params, 1..4);
    first.eval().unwrap();
    let mut second = Optimizer::new(params.clone(), AdamWScheduleFree::default()).unwrap();
    second.load_state(&first.state().unwrap()).unwrap();
    assert!(second.step(&gradients(&params, 4)).is_err());
    let x = flat(&params);
    second.train().unwrap();
    assert_ne!(flat(&params), x);
    steps(&mut second, &params, 4..5);
}

#[test]
fn a_rule_whose_parameters_are_the_result_has_nothing_to_switch() {
    let (params, _) = setup(DType::F32);
    let mut adamw = Optimizer::new(params.clone(), AdamW::default()).unwrap();
    steps(&mut adamw, &params, 1..3);
    let before = flat(&params);
    adamw.eval().unwrap();
    assert_eq!(flat(&params), before);
    adamw.train().unwrap();
    steps(&mut adamw, &params, 3..4);
}

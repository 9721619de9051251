//! Moments in 8 bits.

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Adam, Adam8bit, AdamW8bit, Group, Optimizer, Path, Rule};

use crate::cases::{flat, gradients, params};

/// The bytes of everything that is kept about parameters of these shapes.
fn bytes(rule: impl Into<Box<dyn Rule>>, shapes: &[(&str, Vec<usize>)]) -> usize {
    let shapes = shapes
        .iter()
        .map(|(name, shape)| (name.to_string(), shape.clone()));
    let params = params(&shapes.collect(), DType::F32);
    let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
    optimizer.step(&gradients(&params, 1)).unwrap();
    let state = optimizer.state().unwrap();
    let slots = state
        .tensors
        .iter()
        .filter(|(name, _)| !name.ends_with(".step"));
    slots
        .map(|(_, slot)| slot.elem_count() * slot.dtype().size_in_bytes())
        .sum()
}

/// 1,000 × 1,001 elements are 3,910 blocks and a bit.
#[test]
fn a_state_is_two_bytes_an_element_and_eight_a_block() {
    let table = [("table", vec![1000, 1001])];
    let count = 1000 * 1001;
    assert_eq!(bytes(Adam::default(), &table), 8 * count);
    assert_eq!(bytes(Adam8bit::default(), &table), 2 * count + 8 * 3911);
    assert_eq!(bytes(AdamW8bit::default(), &table), 2 * count + 8 * 3911);
}

#[test]
fn parameters_below_4096_elements_keep_their_moments_in_full() {
    let state = |count| bytes(Adam8bit::default(), &[("x", vec![count])]);
    assert_eq!(state(4095), 8 * 4095);
    assert_eq!(state(4096), 2 * 4096 + 8 * 16);
}

/// A step from zero moments is the same before anything is narrowed.
#[test]
fn the_first_step_is_adams_and_later_ones_stay_near() {
    let shapes = [("table".to_string(), vec![100, 100])].into();
    let walk = |rule: Box<dyn Rule>, steps: usize| {
        let params = params(&shapes, DType::F32);
        let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
        for step in 1..=steps {
            optimizer.step(&gradients(&params, step)).unwrap();
        }
        flat(&params)
    };
    let both = |steps| {
        let narrow = walk(Adam8bit::default().into(), steps);
        (narrow, walk(Adam::default().into(), steps))
    };
    let (narrow, wide) = both(1);
    assert_eq!(narrow, wide);
    let (narrow, wide) = both(20);
    assert_ne!(narrow, wide);
    // Elements of 16 and of 1 share blocks: codes for the small ones are 0.7 % of a decade apart, and
    // steps are 1e-3 long.
    let apart = narrow
        .iter()
        .zip(&wide)
        .zip(0..)
        .filter(|(_, i)| [0, 3, 4].contains(&(i % 5)));
    let furthest = apart.map(|((a, b), _)| (a - b).abs()).fold(0.0, f64::max);
    assert!(furthest < 20.0 * 1e-3 * 0.2, "{furthest}");
}

/// NaN in one block: that block is not a number from then on, the others go on.
#[test]
fn a_gradient_that_is_not_a_number_stays_visible_in_its_block() {
    for path in [Path::Fused, Path::Composed] {
        let x = Var::zeros(4096, DType::F32, &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Adam8bit::default())
            .unwrap()
            .path(path);
        let mut g = vec![1.0_f32; 4096];
        g[300] = f32::NAN;
        for _ in 0..2 {
            let g = Tensor::new(g.as_slice(), &Device::Cpu).unwrap();
            let mut grads = candle_core::backprop::GradStore::default();
            grads.insert(&x, g);
            optimizer.step(&grads).unwrap();
        }
        let x = x.to_vec1::<f32>().unwrap();
        let lost: Vec<_> = (0..4096).filter(|i| x[*i].is_nan()).collect();
        assert_eq!(lost, (256..512).collect::<Vec<_>>(), "{path:?}");
    }
}

/// As for embeddings, whose moments the authors keep in full.
#[test]
fn a_group_keeps_the_moments_of_chosen_parameters_in_full() {
    let shapes = [("embed", vec![100, 100]), ("head", vec![100, 100])];
    let shapes = shapes.map(|(name, shape)| (name.to_string(), shape)).into();
    let params = params(&shapes, DType::F32);
    let optimizer = Optimizer::new(params.clone(), Adam8bit::default()).unwrap();
    let embed = Group::matching("embed").unwrap().rule(Adam::default());
    let mut optimizer = optimizer.group(embed).unwrap();
    optimizer.step(&gradients(&params, 1)).unwrap();
    let state = optimizer.state().unwrap();
    assert_eq!(state.tensors["embed.exp_avg"].dtype(), DType::F32);
    assert_eq!(state.tensors["head.state1"].dtype(), DType::U8);
}

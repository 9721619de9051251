//! Rules with a matrix for each side of a parameter.

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{GaLore, Optimizer, ProjType, Shampoo, Soap};

use crate::cases::{flat, gradients, params};

fn names(optimizer: &Optimizer) -> Vec<String> {
    let state = optimizer.state().unwrap();
    state.tensors.keys().cloned().collect()
}

#[test]
fn soap_has_no_matrix_above_its_largest_dimension_and_none_for_vectors() {
    let shapes = [("bias", vec![4]), ("wide", vec![3, 7])];
    let shapes = shapes.map(|(name, shape)| (name.to_string(), shape)).into();
    let run = |rule: Soap| {
        let params = params(&shapes, DType::F32);
        let mut soap = Optimizer::new(params.clone(), rule).unwrap();
        soap.step(&gradients(&params, 1)).unwrap();
        names(&soap)
    };
    let max_precondition_dim = 4;
    let plain = run(Soap {
        max_precondition_dim,
        ..Soap::default()
    });
    let want = [
        "bias.exp_avg",
        "bias.exp_avg_sq",
        "bias.step",
        "wide.exp_avg",
        "wide.exp_avg_sq",
        "wide.gg_0",
        "wide.q_0",
        "wide.step",
    ];
    assert_eq!(plain, want);
    let vectors = run(Soap {
        precondition_1d: true,
        ..Soap::default()
    });
    assert!(
        vectors.contains(&"bias.gg_0".to_string()) && vectors.contains(&"wide.q_1".to_string())
    );
}

/// Two eigenvalues, one a hundred times the other, and a basis that is not the parameter's: SOAP goes
/// equally far along both, where Adam cannot tell them apart.
#[test]
fn soap_steps_equally_far_in_directions_of_unequal_gradients() {
    let turn = Tensor::new(&[[0.6_f64, -0.8], [0.8, 0.6]], &Device::Cpu).unwrap();
    let slopes = Tensor::new(&[[10.0_f64, 0.0], [0.0, 0.1]], &Device::Cpu).unwrap();
    let gradient = turn.matmul(&slopes).unwrap();
    let x = Var::zeros((2, 2), DType::F64, &Device::Cpu).unwrap();
    let rule = Soap {
        lr: 0.5,
        weight_decay: 0.0,
        ..Soap::default()
    };
    let mut soap = Optimizer::new([("x".to_string(), x.clone())], rule).unwrap();
    for _ in 0..2 {
        let mut grads = candle_core::backprop::GradStore::default();
        grads.insert(&x, gradient.clone());
        soap.step(&grads).unwrap();
    }
    let back = turn
        .t()
        .unwrap()
        .matmul(&x)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    // ε beside a gradient of 0.1: a tenth of a millionth.
    assert!(
        (back[0][0] + 0.5).abs() < 1e-6 && (back[1][1] + 0.5).abs() < 1e-6,
        "{back:?}"
    );
}

/// 5 × 3 in blocks of 2 is 3 × 2 blocks of 2·2, 2·1, 1·2 and 1·1 sides.
#[test]
fn shampoos_memory_follows_its_blocks_and_sides() {
    let shapes = [("w".to_string(), vec![5, 3])].into();
    let length = |rule: Shampoo| {
        let params = params(&shapes, DType::F32);
        let mut shampoo = Optimizer::new(params.clone(), rule).unwrap();
        shampoo.step(&gradients(&params, 1)).unwrap();
        let state = shampoo.state().unwrap();
        state
            .tensors
            .get("w.statistics")
            .map(|statistics| statistics.elem_count())
    };
    let plain = || Shampoo {
        shape_interpretation: false,
        ..Shampoo::default()
    };
    assert_eq!(length(plain()), Some(25 + 9));
    assert_eq!(
        length(Shampoo {
            block_size: 2,
            ..plain()
        }),
        Some(2 * (4 + 4 + 1) + 3 * (4 + 1))
    );
    assert_eq!(length(Shampoo::default()), Some(15 * 15)); // one dimension of 15
    let skips = Shampoo {
        no_preconditioning_for_layers_with_dim_gt: 4,
        ..plain()
    };
    assert_eq!(length(skips), None);
}

#[test]
fn galores_moments_have_the_rank_it_is_given() {
    let shapes = [
        ("tall".to_string(), vec![9, 5]),
        ("wide".to_string(), vec![5, 9]),
    ]
    .into();
    let moments = |proj_type: ProjType| {
        let params = params(&shapes, DType::F32);
        let rule = GaLore {
            rank: 2,
            proj_type,
            ..GaLore::default()
        };
        let mut galore = Optimizer::new(params.clone(), rule).unwrap();
        galore.step(&gradients(&params, 1)).unwrap();
        let state = galore.state().unwrap();
        ["tall.exp_avg", "wide.exp_avg"].map(|name| state.tensors[name].dims().to_vec())
    };
    assert_eq!(moments(ProjType::Std), [[9, 2], [2, 9]]);
    assert_eq!(moments(ProjType::ReverseStd), [[2, 5], [5, 2]]);
    assert_eq!(moments(ProjType::Left), [[2, 5], [2, 9]]);
    assert_eq!(moments(ProjType::Right), [[9, 2], [5, 2]]);
    assert_eq!(moments(ProjType::Full), [[2, 2], [2, 2]]);
}

#[test]
fn a_gradient_that_is_not_finite_is_an_error_that_names_the_parameter() {
    let shapes = [("w".to_string(), vec![3, 3])].into();
    let params = params(&shapes, DType::F32);
    let before = flat(&params);
    let rules: [Box<dyn dl_optim::Rule>; 2] = [Soap::default().into(), GaLore::default().into()];
    for rule in rules {
        let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
        let mut grads = gradients(&params, 1);
        let nan = Tensor::full(f32::NAN, (3, 3), &Device::Cpu).unwrap();
        grads.insert(&params["w"], nan);
        let error = optimizer.step(&grads).unwrap_err().to_string();
        assert!(
            error.contains("the step on `w`") && error.contains("not finite"),
            "{error}"
        );
        assert_eq!(flat(&params), before);
    }
}

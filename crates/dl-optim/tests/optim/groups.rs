//! Groups.

use candle_core::DType;
use dl_optim::{AdamW, Clip, Group, Optimizer, Settings, Sgd};

use crate::cases::{Params, fixture, flat, gradients, params, values};

/// A small vision transformer's names; `blocks.1` must not cover `blocks.10`.
fn model() -> Params {
    let shapes = [
        ("blocks.1.attn.weight", vec![3, 3]),
        ("blocks.1.norm.weight", vec![3]),
        ("blocks.10.attn.bias", vec![3]),
        ("blocks.10.attn.weight", vec![3, 3]),
        ("head.weight", vec![2, 3]),
        ("pos_embed", vec![1, 4, 3]),
    ];
    params(
        &shapes.map(|(name, shape)| (name.to_string(), shape)).into(),
        DType::F64,
    )
}

fn scales(optimizer: &Optimizer) -> Vec<f64> {
    let settings = optimizer
        .parameters()
        .map(|(name, _)| optimizer.settings(name).unwrap());
    settings.map(|settings| settings.lr_scale).collect()
}

#[test]
fn layer_wise_decay_lowers_the_rate_from_the_head_to_the_stem() {
    let optimizer = Optimizer::new(model(), AdamW::default()).unwrap();
    let layers = ["head", "blocks.10", "blocks.1", "*_embed"];
    let optimizer = optimizer.layer_wise_lr_decay(&layers, 0.5).unwrap();
    assert_eq!(scales(&optimizer), [0.25, 0.25, 0.5, 0.5, 1.0, 0.125]);
}

#[test]
fn layers_that_leave_parameters_out_or_cover_none_are_refused() {
    let make = |layers: &[&str]| {
        let optimizer = Optimizer::new(model(), AdamW::default()).unwrap();
        optimizer
            .layer_wise_lr_decay(layers, 0.5)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(make(&["head", "blocks"]), "no layer covers pos_embed");
    assert_eq!(
        make(&["heads", "*"]),
        "`heads` matches none of the 6 parameters"
    );
}

#[test]
fn biases_and_norms_are_not_decayed() {
    let optimizer = Optimizer::new(model(), AdamW::default())
        .unwrap()
        .no_decay_on_bias_and_norm();
    let decays = optimizer
        .parameters()
        .map(|(name, _)| optimizer.settings(name).unwrap());
    let decays: Vec<_> = decays.map(|settings| settings.weight_decay).collect();
    assert_eq!(decays, [0.01, 0.0, 0.0, 0.01, 0.01, 0.01]);
}

#[test]
fn a_group_that_selects_nothing_is_refused() {
    let optimizer = Optimizer::new(model(), AdamW::default()).unwrap();
    let error = optimizer
        .group(Group::matching("backbone.*").unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`backbone.*` matches none of the 6 parameters"
    );
    assert!(
        Group::matching("a[")
            .unwrap_err()
            .to_string()
            .contains("`a[` is not a pattern")
    );
}

#[test]
fn groups_add_up_and_a_rule_of_its_own_keeps_its_rate_in_proportion() {
    let sgd = Sgd {
        lr: 0.1,
        weight_decay: 0.5,
        ..Sgd::default()
    };
    let optimizer = Optimizer::new(
        model(),
        AdamW {
            lr: 0.01,
            ..AdamW::default()
        },
    )
    .unwrap();
    let optimizer = optimizer
        .group(Group::matching("blocks.*").unwrap().lr_scale(0.5))
        .unwrap();
    let three_dims = Group::selecting("three dimensions", |_, var| var.rank() == 3);
    let optimizer = optimizer.group(three_dims.rule(sgd)).unwrap();
    let bias = Group::matching("*.bias")
        .unwrap()
        .lr_scale(0.5)
        .weight_decay(0.0);
    let optimizer = optimizer.group(bias).unwrap();
    let want = |rule, lr_scale, weight_decay| Settings {
        rule,
        lr_scale,
        weight_decay,
    };
    assert_eq!(
        optimizer.settings("blocks.10.attn.bias"),
        Some(want("adamw", 0.25, 0.0))
    );
    assert_eq!(
        optimizer.settings("pos_embed"),
        Some(want("sgd", 10.0, 0.5))
    );
    assert_eq!(
        optimizer.settings("head.weight"),
        Some(want("adamw", 1.0, 0.01))
    );
    assert_eq!(optimizer.settings("tail"), None);
}

/// Each group by itself in an optimizer of its own must do what it does among the others.
#[test]
fn a_group_steps_as_an_optimizer_of_its_own_would() {
    let (together, apart) = (model(), model());
    let sgd = Sgd {
        lr: 0.1,
        momentum: 0.9,
        ..Sgd::default()
    };
    let adamw = AdamW {
        lr: 0.01,
        ..AdamW::default()
    };
    let group = Group::matching("blocks.*")
        .unwrap()
        .rule(sgd.clone())
        .weight_decay(0.25);
    let mut one = Optimizer::new(together.clone(), adamw.clone())
        .unwrap()
        .group(group)
        .unwrap();
    let (blocks, rest): (Params, Params) = apart
        .clone()
        .into_iter()
        .partition(|(name, _)| name.starts_with("blocks."));
    let mut sgd = Optimizer::new(
        blocks,
        Sgd {
            weight_decay: 0.25,
            ..sgd
        },
    )
    .unwrap();
    let mut adamw = Optimizer::new(rest, adamw).unwrap();
    for step in 1..5 {
        one.step(&gradients(&together, step)).unwrap();
        sgd.step(&gradients(&apart, step)).unwrap();
        adamw.step(&gradients(&apart, step)).unwrap();
    }
    assert_eq!(flat(&together), flat(&apart));
}

/// Frozen from the second step to the third, with a gradient and decay all the while, and a clip that
/// must not see it.
#[test]
fn a_frozen_parameter_stays_and_goes_on_where_it_was() {
    let run = |freeze: bool| {
        let params = params(&fixture().about.shapes, DType::F32);
        let adamw = AdamW::default();
        let mut adamw = Optimizer::new(params.clone(), adamw)
            .unwrap()
            .clip(Clip::Norm(0.1))
            .unwrap();
        let mut seen = vec![];
        for step in 0..4 {
            adamw.set_frozen(|name| freeze && (1..3).contains(&step) && name == "bias");
            adamw.step(&gradients(&params, step)).unwrap();
            seen.push((values(&params["bias"]), adamw.grad_norm().unwrap()));
        }
        let step = &adamw.state().unwrap().tensors["bias.step"];
        (seen, step.to_scalar::<i64>().unwrap())
    };
    let ((free, free_steps), (frozen, frozen_steps)) = (run(false), run(true));
    assert_eq!((free_steps, frozen_steps), (4, 2));
    assert_eq!(frozen[0], free[0]);
    assert!(frozen[0].0 == frozen[1].0 && frozen[1].0 == frozen[2].0);
    assert!(frozen[2].0 != frozen[3].0 && frozen[1].1 < free[1].1);
}

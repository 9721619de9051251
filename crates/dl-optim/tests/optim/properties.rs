//! What holds for every rule that has a name, with its default options.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use dl_optim::{
    Group, Momentum, Muon, Optimizer, Path, RULES, Rprop, Rule, Sgd, SparseAdam, rule_named,
};
use serde_json::{Value, json};

use crate::cases::{Params, assert_close, flat, gradients, params};

/// Matrices, which every rule can update.
fn matrices() -> Params {
    let shapes = [("head", vec![3, 4]), ("stem", vec![4, 5])];
    params(
        &shapes.map(|(name, shape)| (name.to_string(), shape)).into(),
        DType::F64,
    )
}

fn named(name: &str) -> Box<dyn Rule> {
    rule_named(name, json!({})).unwrap()
}

fn half_square(params: &Params) -> f64 {
    flat(params).iter().map(|x| x * x / 2.0).sum()
}

/// The gradient of half the square is the parameter.
fn own_gradients(params: &Params) -> GradStore {
    let mut grads = GradStore::default();
    for var in params.values() {
        grads.insert(var, var.as_detached_tensor().copy().unwrap());
    }
    grads
}

/// What keeps 50 steps uphill among the finite numbers: D-Adaptation's SGD goes in proportion to a
/// gradient that grows and a distance that grows with it.
fn bounded(name: &str) -> Value {
    match name {
        "dadapt_sgd" => json!({"growth_rate": 1.5}),
        _ => json!({}),
    }
}

#[test]
fn every_rule_descends_and_climbs_where_it_is_told_to() {
    for name in RULES {
        for climbs in [false, true] {
            let params = matrices();
            let mut options = bounded(name);
            options["maximize"] = json!(climbs);
            let rule = rule_named(name, options).unwrap();
            let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
            let before = half_square(&params);
            for _ in 0..50 {
                optimizer.step(&own_gradients(&params)).unwrap();
            }
            let after = half_square(&params);
            assert!(
                after != before && (after > before) == climbs,
                "{name}: {before} {after}"
            );
        }
    }
}

/// What a rule needs besides no weight decay: ASGD decays by its own γ, Yogi's first moment is not 0.
fn without_decay(name: &str) -> Value {
    match name {
        "asgd" => json!({"lambd": 0.0}),
        "yogi" => json!({"initial_accumulator": 0.0}),
        _ => json!({}),
    }
}

#[test]
fn a_zero_gradient_without_decay_moves_nothing() {
    for name in RULES {
        for path in [Path::Fused, Path::Composed] {
            let params = matrices();
            let rule = rule_named(name, without_decay(name)).unwrap();
            let optimizer = Optimizer::new(params.clone(), rule).unwrap().path(path);
            let everything = Group::matching("*").unwrap().weight_decay(0.0);
            let mut optimizer = optimizer.group(everything).unwrap();
            let mut zeros = GradStore::default();
            for var in params.values() {
                zeros.insert(var, var.zeros_like().unwrap());
            }
            let before = flat(&params);
            for _ in 0..7 {
                optimizer.step(&zeros).unwrap();
            }
            assert_eq!(flat(&params), before, "{name}");
        }
    }
}

/// Half the rate for one of two groups, against two optimizers. What a rule shares among all its
/// parameters is shared by its groups too: one that is to be alone has a rule of its own.
#[test]
fn two_groups_of_every_rule_behave_like_two_optimizers() {
    for name in RULES {
        let (together, apart) = (matrices(), matrices());
        let head = Group::matching("head").unwrap();
        let (head, scale) = match named(name).shared().is_empty() {
            true => (head.lr_scale(0.5), 0.5),
            false => (head.rule(named(name)), 1.0),
        };
        let one = Optimizer::new(together.clone(), named(name)).unwrap();
        let mut one = one.group(head.weight_decay(0.25)).unwrap();
        let (head, stem): (Params, Params) = apart
            .clone()
            .into_iter()
            .partition(|(name, _)| name == "head");
        let head = Optimizer::new(head, named(name)).unwrap();
        let decayed = Group::matching("*").unwrap().weight_decay(0.25);
        let mut head = head.group(decayed).unwrap();
        head.set_lr(head.lr() * scale);
        let mut stem = Optimizer::new(stem, named(name)).unwrap();
        for step in 1..5 {
            one.step(&gradients(&together, step)).unwrap();
            head.step(&gradients(&apart, step)).unwrap();
            stem.step(&gradients(&apart, step)).unwrap();
        }
        assert_eq!(flat(&together), flat(&apart), "{name}");
    }
}

/// Every number among the options, as `field` or `field.index`.
fn numbers(options: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for (field, value) in options.as_object().unwrap() {
        match value {
            Value::Array(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    found.extend(part.as_f64().map(|x| (format!("{field}.{i}"), x)));
                }
            }
            value => found.extend(value.as_f64().map(|x| (field.clone(), x))),
        }
    }
    found
}

fn with(options: &Value, field: &str, value: f64) -> Value {
    let mut options = options.clone();
    match field.split_once('.') {
        Some((field, i)) => options[field][i.parse::<usize>().unwrap()] = json!(value),
        None => options[field] = json!(value),
    }
    options
}

/// Options that may be negative, and what they may not be, if JSON can say it.
const SIGNED: &[(&str, Option<f64>)] = &[
    ("asgd.t0", None),
    ("adafactor.beta2_decay", Some(0.5)),
    ("muon.ns_coefficients.0", None),
    ("muon.ns_coefficients.1", None),
    ("muon.ns_coefficients.2", None),
    ("sgd.dampening", None),
    ("adamw_schedule_free.r", None),
    ("adamw_schedule_free.weight_lr_power", None),
    ("sgd_schedule_free.r", None),
    ("sgd_schedule_free.weight_lr_power", None),
    ("ftrl.lr_power", Some(0.5)),
];

#[test]
fn an_option_outside_its_range_is_refused_by_name_and_range() {
    for name in RULES {
        let options = named(name).options();
        for field in numbers(&options).keys() {
            let key = format!("{name}.{field}");
            let wrong = match SIGNED.iter().find(|(signed, _)| *signed == key) {
                Some((_, None)) => continue,
                Some((_, Some(wrong))) => *wrong,
                None => -0.5,
            };
            let refusal = rule_named(name, with(&options, field, wrong)).err();
            let text = refusal.map(|error| error.to_string());
            let text = text.unwrap_or_else(|| format!("{key} = {wrong} was taken"));
            // A count is refused by serde, before there is a rule.
            let count = text.starts_with(&format!("{name}: invalid type"));
            let start = format!("{name}: `{field}` must be ");
            let end = format!(", got {wrong}");
            assert!(
                count || text.starts_with(&start) && text.ends_with(&end),
                "{text}"
            );
        }
    }
}

/// Either kind of decay, of the rules that have both.
#[test]
fn a_negative_weight_decay_of_any_kind_is_refused() {
    for name in RULES {
        if !named(name).options()["weight_decay"].is_object() {
            continue;
        }
        for kind in ["l2", "decoupled"] {
            let refusal = rule_named(name, json!({"weight_decay": {kind: -0.5}}));
            let text = refusal.unwrap_err().to_string();
            let wanted = format!("{name}: `weight_decay` must be >= 0, got -0.5");
            assert_eq!(text, wanted);
        }
    }
}

#[test]
fn options_that_depend_on_each_other_are_checked_together() {
    let refusal = |name: &str, options: Value| rule_named(name, options).unwrap_err().to_string();
    assert_eq!(
        refusal("rprop", json!({"etas": [0.5, 1.0]})),
        "rprop: `etas.1` must be > 1, got 1"
    );
    assert_eq!(
        refusal("rprop", json!({"step_sizes": [1.0, 0.5]})),
        "rprop: `step_sizes.1` must be >= step_sizes.0, got 0.5"
    );
    assert_eq!(
        refusal("adadelta", json!({"rho": 1.1})),
        "adadelta: `rho` must be in [0, 1], got 1.1"
    );
    assert_eq!(
        refusal("adafactor", json!({"d": 0.5})),
        "adafactor: `d` must be >= 1, got 0.5"
    );
    assert_eq!(
        refusal("muon", json!({"ns_steps": 100})),
        "muon: `ns_steps` must be < 100, got 100"
    );
    assert_eq!(
        refusal("sparse_adam", json!({"lr": 0.0})),
        "sparse_adam: `lr` must be > 0, got 0"
    );
    assert_eq!(
        refusal("lamb", json!({"max_norm": 0.0})),
        "lamb: `max_norm` must be > 0, got 0"
    );
    assert_eq!(
        refusal("ademamix", json!({"t_alpha_beta3": 0.0})),
        "ademamix: `t_alpha_beta3` must be > 0, got 0"
    );
    assert_eq!(
        refusal(
            "ademamix",
            json!({"t_alpha_beta3": 9.0, "betas": [0.0, 0.9, 0.9]})
        ),
        "ademamix: `betas.0` must be in (0, 1) with a warm-up, got 0"
    );
    assert!(refusal("muon", json!({"adjust_lr_fn": "arbitrary"})).contains("match_rms_adamw"));
}

#[test]
fn muon_names_a_parameter_that_is_no_matrix_before_anything_moves() {
    let shapes = [("bias", vec![5]), ("attn", vec![2, 2])];
    let shapes = shapes.map(|(name, shape)| (name.to_string(), shape)).into();
    let params = params(&shapes, DType::F32);
    let before = flat(&params);
    let mut muon = Optimizer::new(params.clone(), Muon::default()).unwrap();
    let error = muon.step(&gradients(&params, 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "muon cannot update `bias`: its shape must be [rows, columns], got [5]"
    );
    assert_eq!(flat(&params), before);
    let others = Group::selecting("no matrices", |_, var| var.rank() != 2);
    let mut muon = muon.group(others.rule(Sgd::default())).unwrap();
    muon.step(&gradients(&params, 1)).unwrap();
}

#[test]
fn momentum_and_sgd_agree_at_a_constant_rate_and_only_there() {
    for nesterov in [false, true] {
        let walk = |rule: Box<dyn Rule>, falls: bool| {
            let params = matrices();
            let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
            for step in 1..=20 {
                if falls {
                    optimizer.set_lr(0.1 / step as f64);
                }
                optimizer.step(&gradients(&params, step)).unwrap();
            }
            flat(&params)
        };
        let (lr, momentum) = (0.1, 0.9);
        let inside = || {
            Momentum {
                lr,
                momentum,
                nesterov,
                ..Momentum::default()
            }
            .into()
        };
        let outside = || {
            Sgd {
                lr,
                momentum,
                nesterov,
                ..Sgd::default()
            }
            .into()
        };
        // Twenty steps of a few roundings each.
        assert_close(
            &walk(inside(), false),
            &walk(outside(), false),
            1e-12,
            "momentum",
        );
        assert_ne!(walk(inside(), true), walk(outside(), true));
    }
}

/// Rows long enough for vectors, with odd ends; every third has a gradient. Moments of the others
/// must stay as they were, and decide nothing later.
#[test]
fn sparse_adam_touches_the_rows_that_have_a_gradient_and_no_others() {
    for path in [Path::Fused, Path::Composed] {
        let shapes = [("table".to_string(), vec![1000, 67])].into();
        let params = params(&shapes, DType::F32);
        let before = flat(&params);
        let row = |i: usize| if i % 3 == 1 { 1.0f32 } else { 0.0 };
        let rows = Tensor::from_iter((0..1000).map(row), &Device::Cpu).unwrap();
        let rows = rows.reshape((1000, 1)).unwrap();
        // One element is enough.
        let last = Tensor::from_iter((0..67).map(|i| (i == 66) as u8 as f32), &Device::Cpu);
        let gradient = rows
            .broadcast_mul(&last.unwrap().reshape((1, 67)).unwrap())
            .unwrap();
        let mut grads = GradStore::default();
        grads.insert(&params["table"], gradient);
        let rule = SparseAdam {
            lr: 0.5,
            ..SparseAdam::default()
        };
        let mut adam = Optimizer::new(params.clone(), rule).unwrap().path(path);
        adam.step(&grads).unwrap();
        for (i, (old, new)) in before.iter().zip(flat(&params)).enumerate() {
            let wanted = if (i / 67) % 3 == 1 && i % 67 == 66 {
                old - 0.5
            } else {
                *old
            };
            assert!((new - wanted).abs() < 1e-5, "{i}: {old} {new}");
        }
    }
}

#[test]
fn rprop_takes_its_first_step_from_the_rate_of_its_group() {
    let params = matrices();
    let before = flat(&params);
    let rprop = Optimizer::new(params.clone(), Rprop::default()).unwrap();
    let mut rprop = rprop
        .group(Group::matching("*").unwrap().lr_scale(3.0))
        .unwrap();
    rprop.set_lr(0.5);
    rprop.step(&own_gradients(&params)).unwrap();
    let moved = before
        .iter()
        .zip(flat(&params))
        .map(|(old, new)| (old - new).abs());
    assert!(
        moved
            .zip(&before)
            .all(|(moved, x)| moved == if *x == 0.0 { 0.0 } else { 1.5 })
    );
}

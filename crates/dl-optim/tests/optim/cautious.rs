//! Caution.

use candle_core::{DType, Var};
use dl_optim::{Group, Optimizer, Path, RULES, Rule, rule_named};
use serde_json::{Value, json};

use crate::cases::{Params, assert_close, flat, gradients, params, values};

/// Matrices, which every rule can update.
fn matrices() -> Params {
    let shapes = [("head", vec![3, 4]), ("stem", vec![4, 5])];
    let shapes = shapes.map(|(name, shape)| (name.to_string(), shape)).into();
    params(&shapes, DType::F64)
}

fn copies(params: &Params) -> Params {
    let copy = |var: &Var| Var::from_tensor(&var.as_detached_tensor().copy().unwrap()).unwrap();
    let copies = params.iter().map(|(name, var)| (name.clone(), copy(var)));
    copies.collect()
}

/// The options with which a rule has a momentum, where its default has none, or keeps it in 8 bits
/// however small the parameter.
fn with_momentum(name: &str) -> Value {
    match name {
        "sgd" | "rmsprop" => json!({"momentum": 0.9}),
        "adam8bit" | "adamw8bit" => json!({"min_8bit_size": 1}),
        _ => json!({}),
    }
}

fn optimizer(params: &Params, rule: Box<dyn Rule>, path: Path) -> Optimizer {
    let optimizer = Optimizer::new(params.clone(), rule).unwrap().path(path);
    let everything = Group::matching("*").unwrap().weight_decay(0.0);
    optimizer.group(everything).unwrap()
}

/// Three steps of the plain rule, then one of it and one of the cautious rule that goes on from its
/// state: what the second must do follows from the first. Gradients change their signs and the last is
/// small beside the momentum, so that some elements disagree.
fn masks_the_fourth_step(name: &str, path: Path) {
    let (plain, careful) = (with_momentum(name), {
        let mut options = with_momentum(name);
        options["cautious"] = json!(true);
        options
    });
    let plain_params = matrices();
    let mut plain = optimizer(&plain_params, rule_named(name, plain).unwrap(), path);
    for step in 1..=3 {
        plain.step(&gradients(&plain_params, step)).unwrap();
    }
    let before = copies(&plain_params);
    let careful_params = copies(&plain_params);
    let careful = rule_named(name, careful).unwrap();
    let mut careful = optimizer(&careful_params, careful, path);
    careful.load_state(&plain.state().unwrap()).unwrap();
    let grads = gradients(&plain_params, 4);
    plain.step_scaled(&grads, 0.01).unwrap();
    let grads_of_the_careful = gradients(&careful_params, 4);
    careful.step_scaled(&grads_of_the_careful, 0.01).unwrap();
    let mut masked = 0;
    for (key, before) in &before {
        let (before, g) = (
            values(before),
            values(grads.get(&plain_params[key]).unwrap()),
        );
        let whole = before.iter().zip(values(&plain_params[key]));
        let whole: Vec<f64> = whole.map(|(before, after)| before - after).collect();
        let agrees: Vec<bool> = whole.iter().zip(&g).map(|(u, g)| u * g > 0.0).collect();
        let left = agrees.iter().filter(|agrees| **agrees).count();
        let scale = g.len() as f64 / (left + 1) as f64;
        let step = |i: usize| if agrees[i] { whole[i] * scale } else { 0.0 };
        let want: Vec<f64> = (0..g.len()).map(|i| before[i] - step(i)).collect();
        // The step itself is known to the rounding of the parameter, 1e-16, times the scale.
        let what = format!("{name} {path:?} {key}");
        assert_close(&values(&careful_params[key]), &want, 1e-13, &what);
        masked += whole
            .iter()
            .zip(&agrees)
            .filter(|(u, agrees)| **u != 0.0 && !**agrees)
            .count();
    }
    assert!(
        masked > 0,
        "{name}: no element disagreed, the test shows nothing"
    );
}

#[test]
fn every_rule_with_a_momentum_leaves_out_what_goes_up_and_the_others_refuse() {
    let mut careful = Vec::new();
    for &name in RULES {
        let rule = rule_named(name, with_momentum(name)).unwrap();
        if rule.can_be_cautious() {
            careful.push(name);
            masks_the_fourth_step(name, Path::Fused);
            masks_the_fourth_step(name, Path::Composed);
        } else {
            let error = rule_named(name, json!({"cautious": true})).unwrap_err();
            let wanted = format!("{name} cannot be cautious: it takes no steps along a momentum");
            assert_eq!(error.to_string(), wanted);
        }
    }
    for name in [
        "sgd",
        "adamw",
        "lion",
        "muon",
        "came",
        "lamb",
        "lars",
        "novograd",
        "adan",
        "adam8bit",
        "prodigy",
        "dadapt_adam",
        "shampoo",
        "soap",
        "galore",
    ] {
        assert!(careful.contains(&name), "{name}");
    }
}

#[test]
fn caution_is_an_option_that_is_saved_and_survives_a_new_momentum() {
    let params = matrices();
    let rule = rule_named("adamw", json!({"cautious": true, "lr": 0.5})).unwrap();
    let mut adamw = Optimizer::new(params.clone(), rule).unwrap();
    adamw.set_momentum(0.5).unwrap();
    adamw.step(&gradients(&params, 1)).unwrap();
    let options = &adamw.state().unwrap().header.groups[0].options;
    assert_eq!(
        (&options["cautious"], &options["betas"][0]),
        (&json!(true), &json!(0.5))
    );
    let plain = rule_named("adamw", json!({"cautious": false})).unwrap();
    assert!(plain.options().get("cautious").is_none());
    let error = rule_named("adamw", json!({"cautious": 1})).unwrap_err();
    assert!(
        error.to_string().starts_with("adamw: invalid type"),
        "{error}"
    );
}

/// All elements disagree with the second gradient: nothing moves but what decay shrinks.
#[test]
fn decoupled_decay_is_not_masked() {
    let params = matrices();
    let options = json!({"cautious": true, "weight_decay": 0.5, "lr": 0.1, "betas": [0.9, 0.99]});
    let mut lion = Optimizer::new(params.clone(), rule_named("lion", options).unwrap()).unwrap();
    let ones = |sign: f64| {
        let mut grads = gradients(&params, 1);
        for var in params.values() {
            grads.insert(var, var.ones_like().unwrap().affine(sign, 0.0).unwrap());
        }
        grads
    };
    for _ in 0..30 {
        lion.step(&ones(1.0)).unwrap();
    }
    let before = flat(&params);
    lion.step(&ones(-1e-3)).unwrap();
    let want: Vec<f64> = before.iter().map(|x| x * 0.95).collect();
    assert_eq!(flat(&params), want);
}

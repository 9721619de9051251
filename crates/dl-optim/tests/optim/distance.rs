//! Rules that learn their rate from what all parameters have in common.

use candle_core::DType;
use candle_core::backprop::GradStore;
use dl_optim::{AdamW, DAdaptAdam, DAdaptSgd, Group, Optimizer, Prodigy, RULES, Rule, rule_named};
use serde_json::json;

use crate::cases::{Params, assert_close, flat, gradients, params};

fn two() -> Params {
    let shapes = [("a", vec![3, 4]), ("b", vec![5])];
    params(
        &shapes.map(|(name, shape)| (name.to_string(), shape)).into(),
        DType::F64,
    )
}

/// The same gradient at every step: what is looked for lies ever further away.
fn follow(optimizer: &mut Optimizer, params: &Params, steps: usize) {
    (0..steps).for_each(|_| optimizer.step(&gradients(params, 1)).unwrap());
}

fn distance(optimizer: &Optimizer) -> f64 {
    let state = optimizer.state().unwrap();
    state.tensors["a.d"].to_scalar::<f64>().unwrap()
}

/// Those that share numbers.
fn sharing() -> impl Iterator<Item = Box<dyn Rule>> {
    let all = RULES
        .iter()
        .map(|name| rule_named(name, json!({})).unwrap());
    all.filter(|rule| !rule.shared().is_empty())
}

fn walk(rule: Box<dyn Rule>, shape: impl Fn(Optimizer) -> Optimizer) -> Vec<f64> {
    let params = two();
    let mut optimizer = shape(Optimizer::new(params.clone(), rule).unwrap());
    follow(&mut optimizer, &params, 12);
    flat(&params)
}

#[test]
fn there_are_three_and_a_parameter_alone_does_otherwise_than_among_others() {
    assert_eq!(sharing().count(), 3);
    for rule in sharing() {
        let params = two();
        let alone: Params = params.clone().into_iter().take(1).collect();
        let name = rule.basics().name;
        let together = walk(rule, |optimizer| optimizer);
        let mut optimizer =
            Optimizer::new(alone.clone(), rule_named(name, json!({})).unwrap()).unwrap();
        follow(&mut optimizer, &params, 12);
        assert_ne!(flat(&alone), together[..12], "{name}");
    }
}

/// A rule in a group of another rule's optimizer, whose rate is a thousandth of its own.
#[test]
fn a_group_with_a_rule_of_its_own_learns_the_rate_it_would_learn_alone() {
    for rule in sharing() {
        let name = rule.basics().name;
        let alone = walk(rule, |optimizer| optimizer);
        let everything = || Group::matching("*").unwrap();
        let group = || everything().rule(rule_named(name, json!({})).unwrap());
        let inside = walk(AdamW::default().into(), |optimizer| {
            optimizer.group(group()).unwrap()
        });
        // The rate goes through a factor of 1000 and back.
        assert_close(&inside, &alone, 1e-9, name);
    }
}

/// At a rate of 0, as at the start of a warm-up, and with nothing but zeros.
#[test]
fn steps_that_tell_nothing_leave_no_trace() {
    for rule in sharing() {
        let name = rule.basics().name;
        let run = |idle: bool| {
            let params = two();
            let mut optimizer =
                Optimizer::new(params.clone(), rule_named(name, json!({})).unwrap()).unwrap();
            if idle {
                optimizer.set_lr(0.0);
                optimizer.step(&gradients(&params, 7)).unwrap();
                optimizer.set_lr(1.0);
                let mut zeros = GradStore::default();
                params
                    .values()
                    .for_each(|var| drop(zeros.insert(var, var.zeros_like().unwrap())));
                optimizer.step(&zeros).unwrap();
            }
            (1..10).for_each(|step| optimizer.step(&gradients(&params, step)).unwrap());
            flat(&params)
        };
        assert_eq!(run(false), run(true), "{name}");
    }
}

/// Half the scale for every parameter: the estimate is a quotient of sums, so only steps are halved.
#[test]
fn the_scale_of_a_group_scales_steps_and_not_the_estimate() {
    let estimate = |scale: f64| {
        let params = two();
        let group = Group::matching("*").unwrap().lr_scale(scale);
        let optimizer = Optimizer::new(params.clone(), DAdaptAdam::default()).unwrap();
        let mut optimizer = optimizer.group(group).unwrap();
        follow(&mut optimizer, &params, 12);
        distance(&optimizer)
    };
    let whole = estimate(1.0);
    assert!(whole > DAdaptAdam::default().d0);
    // A factor of two, exact in every sum.
    assert_eq!(estimate(0.5), whole);
}

#[test]
fn growth_is_limited_where_it_is_told_to() {
    let growth_rate = Some(1.5);
    let rules: [Box<dyn Rule>; 3] = [
        Prodigy {
            growth_rate,
            ..Prodigy::default()
        }
        .into(),
        DAdaptAdam {
            growth_rate,
            ..DAdaptAdam::default()
        }
        .into(),
        DAdaptSgd {
            growth_rate,
            ..DAdaptSgd::default()
        }
        .into(),
    ];
    for rule in rules {
        let params = two();
        let name = rule.basics().name;
        let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
        let mut last = 1e-6;
        for _ in 0..30 {
            follow(&mut optimizer, &params, 1);
            let d = distance(&optimizer);
            // Prodigy's first estimate replaces d₀, whatever it is.
            let first = name == "prodigy" && last == 1e-6;
            assert!(d >= last && (first || d <= 1.5 * last), "{name} {last} {d}");
            last = d;
        }
        assert!(last > 1e-6, "{name}");
    }
}

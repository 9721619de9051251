//! Against torch's schedulers and transformers' schedules.

use std::collections::BTreeMap;

use dl_optim::{
    Anneal, Constant, ConstantThen, Cosine, CosineRestarts, Exponential, HUGGING_FACE_NAMES,
    HuggingFace, Lambda, Linear, MultiStep, OneCycle, Polynomial, Product, Schedule, Sequence,
    Step, Warmup,
};
use serde::Deserialize;

use crate::cases::{assert_close, path};

#[derive(Deserialize)]
struct Fixture {
    about: BTreeMap<String, String>,
    torch: BTreeMap<String, Vec<f64>>,
    hugging_face: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    schedule: serde_json::Value,
    factors: Vec<f64>,
}

fn fixture() -> Fixture {
    let text = std::fs::read_to_string(path("schedules.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn factors(schedule: &dyn Schedule, steps: usize) -> Vec<f64> {
    (0..steps).map(|step| schedule.at(step)).collect()
}

/// The schedules that `torch_schedules` in the script makes.
fn ours(name: &str) -> Box<dyn Schedule> {
    let cosine = |t_max| Cosine {
        t_max,
        min_factor: 0.1,
    };
    match name {
        "constant" => Box::new(ConstantThen::default()),
        "step" => Box::new(Step {
            step_size: 7,
            gamma: 0.1,
        }),
        "multi_step" => Box::new(MultiStep {
            milestones: vec![30, 5, 12, 12],
            gamma: 0.5,
        }),
        "exponential" => Box::new(Exponential { gamma: 0.9 }),
        "linear" => Box::new(Linear::default()),
        "linear_down" => Box::new(Linear {
            start_factor: 1.0,
            end_factor: 0.05,
            total_iters: 30,
        }),
        "polynomial" => Box::new(Polynomial {
            total_iters: 30,
            power: 2.5,
        }),
        "cosine" => Box::new(cosine(30)),
        "cosine_restarts" => Box::new(CosineRestarts {
            t_0: 7,
            t_mult: 1,
            min_factor: 0.0,
        }),
        "cosine_restarts_longer" => Box::new(CosineRestarts {
            t_0: 5,
            t_mult: 2,
            min_factor: 0.05,
        }),
        "one_cycle" => Box::new(OneCycle::over(41)),
        "one_cycle_linear" => {
            let (pct_start, anneal_strategy) = (0.25, Anneal::Linear);
            Box::new(OneCycle {
                pct_start,
                anneal_strategy,
                ..OneCycle::over(41)
            })
        }
        "one_cycle_three" => Box::new(OneCycle {
            three_phase: true,
            div_factor: 10.0,
            ..OneCycle::over(41)
        }),
        "warmup" => Box::new(Warmup {
            steps: 5,
            start_factor: 0.1,
            then: Cosine::over(35),
        }),
        "sequence" => Box::new(sequence()),
        "product" => Box::new(Product(vec![
            Box::new(Exponential { gamma: 0.95 }),
            Box::new(Linear::default()),
        ])),
        "lambda" => Box::new(Lambda(|step| 1.0 / (1 + step) as f64)),
        _ => unreachable!("{name}"),
    }
}

fn sequence() -> Sequence {
    let parts: Vec<Box<dyn Schedule>> = vec![
        Box::new(ConstantThen {
            factor: 0.1,
            total_iters: 100,
        }),
        Box::new(Exponential { gamma: 0.9 }),
        Box::new(Step {
            step_size: 3,
            gamma: 0.5,
        }),
    ];
    Sequence::new(parts, vec![4, 20]).unwrap()
}

/// 1e-12: torch multiplies its rate on from step to step, and each product rounds.
#[test]
fn every_schedule_follows_torch() {
    let fixture = fixture();
    assert!(fixture.about.contains_key("torch"));
    assert_eq!(fixture.torch.len(), 17);
    for (name, want) in fixture.torch {
        assert_close(&factors(&*ours(&name), want.len()), &want, 1e-12, &name);
    }
}

/// 1e-15: the same closed form in the same order.
#[test]
fn every_hugging_face_name_follows_transformers() {
    let fixture = fixture();
    let mut seen: Vec<String> = Vec::new();
    for Named {
        schedule: value,
        factors: want,
    } in fixture.hugging_face
    {
        let schedule: HuggingFace = serde_json::from_value(
            serde_json::json!({"power": 1.0})
                .as_object()
                .unwrap()
                .clone()
                .into_iter()
                .chain(value.as_object().unwrap().clone())
                .collect::<serde_json::Map<_, _>>()
                .into(),
        )
        .unwrap();
        assert_close(
            &factors(&schedule, want.len()),
            &want,
            1e-15,
            &value.to_string(),
        );
        seen.push(value["name"].as_str().unwrap().to_string());
    }
    assert!(
        HUGGING_FACE_NAMES
            .iter()
            .all(|name| seen.iter().any(|seen| seen == name))
    );
}

#[test]
fn every_hugging_face_name_is_found_and_another_lists_them() {
    for name in HUGGING_FACE_NAMES {
        let schedule = HuggingFace::named(name, 10, 100).unwrap();
        assert_eq!(schedule.at(10), 1.0, "{name}");
    }
    let error = HuggingFace::named("cosin", 10, 100)
        .unwrap_err()
        .to_string();
    let known = HUGGING_FACE_NAMES.join(", ");
    assert_eq!(
        error,
        format!("no schedule is called `cosin`; known are {known}")
    );
}

/// Zero lengths, lengths shorter than the warm-up, and steps far past the end.
#[test]
fn no_schedule_panics_or_leaves_the_numbers_on_degenerate_lengths() {
    let mut schedules: Vec<Box<dyn Schedule>> = vec![
        Box::new(Constant),
        Box::new(Step {
            step_size: 0,
            gamma: 0.1,
        }),
        Box::new(Linear {
            total_iters: 0,
            ..Linear::default()
        }),
        Box::new(Polynomial {
            total_iters: 0,
            power: 1.0,
        }),
        Box::new(Cosine::over(0)),
        Box::new(CosineRestarts {
            t_0: 0,
            t_mult: 0,
            min_factor: 0.0,
        }),
        Box::new(CosineRestarts {
            t_0: 1,
            t_mult: 3,
            min_factor: 0.0,
        }),
        Box::new(OneCycle::over(0)),
        Box::new(OneCycle::over(1)),
        Box::new(OneCycle {
            pct_start: 0.0,
            ..OneCycle::over(10)
        }),
        Box::new(Warmup::new(0, Constant)),
    ];
    for name in HUGGING_FACE_NAMES {
        schedules.push(Box::new(HuggingFace::named(name, 0, 0).unwrap()));
        schedules.push(Box::new(HuggingFace::named(name, 20, 10).unwrap()));
    }
    for schedule in &schedules {
        for step in [0, 1, 2, 9, 10, 11, 1_000_000, usize::MAX] {
            let factor = schedule.at(step);
            assert!(
                (0.0..=1.0).contains(&factor),
                "{schedule:?} at {step}: {factor}"
            );
        }
    }
}

#[test]
fn a_sequence_needs_a_milestone_between_each_two_parts_in_order() {
    let parts = || -> Vec<Box<dyn Schedule>> {
        (0..3)
            .map(|_| Box::new(Constant) as Box<dyn Schedule>)
            .collect()
    };
    for milestones in [vec![], vec![5], vec![5, 5], vec![9, 5], vec![1, 2, 3]] {
        let error = Sequence::new(parts(), milestones).unwrap_err().to_string();
        assert!(
            error.starts_with("sequence: 3 schedules need 2 increasing milestones"),
            "{error}"
        );
    }
    assert!(Sequence::new(Vec::new(), Vec::new()).is_err());
}

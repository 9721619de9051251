//! Against torch's schedulers and transformers' schedules.

use std::collections::BTreeMap;

use dl_optim::{
    Anneal, Constant, ConstantThen, Cosine, CosineRestarts, Cyclic, CyclicMode, Exponential,
    Greedy, GreedyConfig, HUGGING_FACE_NAMES, HuggingFace, InverseSqrt, LR_SCHEDULER_NAMES, Lambda,
    Linear, LrScheduler, MultiStep, Noam, OneCycle, PlateauConfig, Polynomial, Product,
    ReduceOnPlateau, Schedule, Sequence, Step, SwaAnneal, Warmup, WarmupStableDecay,
};
use serde::Deserialize;

use crate::cases::{assert_close, path};

#[derive(Deserialize)]
struct Fixture {
    about: BTreeMap<String, String>,
    torch: BTreeMap<String, Vec<f64>>,
    closed: BTreeMap<String, Vec<f64>>,
    momentum: BTreeMap<String, Vec<f64>>,
    hugging_face: Vec<Named>,
    metrics: Vec<f64>,
    plateau: Vec<Adaptive>,
    greedy: Vec<Adaptive>,
}

#[derive(Deserialize)]
struct Adaptive {
    options: serde_json::Value,
    rates: Vec<f64>,
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
        "one_cycle" | "one_cycle_linear" | "one_cycle_three" => Box::new(one_cycle(name)),
        "cyclic" | "cyclic_uneven" | "cyclic_exp" => Box::new(cyclic(name)),
        "noam" => Box::new(Noam {
            model_dim: 64,
            warmup_steps: 8,
        }),
        "swa_anneal" => Box::new(swa_anneal(10, Anneal::Cos)),
        "swa_anneal_linear" => Box::new(swa_anneal(4, Anneal::Linear)),
        "swa_anneal_none" => Box::new(swa_anneal(0, Anneal::Cos)),
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

fn one_cycle(name: &str) -> OneCycle {
    let plain = OneCycle::over(41);
    match name {
        "one_cycle" => plain,
        "one_cycle_linear" => OneCycle {
            pct_start: 0.25,
            anneal_strategy: Anneal::Linear,
            ..plain
        },
        _ => OneCycle {
            three_phase: true,
            div_factor: 10.0,
            ..plain
        },
    }
}

fn cyclic(name: &str) -> Cyclic {
    let (min_factor, step_size_up, step_size_down, mode) = match name {
        "cyclic" => (0.1, 7, None, CyclicMode::Triangular),
        "cyclic_uneven" => (0.25, 3, Some(8), CyclicMode::Triangular2),
        _ => (0.1, 5, None, CyclicMode::ExpRange { gamma: 0.97 }),
    };
    Cyclic {
        min_factor,
        step_size_up,
        step_size_down,
        mode,
        ..Cyclic::default()
    }
}

fn swa_anneal(anneal_steps: usize, anneal_strategy: Anneal) -> SwaAnneal {
    SwaAnneal {
        swa_factor: 0.05,
        anneal_steps,
        anneal_strategy,
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
    assert_eq!(fixture.torch.len(), 24);
    for (name, want) in fixture.torch {
        assert_close(&factors(&*ours(&name), want.len()), &want, 1e-12, &name);
    }
}

/// 1e-15: the same formula. PyTorch has one for these; what it steps to is the test above.
#[test]
fn every_closed_form_is_torchs() {
    let closed = fixture().closed;
    assert_eq!(closed.len(), 8, "{:?}", closed.keys());
    for (name, want) in closed {
        assert_close(&factors(&*ours(&name), want.len()), &want, 1e-15, &name);
    }
}

#[test]
fn momentum_goes_against_the_rate_as_torchs_does() {
    let momentum = fixture().momentum;
    assert_eq!(momentum.len(), 6);
    for (name, want) in momentum {
        let at = |step| match name.starts_with("one_cycle") {
            true => one_cycle(&name).momentum(step),
            false => cyclic(&name).momentum(step),
        };
        let got: Vec<_> = (0..want.len()).map(at).collect();
        assert_close(&got, &want, 1e-15, &name);
    }
}

/// The state goes through JSON after every metric, so nothing of it can be missing from there.
#[test]
fn reduce_on_plateau_follows_torch_and_resumes() {
    let fixture = fixture();
    assert_eq!(fixture.plateau.len(), 8);
    for Adaptive { options, rates } in fixture.plateau {
        let config: PlateauConfig = serde_json::from_value(options.clone()).unwrap();
        let mut plateau = ReduceOnPlateau::new(config, 1.0).unwrap();
        for (i, (&metric, want)) in fixture.metrics.iter().zip(rates).enumerate() {
            assert_eq!(plateau.step(metric), want, "{options} {i}");
            let saved = serde_json::to_string(&plateau).unwrap();
            plateau = serde_json::from_str(&saved).unwrap();
        }
    }
}

#[test]
fn greedy_follows_transformers_and_resumes() {
    let fixture = fixture();
    assert_eq!(fixture.greedy.len(), 6);
    for Adaptive { options, rates } in fixture.greedy {
        let config: GreedyConfig = serde_json::from_value(options.clone()).unwrap();
        let mut greedy = Greedy::new(config, 1.0).unwrap();
        for (i, (&metric, want)) in fixture.metrics.iter().zip(rates).enumerate() {
            assert_eq!(greedy.step(metric), want, "{options} {i}");
            let saved = serde_json::to_string(&greedy).unwrap();
            greedy = serde_json::from_str(&saved).unwrap();
        }
    }
}

#[test]
fn a_metric_that_is_no_number_is_a_bad_one_and_the_state_still_saves() {
    let config = PlateauConfig {
        patience: 1,
        factor: 0.5,
        ..PlateauConfig::default()
    };
    let mut plateau = ReduceOnPlateau::new(config, 1.0).unwrap();
    let metrics = [1.0, f64::NAN, f64::NEG_INFINITY];
    assert_eq!(metrics.map(|metric| plateau.step(metric)), [1.0, 1.0, 0.5]);
    let saved = serde_json::to_string(&plateau).unwrap();
    assert_eq!(
        serde_json::from_str::<ReduceOnPlateau>(&saved).unwrap(),
        plateau
    );
    let factor = PlateauConfig {
        factor: 1.0,
        ..config
    };
    let error = ReduceOnPlateau::new(factor, 1.0).unwrap_err().to_string();
    assert_eq!(
        error,
        "reduce_on_plateau: `factor` must be in [0, 1), got 1"
    );
}

#[test]
fn every_scheduler_name_gives_a_rate_and_another_lists_them() {
    for name in LR_SCHEDULER_NAMES {
        let mut scheduler = LrScheduler::named(name, 0.5, 10, 100).unwrap();
        for step in 0..30 {
            scheduler.observe(1.0);
            assert!((0.0..=0.5).contains(&scheduler.lr(step)), "{name}");
        }
        // Thirty equal metrics lower the two that look at them, and only those.
        let follows = ["reduce_lr_on_plateau", "greedy"].contains(name);
        assert_eq!(scheduler.lr(10) < 0.49, follows, "{name}");
    }
    let error = LrScheduler::named("greed", 0.5, 10, 100).unwrap_err();
    assert!(error.to_string().ends_with(&LR_SCHEDULER_NAMES.join(", ")));
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
        // The last of these names is a step ahead.
        let top = if *name == "cosine_warmup_with_min_lr" {
            9
        } else {
            10
        };
        assert_eq!(schedule.at(top), 1.0, "{name}");
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
        Box::new(Cyclic {
            step_size_up: 0,
            step_size_down: Some(0),
            ..Cyclic::default()
        }),
        Box::new(InverseSqrt::default()),
        Box::new(Noam {
            model_dim: 0,
            warmup_steps: 0,
        }),
        Box::new(WarmupStableDecay::new(0, 0, 0)),
        Box::new(WarmupStableDecay::new(9, usize::MAX, usize::MAX)),
        Box::new(swa_anneal(0, Anneal::Linear)),
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

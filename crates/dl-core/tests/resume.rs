//! A run that is killed and resumed is the run that was not.
#![allow(clippy::unwrap_used, clippy::panic)]

mod events;

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::checkpoint::{
    CheckpointError, Checkpoints, Goal, Keep, Manifest, Part, Snapshot, Writer,
};
use dl_core::data::{DataError, DataLoader, Draw, StackTensors, TensorDataset, Transform};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    Callback, CheckpointOptions, CsvLog, EarlyStopping, Epoch, Every, Flow, Freezing, History,
    MetricsLog, ReduceLrOnPlateau, Resume, Step, TensorBoard, TrainError, Trainer, TrainerConfig,
};
use dl_optim::{AdamW, Clip, Cosine, Ema, LossScaler, NonFinite, Optimizer, PlateauConfig, Warmup};

type Pair = (Tensor, Tensor);

/// Adds noise that depends on the seed, the epoch and the item.
struct Jitter;

impl Transform<Pair> for Jitter {
    fn apply(&self, (x, y): Pair, draw: &mut Draw) -> Result<Pair, DataError> {
        let noise = draw.uniform() - 0.5;
        Ok(((x + 0.1 * f64::from(noise))?, y))
    }
}

fn data() -> TensorDataset {
    let mut x = vec![0f32; 22 * 3];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(3).map(|x| u32::from(x[0] * x[1] > 0.)).collect();
    let x = Tensor::from_vec(x, (22, 3), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 22, &Device::Cpu).unwrap();
    TensorDataset::new(x, y).unwrap()
}

/// Ends the run after a step: with an error, as a crash would, or as a signal does.
struct EndAfter(usize, Ending);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Crash,
    Signal,
}

impl Callback for EndAfter {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        match self.1 {
            _ if step.step != self.0 => Ok(Flow::Continue),
            Ending::Crash => Err(TrainError::NoParams),
            Ending::Signal => Ok(Flow::Interrupt),
        }
    }
}

#[derive(Clone)]
struct Run<'a> {
    folder: &'a Path,
    every: Every,
    workers: usize,
    crash_after: usize,
    ending: Ending,
    resume: Resume,
}

/// Three epochs of three steps over 22 items in batches of 4, two to a step: the last window of an
/// epoch has one full batch and one of two. Shuffled, augmented, with dropout, clipping, a
/// schedule, averaged weights, early stopping, a rate that falls at plateaus, a loss scale that grows
/// every second step, and a first layer that does not train in the second epoch. Logged in the
/// folder `logs`.
fn run(setup: Run) -> Result<(Params, History), TrainError> {
    let params = Params::new(7, &Device::Cpu);
    let network = MlpConfig {
        inputs: 3,
        hidden: vec![8, 8],
        classes: 2,
        dropout: 0.3,
    };
    let model = Mlp::new(&network, params.vb()).unwrap();
    let rule = AdamW {
        lr: 0.02,
        ..AdamW::default()
    };
    let optimizer = Optimizer::new(params.trainable(), rule).unwrap();
    let optimizer = optimizer.clip(Clip::Norm(1.)).unwrap();
    let plateau = PlateauConfig {
        patience: 0,
        factor: 0.5,
        threshold: 0.5,
        ..Default::default()
    };
    let first = params.names()[0].rsplit_once('.').unwrap().0.to_string() + ".*";
    let freezing = Freezing::new(&params).freeze(&first, 2).unfreeze("*", 3);
    let logs = setup.folder.join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    let train = DataLoader::new(data(), StackTensors)
        .transform(Jitter)
        .batch_size(4)
        .shuffle(true)
        .workers(setup.workers);
    let eval = DataLoader::new(data(), StackTensors).batch_size(8);
    let config = TrainerConfig {
        epochs: 3,
        gradient_accumulation_steps: 2,
        eval_every: Every::Steps(2),
        non_finite: NonFinite::Skip,
        loss_scaler: Some(LossScaler::new(1024., 2., 0.5, 2)?),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: setup.every,
        resume: setup.resume,
        ..CheckpointOptions::new(setup.folder)
    };
    let history = Trainer::new(&model, optimizer, config)
        .rebuild(&params, |vb| Mlp::new(&network, vb))
        .callback(freezing)
        .callback(ReduceLrOnPlateau::new("eval_loss", plateau, 0.02)?)
        .callback(CsvLog::append(logs.join("log.csv"))?.with("run", "a"))
        .callback(MetricsLog::append(logs.join("log.jsonl"))?.with("run", "a"))
        .callback(
            TensorBoard::new(logs.join("board"))
                .histograms(&params, 2)
                .text("configuration", &network)?,
        )
        .schedule(Warmup::new(2, Cosine::over(7)))
        .ema(Ema::new(params.trainable(), 0.9).unwrap())
        .callback(EarlyStopping::minimize("eval_loss").restore_best(&params))
        .callback(EndAfter(setup.crash_after, setup.ending))
        .checkpoints(&params, options)
        .fit(&train, &eval)?;
    Ok((params, history))
}

fn bits(params: &Params) -> Vec<u32> {
    let all = params.all().into_iter();
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    flat.flat_map(|t| t.to_vec1::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}

/// Epoch, step, the bits of the metrics and of the rate.
type Exact = (usize, usize, Vec<(String, u64)>, u64);

/// Everything but times.
fn without_times(history: &[Epoch]) -> Vec<Exact> {
    let metrics = |epoch: &Epoch| {
        let all = epoch.metrics().iter();
        all.map(|(name, value)| (name.clone(), value.to_bits()))
            .collect()
    };
    let bits = |e: &Epoch| (e.epoch, e.step, metrics(e), e.learning_rate.to_bits());
    history.iter().map(bits).collect()
}

/// What the logs of a run say, but for times: the rows of the table, the lines of the log without the
/// fields that are times, and the events.
fn logged(folder: &Path) -> (Vec<Vec<String>>, Vec<String>, events::Shown) {
    let timed = |name: &str| {
        name.starts_with("time/")
            || name.contains("memory/")
            || name.contains("_second")
            || name == "resident_bytes"
    };
    let logs = folder.join("logs");
    let mut table = csv::Reader::from_path(logs.join("log.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    let untimed = |row: &csv::StringRecord| {
        let cells = header.iter().zip(row).filter(|(name, _)| !timed(name));
        cells.map(|(name, cell)| format!("{name}={cell}")).collect()
    };
    let rows = table.records().map(|row| untimed(&row.unwrap())).collect();
    let lines = std::fs::read_to_string(logs.join("log.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut fields: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
        fields.retain(|name, _| !timed(name));
        serde_json::to_string(&fields).unwrap()
    });
    let mut shown = events::read(&logs.join("board"));
    shown.retain(|(tag, ..)| !timed(tag));
    (rows, lines.collect(), shown)
}

fn setup(folder: &Path) -> Run<'_> {
    Run {
        folder,
        every: Every::Steps(1),
        workers: 0,
        crash_after: usize::MAX,
        ending: Ending::Crash,
        resume: Resume::IfAny,
    }
}

#[test]
fn a_run_resumed_at_any_step_is_the_uninterrupted_run_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (params, history) = run(setup(folder.path())).unwrap();
    assert_eq!((history.len(), history[2].step), (3, 9));
    let log = logged(folder.path());
    assert_eq!((log.0.len(), log.1.len()), (3, 3));
    let steps = |tag: &str| -> Vec<u64> {
        let tagged = log.2.iter().filter(|(t, ..)| t == tag);
        tagged.map(|(_, step, _)| *step).collect()
    };
    assert_eq!(steps("train/loss"), Vec::from_iter(1..=9));
    assert_eq!(steps("eval/loss"), [2, 4, 6, 8, 9]);
    let first = params.names()[0].clone();
    // Frozen in steps 4 to 6.
    assert_eq!(steps(&format!("gradients/{first}")), [2, 8]);
    assert_eq!(steps(&format!("parameters/{first}")), [2, 8]);
    assert_eq!(steps("configuration/text_summary"), [0]);
    let ends = [Ending::Crash, Ending::Signal];
    let when = [
        Every::Steps(1),
        Every::Steps(2),
        Every::Epochs(1),
        Every::Epochs(2),
    ];
    for (every, ending) in when.into_iter().flat_map(|e| ends.map(|end| (e, end))) {
        for crash_after in 1..=9 {
            let folder = tempfile::tempdir().unwrap();
            let setup = Run {
                every,
                ending,
                ..setup(folder.path())
            };
            let broken = run(Run {
                crash_after,
                ..setup.clone()
            });
            let what = format!("{every:?}, {ending:?} after {crash_after}");
            assert!(broken.is_err(), "{what}");
            let (resumed, again) = run(setup).unwrap();
            assert_eq!(bits(&params), bits(&resumed), "{what}");
            assert_eq!(without_times(&history), without_times(&again), "{what}");
            assert_eq!(log, logged(folder.path()), "{what}");
        }
    }
}

/// Killed again and again, each time a step further than the checkpoint before.
#[test]
fn a_run_killed_many_times_is_the_uninterrupted_run_and_so_are_its_logs() {
    let whole = tempfile::tempdir().unwrap();
    let (params, history) = run(setup(whole.path())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for crash_after in 1..=9 {
        let crash = run(Run {
            every: Every::Steps(2),
            crash_after,
            ..setup(folder.path())
        });
        assert!(crash.is_err());
    }
    let (resumed, again) = run(setup(folder.path())).unwrap();
    assert_eq!(bits(&params), bits(&resumed));
    assert_eq!(without_times(&history), without_times(&again));
    assert_eq!(logged(whole.path()), logged(folder.path()));
}

#[test]
fn threads_and_workers_may_change_at_the_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let (params, history) = run(setup(folder.path())).unwrap();
    let both = [1, 2, 4]
        .into_iter()
        .flat_map(|n| [0, 1, 3].map(|w| (n, w)));
    for (threads, workers) in both {
        let folder = tempfile::tempdir().unwrap();
        let crash = run(Run {
            crash_after: 5,
            ..setup(folder.path())
        });
        assert!(crash.is_err());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let resumed = pool.build().unwrap().install(|| {
            run(Run {
                workers,
                ..setup(folder.path())
            })
        });
        let (resumed, again) = resumed.unwrap();
        let what = format!("{threads} threads, {workers} workers");
        assert_eq!(bits(&params), bits(&resumed), "{what}");
        assert_eq!(without_times(&history), without_times(&again), "{what}");
    }
}

#[test]
fn a_finished_run_that_is_started_again_does_nothing_and_gives_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let (params, history) = run(setup(folder.path())).unwrap();
    let (again, same) = run(setup(folder.path())).unwrap();
    assert_eq!(bits(&params), bits(&again));
    assert_eq!(history, same);
}

#[test]
fn a_folder_in_use_is_refused_unless_the_run_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    run(setup(folder.path())).unwrap();
    let never = Run {
        resume: Resume::Never,
        ..setup(folder.path())
    };
    let error = run(never).unwrap_err();
    assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let latest = Run {
        resume: Resume::Latest,
        ..setup(empty.path())
    };
    let error = run(latest).unwrap_err().to_string();
    assert!(error.starts_with("no checkpoint in"), "{error}");
}

/// Every file, cut off and with one bit turned, in the newest of two checkpoints.
#[test]
fn a_damaged_checkpoint_is_refused_by_name_and_the_one_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep::default();
    let crash = || {
        run(Run {
            crash_after: 5,
            ..setup(folder.path())
        })
    };
    assert!(crash().is_err());
    let open = || Checkpoints::create(folder.path(), keep.clone()).unwrap();
    let newest = open().latest().unwrap().0.path;
    assert!(newest.ends_with("step-00000004"));
    let mut files: Vec<_> = Manifest::read(&newest).unwrap().files.into_keys().collect();
    assert!(files.contains(&"model.safetensors".to_string()) && files.len() >= 4);
    files.push("manifest.json".to_string());
    for name in files {
        let path = newest.join(&name);
        let whole = std::fs::read(&path).unwrap();
        let turned = |at: usize, bit: u8| {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            Some(bytes)
        };
        let cut = |len: usize| Some(whole[..len].to_vec());
        let (len, sum) = (whole.len(), whole.windows(6).position(|w| w == b"sha256"));
        let mut damages = vec![None, cut(0), cut(1), cut(len / 2), cut(len - 2)];
        match sum.filter(|_| name == "manifest.json") {
            // A digit of a sum, the bracket at the beginning.
            Some(sum) => damages.extend([turned(sum + 12, 1), turned(0, 1)]),
            None => {
                let places = [0, 1, 8, len / 3, len / 2, len - 1];
                damages.extend(
                    places
                        .iter()
                        .flat_map(|&at| [turned(at, 1), turned(at, 0x80)]),
                );
            }
        }
        for damage in damages {
            match &damage {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let error = Checkpoints::load(&newest).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("step-00000004"), "{error}");
            let used = open().latest().unwrap().0.path;
            assert!(used.ends_with("step-00000003"), "{name}");
        }
        std::fs::write(&path, whole).unwrap();
        Checkpoints::load(&newest).unwrap();
    }
}

#[test]
fn the_best_is_kept_and_found_beside_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep {
        newest: 2,
        best: Some(("eval_loss".to_string(), Goal::Minimize)),
    };
    let checkpoints = Checkpoints::create(folder.path(), keep).unwrap();
    for (step, loss) in [0.5, 0.2, 0.4, f64::NAN, 0.3].into_iter().enumerate() {
        let snapshot = Snapshot {
            step,
            metrics: [("eval_loss".to_string(), loss)].into(),
            parts: Default::default(),
        };
        checkpoints.save(&snapshot).unwrap();
    }
    let steps: Vec<_> = checkpoints.list().unwrap();
    let steps: Vec<_> = steps.iter().map(|saved| saved.manifest.step).collect();
    assert_eq!(steps, [1, 3, 4]);
    let best = checkpoints.best("eval_loss", Goal::Minimize).unwrap().0;
    assert_eq!(best.manifest.step, 1);
    let error = checkpoints.best("eval_f1", Goal::Maximize).unwrap_err();
    assert!(error.to_string().contains("eval_f1"), "{error}");
}

#[test]
fn remains_of_a_checkpoint_that_was_cut_off_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for remains in [".step-00000007.123", ".step-00000002.gone"] {
        std::fs::create_dir(folder.path().join(remains)).unwrap();
        std::fs::write(folder.path().join(remains).join("model.safetensors"), "x").unwrap();
    }
    Checkpoints::create(folder.path(), Keep::default()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Each tensor is changed while it is being written.
#[test]
fn checkpoints_are_written_one_at_a_time_as_they_were_when_they_were_asked_for() {
    const STEPS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep {
        newest: STEPS,
        best: None,
    };
    let checkpoints = Checkpoints::create(folder.path(), keep).unwrap();
    let mut writer = Writer::new(checkpoints.clone());
    let filled = |step: usize| Tensor::full(step as f32, 1 << 18, &Device::Cpu).unwrap();
    let var = Var::from_tensor(&filled(0)).unwrap();
    let being_written = || {
        let names = std::fs::read_dir(folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).count()
    };
    for step in 0..STEPS {
        let tensors = [("x".to_string(), var.as_detached_tensor())].into();
        let before = writer
            .save(&Snapshot {
                step,
                metrics: Default::default(),
                parts: [("model".to_string(), Part::tensors(tensors))].into(),
            })
            .unwrap();
        var.set(&filled(step + 1)).unwrap();
        assert!(being_written() <= 1);
        let before = before.map(|path| Manifest::read(&path).unwrap().step);
        assert_eq!(before, step.checked_sub(1));
    }
    writer.finish().unwrap();
    for saved in checkpoints.list().unwrap() {
        let (_, snapshot) = Checkpoints::load(&saved.path).unwrap();
        let x = snapshot.part("model").unwrap().tensors["x"].clone();
        let x = x.to_vec1::<f32>().unwrap();
        assert!(x.iter().all(|&x| x == saved.manifest.step as f32));
    }
    assert_eq!(checkpoints.list().unwrap().len(), STEPS);
}

//! The report of a run: what it shows, that it is self-contained, and that it outlives the run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataLoader, Image, StackTensors, TensorDataset};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    Callback, CheckpointOptions, Epoch, Evaluated, Evaluator, Every, Flow, HtmlReport, Plan,
    Resume, Shown, Step, TrainError, Trainer, TrainerConfig, Worst,
};
use dl_optim::{Adam, Clip, Optimizer};

type Loader = DataLoader<TensorDataset, StackTensors>;

const EVIL: &str = "<script>alert(\"1\")</script>&<img src=http://example.org/x>";

/// 22 points of two classes, 6 steps of at most 4 an epoch.
fn loader() -> Loader {
    let mut x = vec![0f32; 22 * 3];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(3).map(|x| u32::from(x[0] * x[1] > 0.)).collect();
    let x = Tensor::from_vec(x, (22, 3), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 22, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(4)
}

fn mlp() -> (Params, Mlp) {
    let params = Params::new(7, &Device::Cpu);
    let config = MlpConfig {
        inputs: 3,
        hidden: vec![8],
        classes: 2,
        dropout: 0.,
    };
    let model = Mlp::new(&config, params.vb()).unwrap();
    (params, model)
}

/// Ends the run after a step.
struct EndAfter(usize, Result<Flow, ()>);

impl Callback for EndAfter {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        match self.1 {
            _ if step.step != self.0 => Ok(Flow::Continue),
            Ok(flow) => Ok(flow),
            Err(()) => Err(TrainError::NoParams),
        }
    }
}

/// Three epochs with a checkpoint at every second step, ended after a step in this way.
fn run(folder: &Path, end: EndAfter) -> Result<(), TrainError> {
    let (params, model) = mlp();
    let optimizer = Optimizer::new(params.trainable(), Adam::default())?.clip(Clip::Norm(1.))?;
    let config = TrainerConfig {
        eval_every: Every::Steps(4),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(2),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder.join("checkpoints"))
    };
    let report = HtmlReport::new(folder.join("report.html"), "points");
    Trainer::new(&model, optimizer, config)
        .callback(report)
        .callback(end)
        .checkpoints(&params, options)
        .fit(&loader(), &loader())
        .map(drop)
}

fn page(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("report.html")).unwrap()
}

/// The pictures, but for speed and memory, which are never the same twice.
fn pictures(page: &str) -> Vec<&str> {
    let ends = page.match_indices("</svg>").map(|(end, _)| end);
    let svgs = ends.map(|end| &page[page[..end].rfind("<svg").unwrap()..end]);
    svgs.filter(|svg| !svg.contains("a second") && !svg.contains("Memory"))
        .collect()
}

#[test]
fn a_run_that_is_interrupted_leaves_its_report_and_the_resumed_one_has_every_step_once() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), EndAfter(usize::MAX, Err(()))).unwrap();
    let whole = page(whole.path());
    assert!(whole.contains("finished") && !whole.contains("broken off"));
    // Five curves and the matrix of the latest evaluation.
    assert_eq!(pictures(&whole).len(), 6);
    for (after, end) in [(5, Ok(Flow::Interrupt)), (7, Err(())), (14, Err(()))] {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), EndAfter(after, end)).unwrap_err();
        let broken = page(folder.path());
        assert!(broken.contains("broken off"), "{after}");
        let reason = match end {
            Ok(_) => "interrupted after step 5; go on from",
            Err(()) => "a state needs the model",
        };
        assert!(broken.contains(reason), "{after}");
        assert!(broken.contains("step-0000"), "{after}");
        run(folder.path(), EndAfter(usize::MAX, Err(()))).unwrap();
        let resumed = page(folder.path());
        assert!(resumed.contains("went on from the checkpoint of step"));
        assert_eq!(pictures(&resumed), pictures(&whole), "{after}");
        // Neither temporary files nor anything else.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_the_report_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, "earlier").unwrap();
    let (params, model) = mlp();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let options = CheckpointOptions {
        resume: Resume::Latest,
        ..CheckpointOptions::new(folder.path().join("checkpoints"))
    };
    let error = Trainer::new(&model, optimizer, TrainerConfig::default())
        .callback(HtmlReport::new(&path, "points"))
        .checkpoints(&params, options)
        .fit(&loader(), &loader());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("no checkpoint in")
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "earlier");
}

#[test]
fn a_report_that_cannot_be_written_names_its_file() {
    let (params, model) = mlp();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let error = Trainer::new(&model, optimizer, TrainerConfig::default())
        .callback(HtmlReport::new("no/such/folder/report.html", "points"))
        .fit(&loader(), &loader())
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("cannot write no/such/folder/report.html"),
        "{error}"
    );
}

/// Every text that a user has a say in is hostile.
fn hostile(folder: &Path) -> String {
    let (params, model) = mlp();
    let mut report = HtmlReport::new(folder.join("report.html"), EVIL)
        .class_names(&[EVIL, "\u{0}\u{7}ü \"quoted\""])
        .configuration(&[(EVIL, EVIL)])
        .unwrap()
        .version(EVIL, EVIL);
    for name in [EVIL, "second"] {
        report.run(name);
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let mut trainer = Trainer::new(&model, optimizer, TrainerConfig::default())
            .metric(EVIL, |_, y| {
                Ok(dl_core::metrics::Mean::of(1., y.dim(0)? as f64))
            })
            .callback(&mut report);
        trainer.fit(&loader(), &loader()).unwrap();
    }
    let mut worst = Worst::new(4);
    let see = |sample| {
        worst.see(sample);
        Ok(())
    };
    // With the classes turned round, so that there is something wrong.
    let turned = candle_nn::func(|x| candle_nn::ModuleT::forward_t(&model, x, false)?.neg());
    let found = Evaluator::new(&turned).predict(&loader(), see).unwrap();
    report.evaluation(EVIL, &found);
    let mut images = 0;
    report.worst(EVIL, &worst, |sample| {
        images += 1;
        let image = Image::new(2, 2, 3, vec![sample.index as u8; 12])?;
        Ok(if images < 3 {
            Shown::Image(image)
        } else {
            Shown::Text(EVIL.to_string())
        })
    });
    report.on_error(&TrainError::UnknownMetric {
        name: EVIL.to_string(),
        known: vec![],
    });
    page(folder)
}

#[test]
fn the_report_loads_nothing_and_no_text_is_markup() {
    let folder = tempfile::tempdir().unwrap();
    let page = hostile(folder.path());
    for word in [
        "<script",
        "<link",
        "<iframe",
        "@import",
        "url(",
        "javascript:",
        "<object",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    let sources: Vec<_> = page
        .match_indices("src=")
        .map(|(at, _)| &page[at + 4..])
        .collect();
    let images = sources
        .iter()
        .filter(|source| source.starts_with("\"data:image/png;base64,"));
    assert_eq!(images.count(), 2);
    // The others are text: their angle bracket is escaped.
    let tags = page.matches("<img ").count();
    assert_eq!(tags, 2);
    // A namespace, and text that was cut off in a picture.
    let known = [
        "http://www.w3.org/2000/svg",
        "http-equiv",
        "http://example.org/x",
        "http://…",
    ];
    for (at, _) in page.match_indices("http") {
        let link = &page[at..];
        assert!(known.iter().any(|k| link.starts_with(k)));
    }
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn the_report_shows_curves_scores_confusions_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let page = hostile(folder.path());
    for title in [
        "Loss by epoch",
        "Accuracy by epoch",
        "Training samples a second by epoch",
        "Loss by step",
        "Learning rate by step",
        "Confusion matrix",
        "Most frequent confusions",
        "Scores by class",
        "macro average",
        "Worst classified",
        "Configuration",
        "Times",
        "Versions",
    ] {
        assert!(page.contains(title), "{title}");
    }
    // Three scores of two classes and their averages, and a share for each confusion.
    assert!(page.matches("<td class=\"bar\"").count() > 9);
    assert_eq!(page.matches("<li class=\"sample\">").count(), 4);
    // Steps of a second fit come after those of the first, and two trainings lie side by side.
    assert!(page.contains("second, training"));
}

/// A fit that follows another under one name goes on where it ended.
#[test]
fn fits_of_one_name_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (params, model) = mlp();
    let mut report = HtmlReport::new(folder.path().join("report.html"), "two parts");
    let mut epochs: Vec<Epoch> = vec![];
    for first_epoch in [0, 3] {
        let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
        let config = TrainerConfig {
            first_epoch,
            ..Default::default()
        };
        let mut trainer = Trainer::new(&model, optimizer, config).callback(&mut report);
        epochs.extend(trainer.fit(&loader(), &loader()).unwrap());
    }
    assert_eq!(epochs.last().unwrap().epoch, 6);
    // 6 steps an epoch, 36 of 36; 3·8 + 8 + 8·2 + 2 scalars.
    let row = "<td>6</td><td>36</td><td>36</td><td>50</td>";
    assert!(page(folder.path()).contains(row));
}

/// A report as it is at each evaluation, if it is one that wants the classes.
struct Watched {
    report: HtmlReport,
    wants: bool,
    heard: Vec<(Evaluated, String)>,
}

impl Watched {
    fn new(folder: &Path, wants: bool) -> Self {
        Self {
            report: HtmlReport::new(folder.join("report.html"), "points"),
            wants,
            heard: vec![],
        }
    }
}

impl Callback for Watched {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        self.report.on_train_begin(plan)
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        self.report.on_step_end(step)
    }

    fn wants_confusion(&self) -> bool {
        self.wants && self.report.wants_confusion()
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        let flow = self.report.on_evaluation(found)?;
        self.heard.push((found.clone(), self.report.html()?));
        Ok(flow)
    }
}

/// Two epochs of six steps, evaluated after every fourth and at the ends.
fn two_epochs() -> TrainerConfig {
    TrainerConfig {
        epochs: 2,
        eval_every: Every::Steps(4),
        ..Default::default()
    }
}

#[test]
fn a_report_under_way_shows_the_matrix_of_the_latest_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let (params, model) = mlp();
    let mut watched = Watched::new(folder.path(), true);
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    Trainer::new(&model, optimizer, two_epochs())
        .callback(&mut watched)
        .fit(&loader(), &loader())
        .unwrap();
    let steps: Vec<_> = watched.heard.iter().map(|(found, _)| found.step).collect();
    assert_eq!(steps, [4, 8, 12]);
    for (found, page) in &watched.heard {
        let confusion = found.confusion.as_ref().unwrap();
        assert_eq!(confusion.support().iter().sum::<u64>(), 22);
        assert_eq!(confusion.accuracy(), found.metric("eval_accuracy").unwrap());
        assert!(page.contains("class=\"status running\""));
        assert_eq!(page.matches("Evaluation of ").count(), 1);
        assert!(page.contains(&format!("Evaluation of this run at step {}", found.step)));
        assert_eq!(page.matches("Scores by class").count(), 1);
    }
    // What the evaluator finds is shown in its place.
    let found = Evaluator::new(&model).evaluate(&loader()).unwrap();
    assert_eq!(
        Some(&found.confusion),
        watched.heard[2].0.confusion.as_ref()
    );
    watched.report.evaluation("points", &found);
    let page = watched.report.html().unwrap();
    assert!(!page.contains("at step 12") && page.contains("Evaluation: points"));
    assert_eq!(page.matches("Scores by class").count(), 1);
}

#[test]
fn no_matrix_is_counted_that_no_callback_wants_or_that_has_no_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (params, model) = mlp();
    let optimizer = || Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let mut unasked = Watched::new(folder.path(), false);
    Trainer::new(&model, optimizer(), two_epochs())
        .callback(&mut unasked)
        .fit(&loader(), &loader())
        .unwrap();
    let mut regression = Watched::new(folder.path(), true);
    let x = Tensor::ones((8, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let values = TensorDataset::new(x.clone(), x.narrow(1, 0, 2).unwrap()).unwrap();
    let values = DataLoader::new(values, StackTensors).batch_size(2);
    Trainer::new(&model, optimizer(), two_epochs())
        .loss(|z, y| dl_core::losses::mse_loss(z, y, dl_core::losses::Reduction::None))
        .no_metrics()
        .callback(&mut regression)
        .fit(&values, &values)
        .unwrap();
    for (found, page) in unasked.heard.iter().chain(&regression.heard) {
        assert_eq!(found.confusion, None);
        assert!(!page.contains("Scores by class"));
    }
    assert_eq!((unasked.heard.len(), regression.heard.len()), (3, 2));
}

#[test]
fn a_report_with_more_to_come_is_finished_or_broken_off_when_it_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let (params, model) = mlp();
    let mut report = HtmlReport::new(&path, "points").open_ended();
    report.broken_off("nothing was begun");
    assert!(!path.exists());
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    Trainer::new(&model, optimizer, two_epochs())
        .callback(&mut report)
        .fit(&loader(), &loader())
        .unwrap();
    assert!(page(folder.path()).contains("class=\"status running\""));
    report.finish().unwrap();
    assert!(page(folder.path()).contains("class=\"status finished\""));
    report.broken_off("the disk is full");
    let broken = page(folder.path());
    assert!(broken.contains("class=\"status broken\"") && broken.contains("the disk is full"));
}

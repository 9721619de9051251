//! The example `finetune` as a user runs it: what it leaves behind, what it prints, what it refuses.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use dl_transfer::{Checkpoint, save_safetensors};
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

const RESULTS: [&str; 8] = [
    "all_results.json",
    "config.json",
    "confusion_matrix.svg",
    "curves.svg",
    "metrics.jsonl",
    "model.safetensors",
    "report.html",
    "training_args.json",
];
/// What a run leaves that fails after an epoch.
const REMAINS: [&str; 2] = ["metrics.jsonl", "report.html"];

/// One colour a class, so that a few steps tell them apart. The last name is not to be taken for
/// markup in the pictures.
const CLASSES: [(&str, [u8; 3]); 3] = [
    ("blue", [20, 30, 220]),
    ("green", [20, 200, 30]),
    ("r&d <red>", [220, 30, 20]),
];

/// The quickest training: two steps of a small image each.
const QUICK: [&str; 3] = ["--fast-dev-run", "--image-size", "32"];

/// A folder for one test: `train` and `val` with images, and room for results.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (label, (class, color)) in CLASSES.into_iter().enumerate() {
            // Three formats, and no two images alike.
            for (n, ending) in ["png", "jpg", "webp", "png"].into_iter().enumerate() {
                let name = format!("train/{class}/{n}.{ending}");
                paint(&place.path(&name), color, (10 * label + n) as u32);
            }
            for n in 0..2 {
                paint(&place.path(&format!("val/{class}/{n}.png")), color, 7 + n);
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The example on the images of this place, with results in `out`.
    fn finetune(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = finetune(&["--train-dir", "train", "--validation-dir", "val"]);
        command.args(["--output-dir", out]).args(arguments);
        command.current_dir(self.0.path());
        command
    }

    /// Names in the folder `out`, sorted; `None` if it is not there.
    fn left_in(&self, out: &str) -> Option<Vec<String>> {
        let entries = fs::read_dir(self.path(out)).ok()?;
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        Some(BTreeSet::from_iter(names).into_iter().collect())
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// A square with a gradient from dark to `color`, moved by `shift`.
fn paint(path: &Path, color: [u8; 3], shift: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let shade = |x, y| (128 + (5 * x + 3 * y + 11 * shift) % 128) as u16;
    let pixel = |x, y| Rgb(color.map(|c| (u16::from(c) * shade(x, y) / 255) as u8));
    RgbImage::from_fn(40, 36, pixel).save(path).unwrap();
}

/// `target/<profile>/examples/finetune`, two folders up from this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("finetune{}", std::env::consts::EXE_SUFFIX);
    let binary = profile.join("examples").join(name);
    assert!(
        binary.is_file(),
        "no {}; build it first: cargo build --example finetune",
        binary.display()
    );
    binary
}

fn finetune(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    // What the caller's shell has set must not decide.
    for name in ["RUST_LOG", "RUST_BACKTRACE", "RAYON_NUM_THREADS"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it; it must succeed.
fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Runs it; it must fail with one sentence that holds all of `words`, and print no result.
fn fail(mut command: Command, words: &[&str]) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    // A panic exits with 101 and a signal with no code.
    assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    said
}

/// One comparison of all modes that several tests look at.
static COMPARED: LazyLock<(Place, Output)> = LazyLock::new(|| {
    let place = Place::new();
    let output = succeed(place.finetune("out", &QUICK));
    (place, output)
});

/// One training to the end, of the classifier alone as that is quickest.
static TRAINED: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    let arguments = "--mode feature-extract --num_train_epochs 20 --batch-size 4 --image-size=64";
    succeed(place.finetune("out", &arguments.split(' ').collect::<Vec<_>>()));
    place
});

#[test]
fn a_comparison_leaves_all_its_results_and_nothing_else() {
    let (place, output) = &*COMPARED;
    assert_eq!(place.left_in("out").unwrap(), RESULTS);

    let results = place.json("out/all_results.json");
    for name in [
        "train_loss",
        "train_samples_per_second",
        "train_runtime",
        "eval_loss",
        "eval_accuracy",
        "eval_samples",
    ] {
        assert!(results[name].as_f64().unwrap() >= 0., "{name}");
    }
    let modes = ["scratch", "feature-extract", "finetune"];
    let table = text(&output.stdout);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("mode "));
    for mode in modes {
        let accuracy = results["modes"][mode]["eval_accuracy"].as_f64().unwrap();
        let line: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!((line[0], line[3]), (mode, &*format!("{accuracy:.4}")));
        assert!(accuracy <= results["eval_accuracy"].as_f64().unwrap());
    }
    let kept = results["mode"].as_str().unwrap();
    assert_eq!(lines.next().unwrap(), format!("kept {kept} in out"));

    let log = fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
    let log: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let epoch = |line: &Value| (line["mode"].to_string(), line["epoch"].as_u64().unwrap());
    // Fine-tuning is an epoch of the classifier and then one of everything.
    let wanted = modes.map(|mode| [1, 2].map(|epoch| (format!("\"{mode}\""), epoch)));
    assert_eq!(log.iter().map(epoch).collect::<Vec<_>>(), wanted.concat());

    let arguments = &place.json("out/training_args.json")["arguments"];
    assert_eq!(arguments["mode"], "compare");
    assert_eq!(arguments["train_dir"], "train");
    assert_eq!(arguments["image_size"], 32);
}

#[test]
fn the_weights_and_the_configuration_are_what_other_tools_load_by_name() {
    let (place, _) = &*COMPARED;
    let kept = Checkpoint::open(place.path("out/model.safetensors")).unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let pretrained = Checkpoint::open(assets.join("efficientnet_lite0/model.safetensors")).unwrap();
    assert_eq!(kept.metadata()["format"], "pt");
    let no_counters = |name: &&str| !name.ends_with("num_batches_tracked");
    let names = |file: &Checkpoint| -> BTreeSet<String> {
        let names = file.names().filter(no_counters);
        names.map(str::to_string).collect()
    };
    assert_eq!(names(&kept), names(&pretrained));

    let config = place.json("out/config.json");
    assert_eq!(config["model_type"], "efficientnet_lite0");
    assert_eq!(config["image_size"], 32);
    for (label, (class, _)) in CLASSES.iter().enumerate() {
        assert_eq!(config["id2label"][label.to_string()], *class);
        assert_eq!(config["label2id"][class], label);
    }
}

#[test]
fn the_pictures_are_svg_in_which_no_class_name_is_markup() {
    let (place, _) = &*COMPARED;
    for name in ["curves.svg", "confusion_matrix.svg"] {
        let svg = fs::read_to_string(place.path("out").join(name)).unwrap();
        assert!(svg.trim_start().starts_with("<svg"), "{name}");
        assert!(svg.trim_end().ends_with("</svg>"), "{name}");
        assert!(!svg.contains("<red>") && !svg.contains("r&d "), "{name}");
    }
}

#[test]
fn the_report_shows_the_trainings_and_the_kept_model_with_its_worst_images() {
    let (place, _) = &*COMPARED;
    let page = fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(page.contains("class=\"status finished\""));
    let results = place.json("out/all_results.json");
    let mode = results["mode"].as_str().unwrap();
    for wanted in [
        "efficientnet_lite0 on 12 images, evaluated on 6",
        "r&amp;d &lt;red&gt;",
        &format!("Evaluation: {mode}"),
        "feature-extract, training",
        "train_dir",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(!page.contains("<red>"));
    // Six images: those that are wrong are shown.
    let right = results["eval_accuracy"].as_f64().unwrap() * 6.;
    let shown = page.matches("data:image/png;base64,").count();
    assert_eq!(shown, 6 - right.round() as usize);
}

#[test]
fn predictions_of_a_training_and_of_an_evaluation_are_the_same_file() {
    let place = &*TRAINED;
    succeed(place.finetune("out", &["--eval-only", "--predictions", "p.csv"]));
    let text = fs::read_to_string(place.path("p.csv")).unwrap();
    let mut lines = text.lines();
    let header = "index,name,target,prediction,loss,probability_blue,probability_green,";
    assert!(lines.next().unwrap().starts_with(header));
    let right = lines.filter(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(fields[1].starts_with("val/"), "{line}");
        fields[2] == fields[3]
    });
    let accuracy = place.json("out/all_results.json")["eval_accuracy"].as_f64();
    assert_eq!(right.count() as f64 / 6., accuracy.unwrap());

    let place = Place::new();
    let mode = ["--mode", "feature-extract", "--predictions"];
    succeed(place.finetune("out", &[&QUICK[..], &mode, &["a.jsonl"]].concat()));
    succeed(place.finetune("out", &["--eval-only", "--predictions", "b.jsonl"]));
    let [a, b] = ["a.jsonl", "b.jsonl"].map(|name| fs::read(place.path(name)).unwrap());
    assert!(a == b && a.iter().filter(|byte| **byte == b'\n').count() == 6);
}

#[test]
fn output_that_is_no_terminal_has_no_escapes_and_no_progress_bar() {
    let (_, output) = &*COMPARED;
    for bytes in [&output.stdout, &output.stderr] {
        let control = |byte: &&u8| byte.is_ascii_control() && **byte != b'\n';
        assert_eq!(bytes.iter().find(control), None, "{}", text(bytes));
    }
    // The log has one line for each epoch.
    let epochs = text(&output.stderr).matches("eval_accuracy=").count();
    assert_eq!(epochs, 6);
}

#[test]
fn evaluation_of_a_run_prints_the_numbers_of_its_results_to_the_last_digit() {
    let quick: Vec<&str> = [&QUICK[..], &["--eval-only"]].concat();
    let (compared, _) = &*COMPARED;
    for (place, arguments) in [(compared, quick), (&*TRAINED, vec!["--eval_only"])] {
        let printed = text(&succeed(place.finetune("out", &arguments)).stdout);
        let results = place.json("out/all_results.json");
        let line = |name: &str| format!("{name}\t{}\n", results[name].as_f64().unwrap());
        assert_eq!(printed, line("eval_accuracy") + &line("eval_loss"));
    }
}

#[test]
fn evaluation_needs_no_training_images() {
    let place = &*TRAINED;
    let mut command = finetune(&[
        "--eval-only",
        "--validation-dir",
        "val",
        "--output-dir",
        "out",
    ]);
    command.current_dir(place.0.path());
    let printed = text(&succeed(command).stdout);
    let accuracy = &place.json("out/all_results.json")["eval_accuracy"];
    assert!(printed.starts_with(&format!("eval_accuracy\t{}\n", accuracy.as_f64().unwrap())));
}

#[test]
fn a_trained_classifier_knows_the_class_of_new_images_and_its_probabilities_add_up_to_one() {
    let place = &*TRAINED;
    let images = CLASSES.map(|(class, _)| format!("val/{class}/1.png"));
    let mut command = finetune(&["--output-dir", "out", "--predict"]);
    command.args(&images).current_dir(place.0.path());
    let printed = text(&succeed(command).stdout);
    assert_eq!(printed.lines().count(), images.len());
    for ((line, image), (class, _)) in printed.lines().zip(&images).zip(CLASSES) {
        let mut fields = line.split('\t');
        assert_eq!(fields.next().unwrap(), image);
        let likely: Vec<(&str, f64)> = fields
            .map(|field| field.rsplit_once(' ').unwrap())
            .map(|(name, p)| (name, p.parse().unwrap()))
            .collect();
        assert_eq!((likely.len(), likely[0].0), (CLASSES.len(), class));
        assert!(likely.is_sorted_by(|a, b| a.1 >= b.1));
        // Three numbers rounded to four places.
        let total: f64 = likely.iter().map(|(_, p)| p).sum();
        assert!((total - 1.).abs() < 1.6e-4, "{line}");
    }
}

#[test]
fn hugging_faces_flags_are_known_with_dashes_and_underscores() {
    let place = Place::new();
    let flags = [
        ("per_device_train_batch_size", "4"),
        ("per_device_eval_batch_size", "4"),
        ("gradient_accumulation_steps", "2"),
        ("learning_rate", "1e-3"),
        ("weight_decay", "0.1"),
        ("adam_beta1", "0.8"),
        ("adam_beta2", "0.99"),
        ("adam_epsilon", "1e-7"),
        ("max_grad_norm", "0"),
        ("num_train_epochs", "1"),
        ("max_steps", "-1"),
        ("lr_scheduler_type", "constant_with_warmup"),
        ("warmup_ratio", "0.5"),
        ("label_smoothing_factor", "0"),
        ("dataloader_num_workers", "2"),
        ("max_train_samples", "8"),
        ("max_eval_samples", "3"),
        ("seed", "7"),
    ];
    let write = |separator: &str| -> Vec<String> {
        let flag =
            |(name, value): &(&str, _)| format!("--{}={value}", name.replace('_', separator));
        flags.iter().map(flag).collect()
    };
    for (out, flags) in [("a", write("_")), ("b", write("-"))] {
        let mut command = place.finetune(out, &["--mode=feature-extract", "--image_size=32"]);
        command.args(flags);
        succeed(command);
    }
    assert_eq!(model(&place, "a"), model(&place, "b"));
    assert_eq!(place.json("a/all_results.json")["eval_samples"], 3);
}

fn model(place: &Place, out: &str) -> Vec<u8> {
    fs::read(place.path(out).join("model.safetensors")).unwrap()
}

#[test]
fn a_run_has_the_same_bits_for_any_number_of_threads_and_workers() {
    let place = Place::new();
    let mut accuracies = vec![];
    for (out, threads, workers) in [("a", "1", "0"), ("b", "2", "3"), ("c", "2", "3")] {
        // Batches of 4, so that three workers have something to overtake each other with.
        let mode = ["--mode=finetune", "--batch-size=4", "--max-eval-samples=6"];
        let mut command = place.finetune(out, &[&QUICK[..], &mode[..]].concat());
        command.args(["--dataloader-num-workers", workers]);
        command.env("RAYON_NUM_THREADS", threads);
        succeed(command);
        let accuracy = &place.json(&format!("{out}/all_results.json"))["eval_accuracy"];
        accuracies.push(accuracy.as_f64().unwrap());
    }
    assert!(
        model(&place, "a") == model(&place, "b"),
        "threads or workers change it"
    );
    assert!(
        model(&place, "b") == model(&place, "c"),
        "two equal runs differ"
    );
    assert_eq!(accuracies, [accuracies[0]; 3]);
}

#[test]
fn without_a_validation_folder_a_share_of_every_class_is_held_out() {
    let place = Place::new();
    let mut command = finetune(&[
        "--train-dir=train",
        "--output-dir=out",
        "--validation-split=0.5",
    ]);
    command.args(["--mode", "feature-extract"]).args(QUICK);
    command.current_dir(place.0.path());
    succeed(command);
    let results = place.json("out/all_results.json");
    assert_eq!(results["eval_samples"], 6);
    let svg = fs::read_to_string(place.path("out/confusion_matrix.svg")).unwrap();
    assert!(svg.contains("6 images"));
}

#[test]
fn the_weights_of_one_run_start_another() {
    let place = &*TRAINED;
    let arguments = ["--mode", "finetune", "--weights", "out/model.safetensors"];
    let said = succeed(place.finetune("next", &[&QUICK[..], &arguments[..]].concat())).stderr;
    assert!(text(&said).contains("file=out/model.safetensors"));
}

/// Everything that is known before the first step: the flags, what is said, and nothing is made.
#[test]
fn what_cannot_work_is_refused_before_training_and_before_a_folder_is_made() {
    let place = Place::new();
    spoil(&place);
    let cases: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("--train-dir none", &["no folder none; name one"][..]),
        ("--train-dir empty", &["empty holds no class folder; put"]),
        ("--train-dir file", &["file is not a folder; name one"]),
        (
            "--train-dir hollow",
            &["cat holds no .png", "remove the folder"],
        ),
        ("--train-dir single", &["all of one class", "\"blue\""]),
        ("--validation-dir none", &["no folder none; name one"]),
        (
            "--validation-dir others",
            &["[\"blue\"] are missing and [\"violet\"] are unknown"],
        ),
        (
            "--validation-dir single",
            &["[\"green\", \"r&d <red>\"] are missing"],
        ),
        (
            "--output-dir file",
            &["file is a file; name a folder with --output-dir"],
        ),
        (
            "--output-dir file/out",
            &["cannot create the folder file/out", "--output-dir"],
        ),
        (
            "--weights none.safetensors",
            &["no weights file none.safetensors"],
        ),
        (
            "--weights file",
            &["file: not safetensors and not a PyTorch checkpoint"],
        ),
        ("--weights cut.safetensors", &["cut.safetensors"]),
        (
            "--weights other.safetensors",
            &[
                "other.safetensors does not hold this model",
                "`stem.weight`",
                "--weights",
            ],
        ),
        (
            "--weights nobody/nothing",
            &[
                "`nobody/nothing` is not in the local cache",
                "HF_HUB_OFFLINE",
            ],
        ),
        (
            "--weights nobody",
            &["`nobody` is neither a file nor a hub id"],
        ),
        (
            "--model resnet",
            &["no image model `resnet`; there are efficientnet_lite0"],
        ),
        (
            "--model efficientnet_lite1",
            &[
                "cannot start efficientnet_lite1",
                "does not hold this model",
                "name a file of its weights with --weights",
            ],
        ),
        ("--mode sketch", &["'sketch'", "feature-extract"]),
        (
            "--lr_scheduler_type steps",
            &["no schedule is called `steps`; known are linear"],
        ),
        ("--device tpu", &["no device `tpu`; there are auto, cpu"]),
        (
            "--device cuda:99",
            &["cannot use --device cuda:99; pass --device cpu"],
        ),
        (
            "--batch-size 0",
            &["--per-device-train-batch-size must be 1 or more, got 0"],
        ),
        (
            "--per_device_eval_batch_size 0",
            &["--per-device-eval-batch-size must be 1 or more"],
        ),
        (
            "--num_train_epochs 0",
            &["--num-train-epochs must be 1 or more, got 0"],
        ),
        (
            "--gradient_accumulation_steps 0",
            &["--gradient-accumulation-steps must be 1 or more"],
        ),
        (
            "--max_train_samples 0",
            &["--max-train-samples must be 1 or more"],
        ),
        ("--max_steps 0", &["--max-steps must be 1 or more, or -1"]),
        ("--image-size 31", &["--image-size must be 32 to"]),
        ("--image-size 1000000", &["--image-size must be 32 to"]),
        (
            "--validation-split 1",
            &["--validation-split must lie between 0 and 1"],
        ),
        ("--learning-rate=-1", &["`lr` must be >= 0, got -1"]),
        ("--learning-rate nan", &["`lr`", "NaN"]),
        ("--layer-decay=-1", &["decay", "-1"]),
        ("--adam-beta1 1", &["beta", "got 1"]),
        (
            "--label-smoothing-factor 1.5",
            &["--label-smoothing-factor must be 0 to 1, got 1.5"],
        ),
        (
            "--warmup-steps nan",
            &["--warmup-steps must be 0 or more, got NaN"],
        ),
        (
            "--max-grad-norm=-1",
            &["--max-grad-norm must be 0 or more, got -1"],
        ),
        (
            "--predictions p.txt",
            &["cannot use --predictions", ".csv or .jsonl", "p.txt"],
        ),
        ("--seed x", &["'x'", "--seed"]),
        ("--learning-rat 1", &["'--learning-rat'", "--learning-rate"]),
    ]);
    let before = everything(&place);
    for (flags, words) in cases {
        let flags: Vec<&str> = flags.split(' ').collect();
        let mut command = place.finetune("out", &[&QUICK[..], &flags].concat());
        command
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HUB_CACHE", "cache");
        let said = fail(command, words);
        assert!(
            !said.contains("eval_loss"),
            "{flags:?} was found after an epoch: {said}"
        );
        assert_eq!(everything(&place), before, "{flags:?}");
    }
}

/// Data and weights that no run can use.
fn spoil(place: &Place) {
    let (_, color) = CLASSES[0];
    fs::write(place.path("file"), "neither an image nor a folder").unwrap();
    for folder in ["empty", "hollow/cat"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    for image in ["hollow/dog/0.png", "single/blue/0.png", "single/blue/1.png"] {
        paint(&place.path(image), color, 0);
    }
    for class in ["green", "r&d <red>", "violet"] {
        paint(&place.path(&format!("others/{class}/0.png")), color, 0);
    }
    let weight = Tensor::zeros((8, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let other = place.path("other.safetensors");
    save_safetensors(&other, [("stem.weight", &weight)], &[]).unwrap();
    let whole = fs::read(&other).unwrap();
    fs::write(place.path("cut.safetensors"), &whole[..whole.len() - 4]).unwrap();
}

/// All paths of a place, to see that none was added or removed.
fn everything(place: &Place) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![place.0.path().to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            folders.extend(path.is_dir().then(|| path.clone()));
            found.insert(path);
        }
    }
    found
}

#[test]
fn an_image_that_is_cut_short_is_named_and_leaves_no_folder() {
    let place = Place::new();
    let path = place.path("train/green/1.jpg");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let words = ["train/green/1.jpg", "the jpeg is cut short"];
    for mode in ["scratch", "feature-extract", "finetune"] {
        fail(
            place.finetune("out", &[&QUICK[..], &["--mode", mode]].concat()),
            &words,
        );
        assert_eq!(place.left_in("out"), None);
    }
    let trained = &*TRAINED;
    let mut command = trained.finetune("out", &["--predict"]);
    command.arg(&path);
    fail(command, &words);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_with_its_sentence_and_leaves_no_folder() {
    let place = Place::new();
    let rate = ["--mode=scratch", "--learning-rate=1e30", "--batch-size=4"];
    let words = ["loss is ", "lower the learning rate or clip the gradients"];
    fail(place.finetune("out", &[&QUICK[..], &rate].concat()), &words);
    assert_eq!(place.left_in("out"), None);
}

#[test]
fn a_loss_that_is_not_finite_after_the_last_step_is_no_success() {
    let place = Place::new();
    let rate = [
        "--mode=scratch",
        "--learning-rate=1e30",
        "--max-steps=1",
        "--num-train-epochs=1",
    ];
    let size = ["--image-size=32", "--warmup-steps=0"];
    fail(
        place.finetune("out", &[&rate[..], &size].concat()),
        &["loss", "lower the learning rate"],
    );
    // The epoch was finished, so its line stays.
    assert_eq!(place.left_in("out").unwrap(), REMAINS);
}

#[test]
fn a_run_is_replaced_only_when_that_is_asked_for() {
    let place = Place::new();
    let run = |more: &[&str]| {
        place.finetune(
            "out",
            &[&QUICK[..], &["--mode=feature-extract"], more].concat(),
        )
    };
    succeed(run(&[]));
    let first = model(&place, "out");
    let seed = "--seed=43";
    fail(
        run(&[seed]),
        &["out already holds a run", "--overwrite-output-dir"],
    );
    assert!(model(&place, "out") == first);
    assert_eq!(place.left_in("out").unwrap(), RESULTS);
    // Not even asked for, if the new run cannot start.
    let bad = [seed, "--overwrite_output_dir", "--train-dir=none"];
    fail(run(&bad), &["no folder none"]);
    assert!(model(&place, "out") == first);

    fs::write(place.path("out/notes.txt"), "mine").unwrap();
    succeed(run(&[seed, "--overwrite_output_dir"]));
    assert!(model(&place, "out") != first);
    assert_eq!(
        fs::read_to_string(place.path("out/notes.txt")).unwrap(),
        "mine"
    );
    let log = fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
}

#[test]
fn runs_without_a_name_are_numbered() {
    let place = Place::new();
    for _ in 0..2 {
        let mut command = finetune(&["--train-dir", "train", "--mode", "feature-extract"]);
        command.args(QUICK).current_dir(place.0.path());
        succeed(command);
    }
    assert_eq!(place.left_in("runs").unwrap(), ["finetune-1", "finetune-2"]);
}

/// Every write of more than `kib` KiB fails, as on a full disk.
#[cfg(unix)]
fn on_a_disk_of(kib: u32, command: &Command) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * kib);
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap());
    limited.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    limited
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_leaves_whole_lines_of_the_log_and_no_half_file() {
    let place = Place::new();
    let run = place.finetune("out", &[&QUICK[..], &["--mode=feature-extract"]].concat());
    let words = [
        "cannot write out",
        "free space or name another --output-dir",
    ];
    // Nothing can be written: found before training.
    let said = fail(on_a_disk_of(0, &run), &words);
    assert!(!said.contains("eval_loss"), "{said}");
    assert_eq!(place.left_in("out"), None);
    // Also with a run to replace, which is not given up for one that cannot be kept.
    let replace = ["--overwrite-output-dir"];
    let kept = TRAINED.left_in("out").unwrap();
    fail(on_a_disk_of(0, &TRAINED.finetune("out", &replace)), &words);
    assert_eq!(TRAINED.left_in("out").unwrap(), kept);
    // The log fits, the report with its curves or the weights of 13 MB do not.
    for (kib, words, status) in [
        (12, &["cannot write out/report.html"][..], "running"),
        (
            1024,
            &["cannot write out/model.safetensors", words[1]],
            "broken",
        ),
    ] {
        fail(on_a_disk_of(kib, &run), words);
        assert_eq!(place.left_in("out").unwrap(), REMAINS);
        let report = fs::read_to_string(place.path("out/report.html")).unwrap();
        assert!(report.contains(&format!("class=\"status {status}\"")));
        assert!(status == "running" || report.contains(words[0]));
        let log = fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
        let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
        assert!(log.ends_with('\n') && log.lines().all(whole), "{log}");
        fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_log_that_no_longer_fits_ends_with_a_whole_line() {
    let place = Place::new();
    // A line is about 330 bytes: a few dozen fit into 12 KiB, and so does a report without curves.
    let many = [
        "--mode=feature-extract",
        "--image-size=32",
        "--num-train-epochs=60",
    ];
    fail(
        on_a_disk_of(12, &place.finetune("out", &many)),
        &["metrics.jsonl"],
    );
    assert_eq!(place.left_in("out").unwrap(), REMAINS);
    let log = fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
    assert!(log.ends_with('\n') && log.lines().count() > 1, "{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_printed_are_an_error_and_not_a_panic() {
    let place = &*TRAINED;
    for flags in [&["--eval-only"][..], &["--predict", "val/blue/0.png"]] {
        let mut command = place.finetune("out", flags);
        command.stdout(fs::File::create("/dev/full").unwrap());
        fail(command, &["cannot write to standard output"]);
    }
}

#[test]
fn a_run_that_is_missing_damaged_or_of_other_classes_is_not_used() {
    let trained = &*TRAINED;
    let place = Place::new();
    spoil(&place);
    let copy = |out: &str| {
        fs::create_dir_all(place.path(out)).unwrap();
        for name in RESULTS {
            fs::copy(trained.path("out").join(name), place.path(out).join(name)).unwrap();
        }
    };
    let edit = |out: &str, from: &str, to: &str| {
        copy(out);
        let config = place.path(out).join("config.json");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).unwrap();
    };
    copy("cut");
    let weights = place.path("cut/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    edit("grammar", "{", "");
    edit("labels", "\"1\": \"green\",", "");
    edit("size", "\"image_size\": 64", "\"image_size\": 0");
    edit("deviation", "\"image_std\": [", "\"image_std\": [0, ");
    edit("type", "efficientnet_lite0", "resnet");
    edit("names", "green", "verdant");

    for (out, words) in [
        (
            "nothing",
            &["nothing holds no finished run: it has no config.json"][..],
        ),
        ("cut", &["model.safetensors"]),
        ("grammar", &["config.json is damaged"]),
        ("size", &["config.json", "image_size"]),
        ("deviation", &["config.json is damaged"]),
        ("type", &["config.json", "no image model `resnet`"]),
    ] {
        for flags in [&["--eval-only"][..], &["--predict", "val/blue/0.png"]] {
            fail(place.finetune(out, flags), words);
        }
    }
    let shapes = ["model.safetensors", "wanted [2", "the file has [3"];
    fail(
        place.finetune("labels", &["--predict", "val/blue/0.png"]),
        &shapes,
    );
    let unknown = [
        "the model",
        "[\"verdant\"] are missing and [\"green\"] are unknown",
    ];
    fail(place.finetune("names", &["--eval-only"]), &unknown);
    let others = [
        "--eval-only",
        "--train-dir=others",
        "--validation-dir=others",
    ];
    copy("good");
    fail(
        place.finetune("good", &others),
        &["[\"violet\"] are unknown"],
    );
    fail(
        place.finetune("good", &["--predict", "none.png"]),
        &["cannot classify none.png"],
    );
    fail(
        place.finetune("good", &["--predict", "file"]),
        &["cannot classify file"],
    );
}

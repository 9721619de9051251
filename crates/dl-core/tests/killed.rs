//! Training that is killed, that finds the disk full, or that meets a limit on files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::checkpoint::{Checkpoints, Keep};
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    CheckpointOptions, Every, Resume, StopOnSignal, TrainError, Trainer, TrainerConfig,
};
use dl_optim::{Adam, Optimizer};

const FOLDER: &str = "KILLED_TEST_FOLDER";
const EPOCHS: &str = "KILLED_TEST_EPOCHS";
const STUCK: &str = "KILLED_TEST_STUCK";
/// The arguments that make this program the child.
const CHILD: [&str; 4] = ["--exact", "child", "--ignored", "--nocapture"];

fn data() -> DataLoader<TensorDataset, StackTensors> {
    let mut x = vec![0f32; 64 * 16];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = x.chunks(16).map(|x| u32::from(x[0] * x[1] > 0.)).collect();
    let x = Tensor::from_vec(x, (64, 16), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 64, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors)
        .batch_size(16)
        .shuffle(true)
}

/// Four steps an epoch, a checkpoint at every second; about 250 kB each, so that a good part of the
/// time goes into writing them.
fn train(folder: &Path, epochs: usize) -> Result<Vec<u32>, TrainError> {
    let params = Params::new(7, &Device::Cpu);
    let config = MlpConfig {
        inputs: 16,
        hidden: vec![128, 128],
        classes: 2,
        dropout: 0.2,
    };
    let model = Mlp::new(&config, params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let config = TrainerConfig {
        epochs,
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(2),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder)
    };
    Trainer::new(&model, optimizer, config)
        .callback(StopOnSignal::install()?)
        .checkpoints(&params, options)
        .fit(&data(), &data())?;
    let all = params.all().into_iter();
    let flat = all.flat_map(|(_, v)| {
        v.as_tensor()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    });
    Ok(flat.map(f32::to_bits).collect())
}

/// What the other tests start as a process of its own: prints the error if there is one.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let epochs = std::env::var(EPOCHS).unwrap().parse().unwrap();
    if std::env::var_os(STUCK).is_some() {
        let _stop = StopOnSignal::install().unwrap();
        std::fs::write(Path::new(&folder).join("stuck"), "").unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
    if let Err(error) = train(Path::new(&folder), epochs) {
        eprintln!("{error}");
        std::process::exit(match error {
            TrainError::Interrupted { .. } => 3,
            _ => 2,
        });
    }
}

/// A shell that runs `before` and then becomes the child.
fn shell(before: &str, folder: &Path, epochs: usize) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{before} exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(CHILD)
        .env(FOLDER, folder)
        .env(EPOCHS, epochs.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn spawn(folder: &Path, epochs: usize) -> Child {
    shell("", folder, epochs).spawn().unwrap()
}

fn newest(folder: &Path) -> Option<usize> {
    // Listed, not opened: what is left of a checkpoint that was cut off must do no harm.
    let names = std::fs::read_dir(folder).ok()?;
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok());
    steps.max()
}

/// 200 times at a random moment of the first 60 ms, in which a child starts, trains and writes.
#[test]
fn two_hundred_kills_lose_nothing_beyond_the_last_checkpoint_and_change_no_bit() {
    let (folder, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut before, mut advanced) = (None, 0);
    let moments = Rng::new(1, Purpose::Other(1), 0);
    for kill in 0..200 {
        let mut child = spawn(folder.path(), 1_000_000);
        let wait = u64::from(moments.u32(kill) % 60_000);
        std::thread::sleep(Duration::from_micros(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = newest(folder.path());
        assert!(
            now >= before,
            "kill {kill}: step {before:?} was lost, now {now:?}"
        );
        advanced += usize::from(now > before);
        before = now;
        if let Some(step) = now {
            let name = format!("step-{step:08}");
            let found = Checkpoints::load(folder.path().join(name)).unwrap();
            assert_eq!(found.0.manifest.step, step, "kill {kill}");
        }
    }
    assert!(
        advanced >= 20,
        "only {advanced} children reached a checkpoint"
    );
    let epochs = before.unwrap() / 4 + 2;
    let resumed = train(folder.path(), epochs).unwrap();
    assert_eq!(resumed, train(whole.path(), epochs).unwrap());
}

/// Files of at most 64 blocks of 512 or 1,024 bytes: the optimizer's does not fit.
#[test]
fn a_limit_on_files_ends_the_run_by_name_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), 1).unwrap();
    let limit = "trap '' XFSZ; ulimit -c 0; ulimit -f 64;";
    let output = shell(limit, folder.path(), 4).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(".safetensors: "), "{text}");
    assert_eq!(newest(folder.path()), Some(4));
    resumes_to_the_same(folder.path());
}

/// Bytes of the tensors of a checkpoint: weights and both moments.
const TENSORS: usize = 4 * 3 * (16 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2);

/// On a file system of its own with room for three checkpoints a child trains an epoch; then `left` bytes
/// are left free and another goes on. What is on the disk in the end is copied to `folder`. Its
/// message, or nothing where such a file system cannot be had.
fn on_a_disk_with(left: usize, folder: &Path) -> Option<String> {
    let disk = tempfile::tempdir().unwrap();
    let script = format!(
        r#"mount -t tmpfs -o size=900k none "${FOLDER}" || exit 77
           {EPOCHS}=1 "$0" "$@" || exit 78
           free=$(df --output=avail --block-size=1 "${FOLDER}" | tail -n 1)
           head -c $((free - {left})) /dev/zero > "${FOLDER}/filled"
           {EPOCHS}=4 "$0" "$@"; code=$?
           cp -r "${FOLDER}"/step-* {} || exit 79
           exit $code"#,
        folder.display()
    );
    let mut inside = Command::new("unshare");
    inside.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    inside.arg(std::env::current_exe().unwrap()).args(CHILD);
    let output = inside.env(FOLDER, disk.path()).output().ok()?;
    let text = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(1 | 77) => {
            eprintln!("SKIPPED: a file system of one's own cannot be mounted here: {text}");
            None
        }
        code => {
            assert_eq!(code, Some(2), "{text}");
            Some(text)
        }
    }
}

/// Found full before a byte is written, or in the middle of a file: headers, sums and the rest of pages
/// come on top of the tensors.
#[test]
fn a_full_disk_ends_the_run_by_name_and_leaves_what_was_there() {
    let before = ["the checkpoint needs", "bytes and", "free"];
    let within = [".step-00000006", "No space left", "safetensors"];
    for (left, words) in [(TENSORS / 2, before), (TENSORS + 4096, within)] {
        let folder = tempfile::tempdir().unwrap();
        let Some(text) = on_a_disk_with(left, folder.path()) else {
            return;
        };
        assert!(words.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(newest(folder.path()), Some(4), "{text}");
        resumes_to_the_same(folder.path());
    }
}

#[test]
fn a_signal_ends_the_run_with_a_checkpoint_a_message_and_a_code() {
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path(), 1_000_000);
        while newest(folder.path()).is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("interrupted after step"), "{text}");
        let step = newest(folder.path()).unwrap();
        assert!(text.contains(&format!("step-{step:08}")), "{text}");
    }
}

fn send(signal: &str, child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(status.unwrap().success());
}

/// In a step that does not end, so that the first signal has nothing to finish.
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = shell("", folder.path(), 1);
    let mut child = command.env(STUCK, "1").spawn().unwrap();
    while !folder.path().join("stuck").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    send("INT", &child);
    // Handled by now, and without effect: the process waits for the end of the step.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(child.try_wait().unwrap(), None);
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(newest(folder.path()), None);
}

fn resumes_to_the_same(folder: &Path) {
    let whole = tempfile::tempdir().unwrap();
    let resumed = train(folder, 3).unwrap();
    assert_eq!(resumed, train(whole.path(), 3).unwrap());
}

#[test]
fn keeping_the_newest_two_leaves_two() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), 2).unwrap();
    let checkpoints = Checkpoints::create(folder.path(), Keep::default()).unwrap();
    let steps = checkpoints.list().unwrap();
    let steps: Vec<_> = steps.iter().map(|saved| saved.manifest.step).collect();
    assert_eq!(steps, [6, 8]);
}

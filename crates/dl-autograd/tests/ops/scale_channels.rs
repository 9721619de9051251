//! A factor for every channel.

use candle_core::{DType, Device, Tensor};
use dl_autograd::{global_avg_pool, scale_channels, transpose};

use crate::case::{Case, case};

/// 35 values a plane are two vectors of 16 and a rest of 3.
pub fn cases() -> Vec<Case> {
    vec![
        case("scale_channels of images", &[&[2, 3, 5, 7]], |t| {
            scale_channels(&t[0], &global_avg_pool(&t[0])?)
        }),
        case("scale_channels of signals", &[&[2, 3, 35], &[2, 3]], |t| {
            scale_channels(&t[0], &t[1])
        }),
        case("scale_channels of vectors", &[&[4, 3], &[4, 3]], |t| {
            scale_channels(&t[0], &t[1])
        }),
        case(
            "scale_channels of transposed inputs",
            &[&[3, 2, 5], &[3, 2]],
            |t| scale_channels(&transpose(&t[0], 0, 1)?, &transpose(&t[1], 0, 1)?),
        ),
    ]
}

#[test]
fn factors_of_another_shape_are_named() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for (x, factors) in [
        (&[2, 3, 4][..], &[2, 4][..]),
        (&[2, 3, 4], &[1, 3]),
        (&[2, 3, 4], &[2, 3, 1]),
        (&[3], &[3]),
    ] {
        let error = scale_channels(&zeros(x), &zeros(factors)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("{x:?} and {factors:?}")), "{error}");
    }
}

#[test]
fn images_without_pixels_stay_so() {
    let x = Tensor::zeros((2, 3, 0, 4), DType::F32, &Device::Cpu).unwrap();
    let factors = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(scale_channels(&x, &factors).unwrap().dims(), [2, 3, 0, 4]);
}

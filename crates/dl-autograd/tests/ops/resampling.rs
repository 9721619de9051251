//! Interpolation and pixel shuffling.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    Interpolation, add, interpolate, interpolate_by, pixel_shuffle, pixel_unshuffle, transpose,
};

use crate::case::{Case, case};

const HALF: Interpolation = Interpolation::Linear {
    align_corners: false,
};
const CORNERS: Interpolation = Interpolation::Linear {
    align_corners: true,
};
const CUBIC: Interpolation = Interpolation::Cubic {
    align_corners: false,
};
const CUBIC_CORNERS: Interpolation = Interpolation::Cubic {
    align_corners: true,
};

fn to(name: &'static str, size: [usize; 2], mode: Interpolation) -> Case {
    case(name, &[&[2, 3, 5, 4]], move |t| {
        interpolate(&t[0], &size, mode)
    })
}

fn signal(name: &'static str, size: usize, mode: Interpolation) -> Case {
    case(name, &[&[2, 3, 5]], move |t| {
        interpolate(&t[0], &[size], mode)
    })
}

fn by(name: &'static str, factors: [f64; 2], mode: Interpolation) -> Case {
    case(name, &[&[2, 3, 5, 4]], move |t| {
        interpolate_by(&t[0], &factors, mode)
    })
}

/// Up and down by whole and broken factors, each mode in both conventions.
pub fn cases() -> Vec<Case> {
    vec![
        to(
            "interpolate nearest, doubled",
            [10, 8],
            Interpolation::Nearest,
        ),
        to(
            "interpolate nearest, uneven",
            [7, 3],
            Interpolation::Nearest,
        ),
        to(
            "interpolate nearest-exact, uneven",
            [3, 7],
            Interpolation::NearestExact,
        ),
        to("interpolate bilinear, doubled", [10, 8], HALF),
        to("interpolate bilinear, uneven", [3, 9], HALF),
        to("interpolate bilinear to one", [1, 1], HALF),
        to("interpolate bilinear, corners", [9, 7], CORNERS),
        to("interpolate bilinear, corners, to one", [1, 6], CORNERS),
        to("interpolate bicubic", [7, 9], CUBIC),
        to("interpolate bicubic, smaller", [3, 2], CUBIC),
        to("interpolate bicubic, corners", [8, 3], CUBIC_CORNERS),
        to("interpolate area", [3, 7], Interpolation::Area),
        to("interpolate to the same size", [5, 4], HALF),
        by(
            "interpolate nearest by factors",
            [2.3, 0.6],
            Interpolation::Nearest,
        ),
        by("interpolate bilinear by factors", [1.7, 0.6], HALF),
        by(
            "interpolate bilinear by factors, corners",
            [1.7, 0.6],
            CORNERS,
        ),
        by(
            "interpolate nearest-exact by factors",
            [0.6, 2.3],
            Interpolation::NearestExact,
        ),
        by("interpolate bicubic by factors", [1.7, 0.6], CUBIC),
        by(
            "interpolate bicubic by factors, corners",
            [0.6, 1.7],
            CUBIC_CORNERS,
        ),
        by(
            "interpolate area by factors",
            [1.7, 0.6],
            Interpolation::Area,
        ),
        signal("interpolate nearest of a signal", 8, Interpolation::Nearest),
        signal(
            "interpolate nearest-exact of a signal",
            7,
            Interpolation::NearestExact,
        ),
        signal("interpolate area of a signal", 3, Interpolation::Area),
        case("interpolate_by of a signal", &[&[2, 3, 5]], |t| {
            interpolate_by(&t[0], &[1.4], HALF)
        }),
        signal("interpolate linear of a signal", 8, HALF),
        signal("interpolate linear of a signal, corners", 3, CORNERS),
        case("interpolate of a transposed input", &[&[2, 3, 5, 4]], |t| {
            interpolate(&transpose(&t[0], 2, 3)?, &[6, 6], HALF)
        }),
        case(
            "interpolate of an input used twice",
            &[&[2, 3, 4, 5]],
            |t| {
                let large = interpolate_by(&t[0], &[2., 2.], Interpolation::Nearest)?;
                let back = interpolate(&large, &[4, 5], HALF)?;
                add(&back, &t[0])
            },
        ),
        case("pixel_shuffle", &[&[2, 18, 2, 3]], |t| {
            pixel_shuffle(&t[0], 3)
        }),
        case("pixel_unshuffle", &[&[2, 3, 4, 6]], |t| {
            pixel_unshuffle(&t[0], 2)
        }),
        case(
            "pixel_shuffle of a transposed input",
            &[&[2, 4, 2, 3]],
            |t| pixel_shuffle(&transpose(&t[0], 2, 3)?, 2),
        ),
    ]
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let x = zeros(&[1, 2, 4, 4]);
    assert!(interpolate(&x, &[3], HALF).is_err());
    assert!(interpolate(&x, &[3, 0], HALF).is_err());
    assert!(interpolate(&zeros(&[4, 4]), &[3, 3], HALF).is_err());
    assert!(interpolate(&zeros(&[1, 2, 0, 4]), &[3, 3], HALF).is_err());
    assert!(interpolate(&x, &[usize::MAX, 3], HALF).is_err());
    for factor in [0., -1., f64::NAN, f64::INFINITY, 0.1, 1e300] {
        assert!(interpolate_by(&x, &[factor, 1.], HALF).is_err(), "{factor}");
    }
    for factor in [0, 3, usize::MAX] {
        assert!(pixel_shuffle(&x, factor).is_err(), "{factor}");
        assert!(pixel_unshuffle(&x, factor).is_err(), "{factor}");
    }
}

#[test]
fn pixel_unshuffle_undoes_pixel_shuffle() -> Result<()> {
    let x = Tensor::arange(0f32, 96., &Device::Cpu)?.reshape((2, 8, 2, 3))?;
    let back = pixel_unshuffle(&pixel_shuffle(&x, 2)?, 2)?;
    let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    assert_eq!(flat(&x)?, flat(&back)?);
    Ok(())
}

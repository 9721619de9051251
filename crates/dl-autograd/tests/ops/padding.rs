//! Padding in every mode.

use candle_core::{DType, Device, Tensor};
use dl_autograd::{PadMode, composed, pad, transpose};

use crate::case::{Case, case};

type Sides = &'static [(isize, isize)];

fn of(name: &'static str, shape: &[usize], sides: Sides, mode: PadMode) -> Case {
    case(name, &[shape], move |t| pad(&t[0], sides, mode))
}

/// Unequal sides, so that no two can be exchanged.
pub fn cases() -> Vec<Case> {
    use PadMode::{Circular, Constant, Reflect, Replicate};
    let x = &[2, 3, 4, 5];
    vec![
        of("pad constant", x, &[(1, 2), (3, 0)], Constant(0.)),
        of(
            "pad constant of three dimensions",
            x,
            &[(0, 1), (2, 0), (1, 1)],
            Constant(-1.5),
        ),
        of(
            "pad constant, cutting",
            x,
            &[(-1, 2), (1, -2)],
            Constant(0.5),
        ),
        of("pad constant, cutting alone", x, &[(-1, -2)], Constant(0.5)),
        of("pad reflect", x, &[(4, 2), (1, 3)], Reflect),
        of("pad reflect, cutting", x, &[(2, -1), (0, 0)], Reflect),
        of("pad reflect of a signal", &[2, 3, 6], &[(5, 1)], Reflect),
        of("pad replicate", x, &[(2, 7), (5, 0)], Replicate),
        of(
            "pad replicate of a signal",
            &[2, 3, 6],
            &[(1, 2)],
            Replicate,
        ),
        of("pad circular", x, &[(5, 2), (1, 4)], Circular),
        of("pad circular of a signal", &[2, 3, 6], &[(1, 2)], Circular),
        of("pad circular, cutting", x, &[(-1, 2), (3, 0)], Circular),
        case("pad of a transposed input", &[x], |t| {
            pad(&transpose(&t[0], 2, 3)?, &[(1, 2), (3, 1)], Reflect)
        }),
    ]
}

#[test]
fn a_padding_that_the_mode_cannot_fill_is_an_error() {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    for (sides, mode) in [
        (vec![(3, 0)], PadMode::Reflect),
        (vec![(0, 4)], PadMode::Circular),
        (vec![(-2, -1)], PadMode::Constant(0.)),
        (vec![(isize::MIN, isize::MAX)], PadMode::Replicate),
        (vec![(isize::MAX, isize::MAX)], PadMode::Constant(0.)),
        (vec![(0, 1); 3], PadMode::Constant(0.)),
    ] {
        assert!(pad(&x, &sides, mode).is_err(), "{sides:?} {mode:?}");
        assert!(
            composed(|| pad(&x, &sides, mode)).is_err(),
            "{sides:?} {mode:?}"
        );
    }
    let message = pad(&x, &[(3, 0)], PadMode::Reflect).unwrap_err();
    assert!(
        message
            .to_string()
            .contains("(3, 0) around dimension 1 of 3"),
        "{message}"
    );
}

#[test]
fn a_constant_may_be_infinite_and_a_nan_stays_where_it_is() {
    let x = Tensor::new(&[f32::NAN, 1.], &Device::Cpu).unwrap();
    let run = || pad(&x, &[(1, 0)], PadMode::Constant(f64::NEG_INFINITY)).unwrap();
    for y in [run(), composed(run)] {
        let y = y.to_vec1::<f32>().unwrap();
        assert!(y[0] == f32::NEG_INFINITY && y[1].is_nan() && y[2] == 1.);
    }
}

#[test]
fn integers_are_padded_by_the_composed_form() {
    let x = Tensor::new(&[1u32, 2, 3], &Device::Cpu).unwrap();
    let y = pad(&x, &[(1, 2)], PadMode::Constant(7.)).unwrap();
    assert_eq!(y.to_vec1::<u32>().unwrap(), [7, 1, 2, 3, 7, 7]);
}

//! Pools over given and adaptive windows.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig, adaptive_avg_pool1d,
    adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, add, avg_pool1d, avg_pool2d,
    composed, max_pool1d, max_pool2d, transpose,
};

use crate::case::{Case, case};

const X: [usize; 4] = [2, 3, 7, 6];

fn max(name: &'static str, shape: [usize; 4], config: MaxPool2dConfig) -> Case {
    case(name, &[&shape], move |t| max_pool2d(&t[0], &config))
}

fn average(name: &'static str, shape: [usize; 4], config: AvgPool2dConfig) -> Case {
    case(name, &[&shape], move |t| avg_pool2d(&t[0], &config))
}

fn max_config(kernel: (usize, usize), stride: (usize, usize)) -> MaxPool2dConfig {
    MaxPool2dConfig {
        kernel,
        stride: Some(stride),
        ..Default::default()
    }
}

fn avg_config(kernel: (usize, usize), stride: (usize, usize)) -> AvgPool2dConfig {
    AvgPool2dConfig {
        kernel,
        stride: Some(stride),
        ..Default::default()
    }
}

pub fn cases() -> Vec<Case> {
    [max_cases(), average_cases(), adaptive_cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Sizes that strides divide and not, windows that overlap, touch and leave gaps.
fn max_cases() -> Vec<Case> {
    let stem = MaxPool2dConfig {
        padding: (1, 1),
        ..max_config((3, 3), (2, 2))
    };
    let ceil = |config| MaxPool2dConfig {
        ceil_mode: true,
        ..config
    };
    let uneven = MaxPool2dConfig {
        padding: (0, 2),
        dilation: (2, 1),
        ..max_config((2, 4), (1, 3))
    };
    vec![
        max("max_pool2d 2×2", [2, 3, 6, 8], Default::default()),
        max(
            "max_pool2d 2×2 of odd sizes",
            [2, 3, 7, 5],
            Default::default(),
        ),
        max(
            "max_pool2d 2×2, ceil",
            [2, 3, 7, 5],
            ceil(Default::default()),
        ),
        max("max_pool2d 3×3 stride 2, padded", [2, 3, 9, 8], stem),
        max("max_pool2d 3×3 stride 2, padded, ceil", X, ceil(stem)),
        max("max_pool2d 3×3 stride 1", X, max_config((3, 3), (1, 1))),
        max(
            "max_pool2d with gaps",
            [2, 3, 9, 9],
            max_config((1, 2), (4, 3)),
        ),
        max("max_pool2d uneven, dilated", X, uneven),
        max("max_pool2d uneven, dilated, ceil", X, ceil(uneven)),
        max(
            "max_pool2d dropping a window that starts in the padding",
            [1, 2, 3, 5],
            ceil(MaxPool2dConfig {
                padding: (1, 1),
                ..max_config((2, 2), (2, 3))
            }),
        ),
        max(
            "max_pool2d window larger than the image, ceil",
            [2, 1, 3, 3],
            ceil(max_config((4, 4), (2, 2))),
        ),
        case("max_pool2d of a transposed input", &[&X], |t| {
            max_pool2d(&transpose(&t[0], 2, 3)?, &Default::default())
        }),
        case("max_pool2d twice of one input", &[&X], move |t| {
            let y = max_pool2d(&t[0], &max_config((3, 3), (1, 1)))?;
            add(&y, &max_pool2d(&t[0], &max_config((3, 3), (1, 1)))?)
        }),
        case("max_pool1d", &[&[2, 3, 9]], |t| {
            max_pool1d(&t[0], &Default::default())
        }),
        case("max_pool1d padded, dilated, ceil", &[&[2, 3, 10]], |t| {
            let config = MaxPool1dConfig {
                kernel: 3,
                stride: Some(2),
                padding: 1,
                dilation: 2,
                ceil_mode: true,
            };
            max_pool1d(&t[0], &config)
        }),
    ]
}

fn average_cases() -> Vec<Case> {
    let padded = AvgPool2dConfig {
        padding: (1, 1),
        ..avg_config((3, 3), (2, 2))
    };
    let ceil = |config| AvgPool2dConfig {
        ceil_mode: true,
        ..config
    };
    let inside = |config| AvgPool2dConfig {
        count_include_pad: false,
        ..config
    };
    let uneven = AvgPool2dConfig {
        padding: (1, 2),
        ..avg_config((3, 5), (1, 3))
    };
    vec![
        average("avg_pool2d 2×2", [2, 3, 6, 8], Default::default()),
        average(
            "avg_pool2d 2×2 of odd sizes",
            [2, 3, 7, 5],
            Default::default(),
        ),
        average(
            "avg_pool2d 2×2, ceil",
            [2, 3, 7, 5],
            ceil(Default::default()),
        ),
        average("avg_pool2d 3×3 stride 2, padded", X, padded),
        average(
            "avg_pool2d 3×3 stride 2, padded, ceil",
            [2, 3, 8, 6],
            ceil(padded),
        ),
        average("avg_pool2d without the padding", X, inside(padded)),
        average(
            "avg_pool2d without the padding, ceil",
            [2, 3, 8, 6],
            ceil(inside(padded)),
        ),
        average("avg_pool2d uneven", X, uneven),
        average(
            "avg_pool2d with gaps",
            [2, 3, 9, 9],
            avg_config((1, 2), (4, 3)),
        ),
        average(
            "avg_pool2d with a divisor",
            X,
            AvgPool2dConfig {
                divisor_override: Some(7),
                ..padded
            },
        ),
        case("avg_pool2d of a transposed input", &[&X], |t| {
            avg_pool2d(&transpose(&t[0], 2, 3)?, &Default::default())
        }),
        case("avg_pool1d", &[&[2, 3, 9]], |t| {
            avg_pool1d(&t[0], &Default::default())
        }),
        case("avg_pool1d padded, ceil", &[&[2, 3, 10]], |t| {
            let config = AvgPool1dConfig {
                kernel: 3,
                stride: Some(2),
                padding: 1,
                ceil_mode: true,
                count_include_pad: false,
            };
            avg_pool1d(&t[0], &config)
        }),
    ]
}

fn adaptive_cases() -> Vec<Case> {
    let avg = |name, size| case(name, &[&X], move |t| adaptive_avg_pool2d(&t[0], size));
    let max = |name, size| case(name, &[&X], move |t| adaptive_max_pool2d(&t[0], size));
    vec![
        avg("adaptive_avg_pool2d to one", (1, 1)),
        avg("adaptive_avg_pool2d to uneven windows", (3, 4)),
        avg("adaptive_avg_pool2d to a larger size", (9, 2)),
        max("adaptive_max_pool2d to one", (1, 1)),
        max("adaptive_max_pool2d to uneven windows", (3, 4)),
        max("adaptive_max_pool2d to a larger size", (9, 2)),
        case("adaptive_avg_pool1d", &[&[2, 3, 7]], |t| {
            adaptive_avg_pool1d(&t[0], 3)
        }),
        case("adaptive_max_pool1d", &[&[2, 3, 7]], |t| {
            adaptive_max_pool1d(&t[0], 3)
        }),
    ]
}

fn row(values: &[f32]) -> Var {
    let x = Tensor::new(values, &Device::Cpu).unwrap();
    Var::from_tensor(&x.reshape((1, 1, values.len())).unwrap()).unwrap()
}

/// The result and the gradient of its sum, by the kernel and by the composed form.
fn both(values: &[f32], f: impl Fn(&Tensor) -> Result<Tensor>) -> [(Vec<f32>, Vec<f32>); 2] {
    let run = || {
        let x = row(values);
        let y = f(x.as_tensor()).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (flat(&y), flat(grads.get(&x).unwrap()))
    };
    [run(), composed(run)]
}

fn pool(kernel: usize) -> MaxPool1dConfig {
    MaxPool1dConfig {
        kernel,
        ..Default::default()
    }
}

#[test]
fn the_first_of_equal_maxima_gets_the_whole_gradient() {
    for (_, dx) in both(&[1., 3., 3., 2., 2., 2.], |x| max_pool1d(x, &pool(3))) {
        assert_eq!(dx, [0., 1., 0., 1., 0., 0.]);
    }
    for (_, dx) in both(&[3., 3., 2., 2.], |x| adaptive_max_pool1d(x, 2)) {
        assert_eq!(dx, [1., 0., 1., 0.]);
    }
}

#[test]
fn a_window_of_minus_infinity_is_minus_infinity_and_padding_never_wins() {
    let low = f32::NEG_INFINITY;
    let config = MaxPool1dConfig {
        padding: 1,
        ..pool(3)
    };
    for (y, dx) in both(&[low, low, -2., -1., low], |x| max_pool1d(x, &config)) {
        assert_eq!(y, [low, -1.]);
        assert_eq!(dx, [1., 0., 0., 1., 0.]);
    }
}

/// As in PyTorch's loop the last NaN of a window is its maximum.
#[test]
fn a_nan_is_the_maximum_of_its_window_alone() {
    let x = [f32::NAN, 3., f32::NAN, 1., 2., 4.];
    for (y, dx) in both(&x, |x| max_pool1d(x, &pool(3))) {
        assert!(y[0].is_nan() && y[1] == 4.);
        assert_eq!(dx, [0., 0., 1., 0., 0., 1.]);
    }
}

#[test]
fn an_infinity_stays_in_its_own_average() {
    let config = AvgPool1dConfig {
        ceil_mode: true,
        ..Default::default()
    };
    for (y, _) in both(&[f32::INFINITY, 1., 2., 3., f32::NAN], |x| {
        avg_pool1d(x, &config)
    }) {
        assert_eq!(y[..2], [f32::INFINITY, 2.5]);
        assert!(y[2].is_nan());
    }
}

#[test]
fn windows_that_do_not_fit_are_errors_that_say_so() {
    let x = Tensor::zeros((1, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
    let wide = MaxPool2dConfig {
        padding: (0, 2),
        ..max_config((3, 3), (1, 1))
    };
    let message = max_pool2d(&x, &wide).unwrap_err().to_string();
    assert!(
        message.contains("padding of at most half its kernel 3, got 2"),
        "{message}"
    );
    for config in [
        max_config((0, 1), (1, 1)),
        max_config((1, 1), (1, 0)),
        max_config((5, 1), (1, 1)),
        max_config((usize::MAX, 1), (1, 1)),
        max_config((1, 1), (usize::MAX, 1)),
        // The taps of the only window lie at −1 and 4.
        MaxPool2dConfig {
            padding: (1, 0),
            dilation: (5, 1),
            ..max_config((2, 1), (1, 1))
        },
    ] {
        assert!(max_pool2d(&x, &config).is_err(), "{config:?}");
        assert!(composed(|| max_pool2d(&x, &config)).is_err(), "{config:?}");
    }
    let none = AvgPool2dConfig {
        divisor_override: Some(0),
        ..Default::default()
    };
    assert!(avg_pool2d(&x, &none).is_err());
    assert!(max_pool1d(&x, &pool(2)).is_err());
    assert!(adaptive_avg_pool2d(&x, (0, 1)).is_err());
    let empty = Tensor::zeros((1, 2, 0, 4), DType::F32, &Device::Cpu).unwrap();
    assert!(adaptive_max_pool2d(&empty, (1, 1)).is_err());
    assert!(max_pool2d(&empty, &Default::default()).is_err());
}

#[test]
fn an_empty_batch_is_pooled_to_an_empty_batch() {
    let x = Tensor::zeros((0, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
    let y = max_pool2d(&x, &Default::default()).unwrap();
    assert_eq!(y.dims(), [0, 2, 2, 2]);
    let y = avg_pool2d(&x, &Default::default()).unwrap();
    assert_eq!(y.dims(), [0, 2, 2, 2]);
}

//! Layer, RMS, group, instance, weight and spectral normalisation.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    add, add_layer_norm, add_rms_norm, composed, group_norm, instance_norm, layer_norm,
    power_iteration, rms_norm, spectral_norm, transpose, weight_norm,
};

use crate::case::{Case, case};

/// Rows around the 32 lanes of a sum, planes of one, few and many pixels, groups of one, some and
/// all channels; the last dimension, several, and operands that are missing.
pub fn cases() -> Vec<Case> {
    let mut cases = rows();
    cases.extend(groups());
    cases.extend(weights());
    cases
}

fn rows() -> Vec<Case> {
    vec![
        case(
            "layer_norm over two dimensions",
            &[&[3, 2, 5], &[2, 5], &[2, 5]],
            |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5),
        ),
        case("layer_norm without weights", &[&[3, 7]], |t| {
            layer_norm(&t[0], None, None, 1e-5)
        }),
        case("layer_norm without bias", &[&[3, 70], &[70]], |t| {
            layer_norm(&t[0], Some(&t[1]), None, 1e-5)
        }),
        case("layer_norm without weight", &[&[3, 7], &[7]], |t| {
            layer_norm(&t[0], None, Some(&t[1]), 1e-5)
        }),
        case(
            "rms_norm over two dimensions",
            &[&[3, 2, 5], &[2, 5]],
            |t| rms_norm(&t[0], Some(&t[1]), 1e-5),
        ),
        case("rms_norm without weight", &[&[3, 7]], |t| {
            rms_norm(&t[0], None, 1e-5)
        }),
        case(
            "add_layer_norm",
            &[&[2, 3, 37], &[2, 3, 37], &[37], &[37]],
            |t| add_layer_norm(&t[0], &t[1], Some(&t[2]), Some(&t[3]), 1e-5),
        ),
        case("add_layer_norm without weights", &[&[3, 7], &[3, 7]], |t| {
            add_layer_norm(&t[0], &t[1], None, None, 1e-5)
        }),
        case(
            "add_layer_norm of transposed operands",
            &[&[5, 3], &[5, 3], &[5], &[5]],
            |t| {
                let (x, r) = (transpose(&t[0], 0, 1)?, transpose(&t[1], 0, 1)?);
                add_layer_norm(&x, &r, Some(&t[2]), Some(&t[3]), 1e-5)
            },
        ),
        case("add_rms_norm", &[&[2, 3, 37], &[2, 3, 37], &[37]], |t| {
            add_rms_norm(&t[0], &t[1], Some(&t[2]), 1e-5)
        }),
        case("add_rms_norm without weight", &[&[3, 7], &[3, 7]], |t| {
            add_rms_norm(&t[0], &t[1], None, 1e-5)
        }),
    ]
}

fn groups() -> Vec<Case> {
    let group = |name, shape: &[usize], groups| {
        case(name, &[shape, &[shape[1]], &[shape[1]]], move |t| {
            group_norm(&t[0], groups, Some(&t[1]), Some(&t[2]), 1e-5)
        })
    };
    vec![
        group("group_norm", &[2, 6, 3, 5], 3),
        group("group_norm of one group", &[3, 4, 3], 1),
        group("group_norm of large planes", &[2, 4, 7, 6], 2),
        group("group_norm of vectors", &[5, 6], 2),
        case(
            "group_norm of a transposed input",
            &[&[3, 2, 4], &[4], &[4]],
            |t| {
                let x = transpose(&transpose(&t[0], 0, 1)?, 1, 2)?;
                group_norm(&x, 2, Some(&t[1]), Some(&t[2]), 1e-5)
            },
        ),
        case("group_norm without weights", &[&[2, 4, 5]], |t| {
            group_norm(&t[0], 2, None, None, 1e-5)
        }),
        case("instance_norm", &[&[2, 3, 3, 4], &[3], &[3]], |t| {
            instance_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5)
        }),
        case("instance_norm without weights", &[&[2, 3, 35]], |t| {
            instance_norm(&t[0], None, None, 1e-5)
        }),
    ]
}

fn weights() -> Vec<Case> {
    let spectral = |name, shape: &'static [usize], dim| {
        case(name, &[shape], move |t| {
            let rows = shape[dim];
            let columns = shape.iter().product::<usize>() / rows;
            let (u, v) = (wave(rows)?, wave(columns)?);
            spectral_norm(&t[0], &u, &v, dim)
        })
    };
    vec![
        case("weight_norm", &[&[4, 3, 5], &[4, 1, 1]], |t| {
            weight_norm(&t[0], &t[1], Some(0))
        }),
        case(
            "weight_norm over the middle",
            &[&[4, 3, 5], &[1, 3, 1]],
            |t| weight_norm(&t[0], &t[1], Some(1)),
        ),
        case("weight_norm of the whole", &[&[3, 13], &[]], |t| {
            weight_norm(&t[0], &t[1], None)
        }),
        spectral("spectral_norm", &[4, 3, 2], 0),
        spectral("spectral_norm over the last", &[2, 3, 4], 2),
    ]
}

/// A vector of 1, 2, 3, 1, 2, 3, …: the singular value it gives is far from zero for no reason but
/// the seeds of the inputs.
fn wave(len: usize) -> Result<Tensor> {
    let values: Vec<f64> = (0..len).map(|i| (i % 3 + 1) as f64).collect();
    Tensor::from_vec(values, len, &Device::Cpu)
}

fn flat(y: &Tensor) -> Vec<f64> {
    let y = y.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    y.to_vec1().unwrap()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

/// Deviations of 0.01 around 10,000 in f32, whose last place there is worth 0.001: a mean rounded to
/// f32 would be wrong by a tenth of a deviation, mean(x²) − mean(x)² would be noise. The length is
/// BERT's; the numbers are rounded to f32 first, so that both types see the same.
#[test]
fn rows_far_from_zero_keep_three_digits() {
    let values: Vec<f32> = (0..4 * 768u32)
        .map(|i| 1e4 + ((i * 7919 % 2003) as f32 / 1001.5 - 1.) * 1e-2)
        .collect();
    let x = Tensor::from_vec(values, (4, 768), &Device::Cpu).unwrap();
    type Norm = fn(&Tensor) -> Result<Tensor>;
    let norms: [(&str, Norm); 3] = [
        ("layer_norm", |x| layer_norm(x, None, None, 0.)),
        ("group_norm", |x| {
            group_norm(&x.reshape((2, 4, 384))?, 2, None, None, 0.)
        }),
        ("add_layer_norm", |x| {
            add_layer_norm(x, &x.zeros_like()?, None, None, 0.)
        }),
    ];
    for (name, norm) in norms {
        let narrow = flat(&norm(&x).unwrap());
        let wide = flat(&norm(&x.to_dtype(DType::F64).unwrap()).unwrap());
        for (a, b) in narrow.iter().zip(wide) {
            // Where y is nearly zero it is compared with a hundredth of the deviation, 1.
            assert!(
                (a - b).abs() <= 1e-3 * b.abs().max(1e-2),
                "{name}: {a} and {b}"
            );
        }
    }
}

/// The gradient uses the same two-part mean.
#[test]
fn gradients_far_from_zero_keep_three_digits() {
    let values: Vec<f32> = (0..768u32)
        .map(|i| 1e4 + ((i * 7919 % 2003) as f32 / 1001.5 - 1.) * 1e-2)
        .collect();
    let run = |dtype: DType| {
        let x = Tensor::from_vec(values.clone(), (1, 768), &Device::Cpu).unwrap();
        let x = candle_core::Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
        let dy: Vec<f64> = (0..768).map(|i| (i % 7) as f64 - 3.).collect();
        let dy = Tensor::from_vec(dy, (1, 768), &Device::Cpu).unwrap();
        let y = layer_norm(&x, None, None, 0.).unwrap() * dy.to_dtype(dtype).unwrap();
        let grads = y.unwrap().sum_all().unwrap().backward().unwrap();
        flat(grads.get(&x).unwrap())
    };
    let wide = run(DType::F64);
    let scale = wide.iter().fold(0f64, |m, x| m.max(x.abs()));
    for (a, b) in run(DType::F32).iter().zip(wide) {
        assert!((a - b).abs() <= 1e-3 * scale, "{a} and {b}");
    }
}

#[test]
fn a_constant_row_gives_the_bias_and_a_finite_gradient() {
    let x = candle_core::Var::from_tensor(&(zeros(&[2, 33]) + 7.3).unwrap()).unwrap();
    let y = layer_norm(&x, None, None, 1e-5).unwrap();
    assert_eq!(flat(&y), [0.; 66]);
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(flat(grads.get(&x).unwrap()).iter().all(|g| g.is_finite()));
}

#[test]
fn a_nan_spoils_its_own_row_alone() {
    let mut values = vec![1f32; 2 * 40];
    values[3] = f32::NAN;
    let x = Tensor::from_vec(values, (2, 40), &Device::Cpu).unwrap();
    for y in [
        layer_norm(&x, None, None, 1e-5),
        rms_norm(&x, None, 1e-5),
        group_norm(&x, 1, None, None, 1e-5),
    ] {
        let y = flat(&y.unwrap());
        assert!(y[..40].iter().all(|y| y.is_nan()) && y[40..].iter().all(|y| y.is_finite()));
    }
}

#[test]
fn add_layer_norm_has_the_bits_of_add_and_layer_norm() {
    let values = |k: u32| -> Vec<f32> {
        (0..5 * 77u32)
            .map(|i| ((i * k) % 101) as f32 / 50. - 1.)
            .collect()
    };
    let t = |k| Tensor::from_vec(values(k), (5, 77), &Device::Cpu).unwrap();
    let (x, r) = (t(37), t(59));
    let apart = layer_norm(&add(&x, &r).unwrap(), None, None, 1e-5).unwrap();
    let fused = add_layer_norm(&x, &r, None, None, 1e-5).unwrap();
    assert_eq!(flat(&apart), flat(&fused));
}

#[test]
fn an_empty_batch_gives_an_empty_result_and_zero_gradients() {
    let x = zeros(&[0, 4]);
    let w = candle_core::Var::from_tensor(&zeros(&[4])).unwrap();
    let y = layer_norm(&x, Some(&w), None, 1e-5).unwrap();
    assert_eq!(y.dims(), [0, 4]);
    assert_eq!(
        group_norm(&zeros(&[0, 4, 3]), 2, None, None, 0.)
            .unwrap()
            .dims(),
        [0, 4, 3]
    );
    assert_eq!(
        layer_norm(&zeros(&[2, 0]), None, None, 0.).unwrap().dims(),
        [2, 0]
    );
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(grads.get(&w).unwrap()), [0.; 4]);
}

/// Wv = (1.8, 0.8), of length √3.88, and back.
#[test]
fn one_power_iteration_is_what_a_hand_computes() {
    let weight = Tensor::new(&[[3f64, 0.], [0., 1.]], &Device::Cpu).unwrap();
    let v = Tensor::new(&[0.6f64, 0.8], &Device::Cpu).unwrap();
    let (u, v) = power_iteration(&weight, &v, &v, 0, 1, 1e-12).unwrap();
    let length = 3.88f64.sqrt();
    let close = |a: &Tensor, b: [f64; 2]| flat(a).iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-14);
    assert!(close(&u, [1.8 / length, 0.8 / length]), "{u}");
    let length = (5.4f64 * 5.4 + 0.8 * 0.8).sqrt();
    assert!(close(&v, [5.4 / length, 0.8 / length]), "{v}");
}

#[test]
fn a_spectrally_normalised_weight_has_a_largest_singular_value_of_one() {
    let values: Vec<f64> = (0..60).map(|i| ((i * 37) % 23) as f64 - 9.).collect();
    let weight = Tensor::from_vec(values, (3, 5, 4), &Device::Cpu).unwrap();
    for dim in 0..3 {
        let rows = weight.dims()[dim];
        let (u, v) = (wave(rows).unwrap(), wave(60 / rows).unwrap());
        let (u, v) = power_iteration(&weight, &u, &v, dim, 500, 1e-12).unwrap();
        let w = spectral_norm(&weight, &u, &v, dim).unwrap();
        // Iterating on the result finds its own largest value.
        let (u, v) = power_iteration(&w, &u, &v, dim, 500, 1e-12).unwrap();
        let again = spectral_norm(&w, &u, &v, dim).unwrap();
        for (a, b) in flat(&w).iter().zip(flat(&again)) {
            assert!((a - b).abs() < 1e-12, "{dim}: {a} and {b}");
        }
    }
}

#[test]
fn a_weight_of_zeros_keeps_its_vectors_finite() {
    let one = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let (u, v) = power_iteration(&zeros(&[2, 2]), &one, &one, 0, 1, 1e-12).unwrap();
    assert_eq!((flat(&u), flat(&v)), (vec![0.; 2], vec![0.; 2]));
}

#[test]
fn what_does_not_fit_is_named() {
    let t = zeros;
    let wrong = [
        (
            group_norm(&t(&[2, 6, 3]), 4, None, None, 1e-5),
            "6 channels got 4 groups",
        ),
        (group_norm(&t(&[2, 6, 3]), 0, None, None, 1e-5), "0 groups"),
        (group_norm(&t(&[6]), 2, None, None, 1e-5), "[6]"),
        (
            group_norm(&t(&[2, 6]), 2, Some(&t(&[3])), None, 1e-5),
            "weight [3]",
        ),
        (
            instance_norm(&t(&[2, 3, 1]), None, None, 1e-5),
            "2 or more values",
        ),
        (
            instance_norm(&t(&[2, 3, 2]), None, Some(&t(&[2])), 1e-5),
            "bias [2]",
        ),
        (layer_norm(&t(&[2, 3]), None, None, -1.), "got -1"),
        (layer_norm(&t(&[2, 3]), None, None, f64::NAN), "got NaN"),
        (
            layer_norm(&t(&[3]), Some(&t(&[2, 3])), None, 0.),
            "2 dimensions",
        ),
        (rms_norm(&t(&[2, 3]), Some(&t(&[])), 0.), "0 dimensions"),
        (
            add_layer_norm(&t(&[2, 3]), &t(&[3]), None, None, 0.),
            "residual of that shape, got [3]",
        ),
        (weight_norm(&t(&[2, 3]), &t(&[2]), Some(0)), "[2, 1]"),
        (
            weight_norm(&t(&[2, 3]), &t(&[2, 1]), Some(2)),
            "dimension 2",
        ),
        (spectral_norm(&t(&[2, 3]), &t(&[3]), &t(&[3]), 0), "2 × 3"),
        (
            spectral_norm(&t(&[2]), &t(&[2]), &t(&[1]), 0),
            "2 or more dimensions",
        ),
    ];
    for (result, wanted) in wrong {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error} lacks {wanted}");
        assert!(error.contains("norm"), "{error}");
    }
}

#[test]
fn the_composed_form_refuses_a_bad_eps_too() {
    let x = zeros(&[2, 3]);
    assert!(composed(|| layer_norm(&x, None, None, -1.)).is_err());
    assert!(composed(|| add_layer_norm(&x, &x, None, None, -1.)).is_err());
}

//! What the initialisations promise: moments, bounds, orthogonality, and bits.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Result, Tensor};
use dl_core::Params;
use dl_core::init::{self, Fan, Nonlinearity};

const SHAPES: [(&str, &[usize]); 4] = [
    ("conv.weight", &[48, 16, 3, 3]),
    ("fc.weight", &[70, 90]),
    ("tall.weight", &[90, 70]),
    ("wide.weight", &[3, 300]),
];

fn params(names: impl IntoIterator<Item = usize>) -> Params {
    let params = Params::new(11, &Device::Cpu);
    for i in names {
        params.vb().get(SHAPES[i].1, SHAPES[i].0).unwrap();
    }
    params
}

fn values(params: &Params, name: &str) -> Vec<f64> {
    let tensor = params.get(name).unwrap().to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Mean and standard deviation.
fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// Four standard errors of a normal sample: σ/√n of the mean, σ/√(2n) of the deviation.
fn assert_moments(x: &[f64], mean: f64, std: f64) {
    let (found_mean, found_std) = moments(x);
    let error = std / (x.len() as f64).sqrt();
    assert!(
        (found_mean - mean).abs() < 4. * error,
        "mean {found_mean}, wanted {mean}"
    );
    assert!(
        (found_std - std).abs() < 4. * error,
        "std {found_std}, wanted {std}"
    );
}

type Initialisation = (&'static str, fn(&Params, &str) -> Result<usize>);

const ALL: [Initialisation; 8] = [
    ("kaiming_uniform", |p, g| {
        init::kaiming_uniform(p, g, Fan::In, Nonlinearity::Relu)
    }),
    ("kaiming_normal", |p, g| {
        init::kaiming_normal(p, g, Fan::Out, Nonlinearity::Tanh)
    }),
    ("xavier_uniform", |p, g| init::xavier_uniform(p, g, 1.)),
    ("xavier_normal", |p, g| init::xavier_normal(p, g, 1.)),
    ("trunc_normal", |p, g| {
        init::trunc_normal(p, g, 0., 1., (-2., 2.))
    }),
    ("uniform", |p, g| init::uniform(p, g, -1., 1.)),
    ("normal", |p, g| init::normal(p, g, 0., 1.)),
    ("orthogonal", |p, g| init::orthogonal(p, g, 1.)),
];

#[test]
fn the_bits_depend_on_seed_and_name_and_not_on_order_or_threads() {
    for (name, apply) in ALL {
        let run = |threads, order: [usize; 4], patterns: &[&str]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let params = params(order);
                patterns
                    .iter()
                    .for_each(|p| assert!(apply(&params, p).unwrap() > 0));
                SHAPES.map(|(name, _)| values(&params, name))
            })
        };
        let one = run(1, [0, 1, 2, 3], &["*"]);
        assert_eq!(one, run(2, [3, 1, 0, 2], &["*"]), "{name}");
        assert_eq!(
            one,
            run(5, [2, 0, 3, 1], &["wide.*", "fc.*", "tall.*", "conv.*"]),
            "{name}"
        );
        // Once more: the same call gives the same values.
        assert_eq!(one, run(1, [0, 1, 2, 3], &["*", "*"]), "{name}");
        assert_ne!(one[1][..9], one[2][..9], "{name}");
    }
}

/// Fans of the convolution: 16·9 = 144 in, 48·9 = 432 out; of the dense layer 90 in, 70 out.
#[test]
fn variances_are_those_of_the_papers() {
    let cases: [(Initialisation, &str, f64); 6] = [
        (ALL[0], "conv.weight", (2. / 144f64).sqrt()),
        (ALL[0], "fc.weight", (2. / 90f64).sqrt()),
        (ALL[1], "conv.weight", 5. / 3. / 432f64.sqrt()),
        (ALL[1], "fc.weight", 5. / 3. / 70f64.sqrt()),
        (ALL[2], "conv.weight", (2. / 576f64).sqrt()),
        (ALL[3], "fc.weight", (2. / 160f64).sqrt()),
    ];
    for ((_, apply), name, std) in cases {
        let params = params(0..4);
        apply(&params, name).unwrap();
        assert_moments(&values(&params, name), 0., std);
    }
}

#[test]
fn uniform_values_fill_their_bounds_and_stay_inside() {
    let params = params(0..4);
    let slope = 5f64.sqrt();
    init::kaiming_uniform(&params, "fc.*", Fan::In, Nonlinearity::LeakyRelu(slope)).unwrap();
    // √(2/(1 + 5))·√(3/90) = 1/√90, PyTorch's default for a dense layer.
    let bound = 1. / 90f64.sqrt();
    let x = values(&params, "fc.weight");
    let largest = x.iter().fold(0f64, |m, x| m.max(x.abs()));
    assert!(largest <= bound * 1.000001 && largest > 0.99 * bound);
}

/// Moments of the truncated normal in closed form: with φ, Φ at the bounds (−1, 2),
/// mean = (φ(−1) − φ(2))/Z and variance = 1 + (−φ(−1) − 2φ(2))/Z − mean².
#[test]
fn the_truncated_normal_has_its_moments_also_far_in_a_tail() {
    let sample = |mean, std, bounds| {
        let params = Params::new(1, &Device::Cpu);
        params.vb().get(100_000, "w").unwrap();
        init::trunc_normal(&params, "w", mean, std, bounds).unwrap();
        let x = values(&params, "w");
        let (a, b) = bounds;
        assert!(
            x.iter()
                .all(|&x| a as f32 as f64 <= x && x <= b as f32 as f64)
        );
        x
    };
    let (phi_1, phi_2, z) = (
        0.241_970_724_519_143,
        0.053_990_966_513_188,
        0.818_594_614_120_364,
    );
    let mean: f64 = (phi_1 - phi_2) / z;
    let variance = 1. + (-phi_1 - 2. * phi_2) / z - mean * mean;
    assert_moments(&sample(0., 1., (-1., 2.)), mean, variance.sqrt());
    assert_moments(
        &sample(3., 0.5, (2.5, 4.)),
        3. + 0.5 * mean,
        0.5 * variance.sqrt(),
    );
    // Ten deviations out the tail is exponential with rate 10.098 and mean 10.0981 to first order
    // (Mills' ratio); both sides mirror each other.
    let right = sample(0., 1., (10., 20.));
    let left = sample(0., 1., (-20., -10.));
    assert!((moments(&right).0 - 10.0981).abs() < 0.002);
    assert!((moments(&left).0 + 10.0981).abs() < 0.002);
    assert!(right.iter().any(|x| *x > 10.5));
}

#[test]
fn orthogonal_matrices_have_orthonormal_rows_or_columns() {
    // Below, at and above the size of a panel, in f64 where the bound is that of rounding.
    for (rows, columns) in [(1, 1), (5, 7), (32, 32), (33, 100), (100, 33), (130, 130)] {
        let params = Params::new(2, &Device::Cpu);
        params
            .vb()
            .set_dtype(DType::F64)
            .get((rows, columns), "w")
            .unwrap();
        init::orthogonal(&params, "w", 3.).unwrap();
        let w = params.get("w").unwrap().as_tensor().clone();
        let w = if rows <= columns { w } else { w.t().unwrap() };
        let gram = w.matmul(&w.t().unwrap()).unwrap();
        let identity = Tensor::eye(rows.min(columns), DType::F64, &Device::Cpu).unwrap();
        let error = (gram - (identity * 9.).unwrap()).unwrap().abs().unwrap();
        let error = error
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f64>()
            .unwrap();
        assert!(error < 1e-13, "{rows}×{columns}: {error}");
    }
}

/// Q·Rᵀ of the QR decomposition is unique once R has a positive diagonal, which is PyTorch's rule:
/// A·Qᵀ is lower triangular with a positive diagonal for A = Rᵀ·Q, the matrix it was made from.
#[test]
fn orthogonal_signs_are_those_of_a_positive_triangle() {
    let params = Params::new(2, &Device::Cpu);
    params.vb().get((40, 50), "w").unwrap();
    init::normal(&params, "w", 0., 1.).unwrap();
    let a = params.get("w").unwrap().copy().unwrap();
    init::orthogonal(&params, "w", 1.).unwrap();
    let q = params.get("w").unwrap();
    let r = a.matmul(&q.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
    for (i, row) in r.iter().enumerate() {
        assert!(row[i] > 0.1, "{i}: {}", row[i]);
        assert!(row[i + 1..].iter().all(|x| x.abs() < 1e-4));
    }
}

#[test]
fn buffers_stay_and_errors_change_nothing() {
    let params = params(0..4);
    params.vb().pp("norm").get(3, "running_var").unwrap();
    params.vb().pp("zz").get(3, "bias").unwrap();
    init::constant(&params, "*", 7.).unwrap();
    assert_eq!(values(&params, "norm.running_var"), [0.; 3]);
    let error = init::xavier_normal(&params, "*", 1.)
        .unwrap_err()
        .to_string();
    assert!(error.contains("zz.bias"), "{error}");
    assert!(values(&params, "fc.weight").iter().all(|&x| x == 7.));
    let message = |e: Result<usize>| e.unwrap_err().to_string();
    assert!(message(init::zeros(&params, "fc.wieght")).contains("`fc.wieght`"));
    assert!(message(init::trunc_normal(&params, "*", 0., 1., (2., 1.))).contains("a 2, b 1"));
    assert!(message(init::trunc_normal(&params, "*", 0., 0., (0., 1.))).contains("std 0"));
    assert!(message(init::trunc_normal(&params, "*", 0., 1., (50., 51.))).contains("probability"));
    assert!(message(init::uniform(&params, "*", 1., 0.)).contains("low"));
    assert!(message(init::normal(&params, "*", 0., f64::NAN)).contains("NaN"));
    assert!(message(init::eye(&params, "zz.*")).contains("two dimensions"));
    assert!(message(init::dirac(&params, "conv.*", 5)).contains("5 groups"));
    assert!(message(init::orthogonal(&params, "zz.*", 1.)).contains("zz.bias"));
}

/// A dirac kernel is the identity of a convolution of the same channels, in every group.
#[test]
fn dirac_kernels_pass_images_through() {
    for groups in [1, 2] {
        let params = Params::new(0, &Device::Cpu);
        params.vb().get((4, 4 / groups, 3, 5), "w").unwrap();
        init::dirac(&params, "w", groups).unwrap();
        let x = Tensor::arange(0f32, 240., &Device::Cpu)
            .unwrap()
            .reshape((2, 4, 5, 6))
            .unwrap();
        let config = dl_autograd::Conv2dConfig {
            padding: dl_autograd::Padding2d {
                top: 1,
                bottom: 1,
                left: 2,
                right: 2,
            },
            groups,
            ..Default::default()
        };
        let y = dl_autograd::conv2d(&x, &params.get("w").unwrap(), None, &config).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&x), flat(&y));
    }
}

/// A sum over the bits of every initialisation, of shapes large enough for threads.
fn print_bits() {
    for (name, apply) in ALL {
        let params = Params::new(3, &Device::Cpu);
        params.vb().get((250, 300), "w").unwrap();
        apply(&params, "w").unwrap();
        let all = values(&params, "w");
        let bits = all.iter().fold(0u64, |sum, x| {
            sum.wrapping_mul(31).wrapping_add(x.to_bits())
        });
        println!("bits {name} {bits}");
    }
}

/// candle reads the number of its threads from the environment once, so each number is a process.
#[test]
fn processes_with_other_numbers_of_threads_give_the_same_bits() {
    if std::env::var_os("PRINT_BITS").is_some() {
        return print_bits();
    }
    let name = "processes_with_other_numbers_of_threads_give_the_same_bits";
    let run = |threads: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env("PRINT_BITS", "1")
            .env("RAYON_NUM_THREADS", threads)
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let bits = text.lines().filter_map(|line| line.split_once("bits "));
        bits.map(|(_, bits)| bits.to_string()).collect::<Vec<_>>()
    };
    let one = run("1");
    assert_eq!(one.len(), ALL.len(), "{one:?}");
    assert_eq!(one, run("2"));
    assert_eq!(one, run("5"));
}

/// The values that `torch.nn.init.calculate_gain` documents.
#[test]
fn gains_are_those_of_pytorch() {
    for (nonlinearity, gain) in [
        (Nonlinearity::Linear, 1.),
        (Nonlinearity::Sigmoid, 1.),
        (Nonlinearity::Tanh, 5. / 3.),
        (Nonlinearity::Relu, 2f64.sqrt()),
        (Nonlinearity::LeakyRelu(0.01), (2f64 / (1. + 1e-4)).sqrt()),
        (Nonlinearity::Selu, 0.75),
    ] {
        assert_eq!(nonlinearity.gain(), gain, "{nonlinearity:?}");
    }
}

//! A convolution of a batch-normalised image: channel by channel, dense, and as two ops.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    Activation, Conv2dConfig, Padding2d, Prologue, Tape, backward, batch_norm, batch_norm_conv2d,
    batch_norm_with, conv2d, mul, sum,
};

use crate::case::{Case, case, inputs};

const EPS: f64 = 1e-3;

fn depthwise(channels: usize) -> Conv2dConfig {
    Conv2dConfig {
        padding: 1.into(),
        groups: channels,
        ..Default::default()
    }
}

/// Of x, scale, shift, weights and perhaps a bias.
fn of_batch(t: &[Tensor], activation: Activation, config: &Conv2dConfig) -> Result<Tensor> {
    let norm = Prologue {
        gamma: &t[1],
        beta: &t[2],
        eps: EPS,
        activation,
        statistics: None,
    };
    Ok(batch_norm_conv2d(&t[0], &norm, &t[3], t.get(4), config)?.0)
}

fn statistics(like: &Tensor) -> Result<(Tensor, Tensor)> {
    let channels = like.dim(1)?;
    let mean = Tensor::arange(0u32, channels as u32, &Device::Cpu)?.to_dtype(like.dtype())?;
    let mean = mean.affine(0.1, -0.2)?;
    Ok((mean.clone(), mean.affine(1., 1.)?))
}

/// By given statistics.
fn with(t: &[Tensor], activation: Activation, config: &Conv2dConfig) -> Result<Tensor> {
    let (mean, variance) = statistics(&t[0])?;
    let norm = Prologue {
        gamma: &t[1],
        beta: &t[2],
        eps: EPS,
        activation,
        statistics: Some((&mean, &variance)),
    };
    let (y, batch) = batch_norm_conv2d(&t[0], &norm, &t[3], t.get(4), config)?;
    assert!(batch.is_none());
    Ok(y)
}

/// A name, the image, the kernel's size and how it slides.
type Depthwise = (&'static str, [usize; 4], (usize, usize), Conv2dConfig);

/// Strides 1, 2 and 3, planes of less than a vector and of several, padding on some sides.
fn geometries() -> Vec<Depthwise> {
    let stride = |s| Conv2dConfig {
        stride: (s, s),
        ..depthwise(3)
    };
    let odd = Conv2dConfig {
        stride: (1, 3),
        padding: Padding2d {
            top: 1,
            bottom: 0,
            left: 0,
            right: 2,
        },
        dilation: (2, 1),
        groups: 3,
    };
    vec![
        ("batch_norm_conv2d", [2, 3, 5, 6], (3, 3), stride(1)),
        (
            "batch_norm_conv2d stride 2",
            [3, 3, 7, 9],
            (3, 3),
            stride(2),
        ),
        (
            "batch_norm_conv2d of any geometry",
            [2, 3, 9, 8],
            (2, 4),
            odd,
        ),
        ("batch_norm_conv2d wide", [2, 3, 4, 70], (3, 3), stride(1)),
    ]
}

/// A stride, groups; 1×1 on planes of a few pixels, of several tiles and of many, some of them together.
fn dense() -> Vec<Case> {
    let groups = |groups| Conv2dConfig {
        groups,
        ..Default::default()
    };
    let strided = Conv2dConfig {
        stride: (2, 2),
        padding: 1.into(),
        ..groups(2)
    };
    let of = |name, x: [usize; 4], w: [usize; 4], config: Conv2dConfig| {
        let shapes: [&[usize]; 4] = [&x, &[x[1]], &[x[1]], &w];
        case(name, &shapes, move |t| {
            of_batch(t, Activation::Relu6, &config)
        })
    };
    vec![
        of(
            "batch_norm_conv2d, strided",
            [2, 4, 7, 6],
            [6, 2, 3, 3],
            strided,
        ),
        of(
            "batch_norm_conv2d, 1×1",
            [5, 3, 3, 3],
            [4, 3, 1, 1],
            groups(1),
        ),
        of(
            "batch_norm_conv2d, 1×1 grouped",
            [2, 4, 8, 7],
            [6, 2, 1, 1],
            groups(2),
        ),
        of(
            "batch_norm_conv2d, 1×1 large",
            [2, 2, 21, 20],
            [3, 2, 1, 1],
            groups(1),
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    let one_op = geometries().into_iter().map(|(name, x, kernel, config)| {
        let shapes: [&[usize]; 4] = [&x, &[3], &[3], &[3, 1, kernel.0, kernel.1]];
        case(name, &shapes, move |t| {
            of_batch(t, Activation::Relu6, &config)
        })
    });
    let mut cases: Vec<_> = one_op.collect();
    let image: [&[usize]; 4] = [&[2, 3, 5, 6], &[3], &[3], &[3, 1, 3, 3]];
    cases.push(case("batch_norm_conv2d, given", &image, |t| {
        with(t, Activation::Relu, &depthwise(3))
    }));
    let biased: [&[usize]; 5] = [&[2, 3, 5, 6], &[3], &[3], &[4, 3, 3, 3], &[4]];
    cases.push(case("batch_norm_conv2d, dense with bias", &biased, |t| {
        of_batch(t, Activation::Identity, &Conv2dConfig::default())
    }));
    let pointwise: [&[usize]; 4] = [&[3, 3, 5, 6], &[3], &[3], &[5, 3, 1, 1]];
    cases.push(case("batch_norm_conv2d, 1×1 given", &pointwise, |t| {
        with(t, Activation::Relu, &Conv2dConfig::default())
    }));
    cases.extend(dense());
    cases
}

/// The op and the two ops that it stands for.
type Pair = (
    fn(&[Tensor], Activation, &Conv2dConfig) -> Result<Tensor>,
    fn(&[Tensor], Activation, &Conv2dConfig) -> Result<Tensor>,
);

fn pairs() -> [Pair; 2] {
    let apart: fn(&[Tensor], Activation, &Conv2dConfig) -> Result<Tensor> = |t, activation, c| {
        let (y, _) = batch_norm(&t[0], &t[1], &t[2], EPS, activation)?;
        conv2d(&y, &t[3], None, c)
    };
    let given: fn(&[Tensor], Activation, &Conv2dConfig) -> Result<Tensor> = |t, activation, c| {
        let (mean, variance) = statistics(&t[0])?;
        let y = batch_norm_with(&t[0], &t[1], &t[2], &mean, &variance, EPS, activation)?;
        conv2d(&y, &t[3], None, c)
    };
    [(of_batch, apart), (with, given)]
}

/// The result and all gradients of its product with an irregular factor.
fn bits(vars: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<u64>> {
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let _tape = Tape::new();
    let y = f(&tensors).unwrap();
    let factor = (y.detach().sin().unwrap() + 0.5).unwrap();
    let grads = backward(&sum(&mul(&y, &factor).unwrap()).unwrap()).unwrap();
    let bits = |t: &Tensor| {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        let values = t.to_vec1::<f64>().unwrap();
        values.into_iter().map(f64::to_bits).collect()
    };
    let mut all = vec![bits(&y)];
    all.extend(vars.iter().map(|v| bits(grads.get(v).unwrap())));
    all
}

#[test]
fn a_depthwise_one_has_the_bits_of_two_ops() {
    for (name, x, kernel, config) in geometries() {
        let shapes: [&[usize]; 4] = [&x, &[3], &[3], &[3, 1, kernel.0, kernel.1]];
        let case = case(name, &shapes, |t| Ok(t[0].clone()));
        for dtype in [DType::F32, DType::F64] {
            let vars = inputs(&case, dtype);
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                for (together, apart) in pairs() {
                    let ours = bits(&vars, |t| together(t, activation, &config));
                    let theirs = bits(&vars, |t| apart(t, activation, &config));
                    assert_eq!(ours, theirs, "{name} in {dtype:?}, {activation:?}");
                }
            }
        }
    }
}

#[test]
fn the_statistics_are_those_of_the_norm() {
    let case = case("", &[&[2, 3, 5, 6], &[3], &[3], &[3, 1, 3, 3]], |t| {
        Ok(t[0].clone())
    });
    let vars = inputs(&case, DType::F32);
    let t: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let norm = Prologue {
        gamma: &t[1],
        beta: &t[2],
        eps: EPS,
        activation: Activation::Relu,
        statistics: None,
    };
    let (_, ours) = batch_norm_conv2d(&t[0], &norm, &t[3], None, &depthwise(3)).unwrap();
    let (_, theirs) = batch_norm(&t[0], &t[1], &t[2], EPS, Activation::Relu).unwrap();
    let ours = ours.unwrap();
    assert_eq!(ours.count, theirs.count);
    for (ours, theirs) in [(ours.mean, theirs.mean), (ours.variance, theirs.variance)] {
        assert_eq!(
            ours.to_vec1::<f32>().unwrap(),
            theirs.to_vec1::<f32>().unwrap()
        );
    }
}

/// Frozen operands get no gradient, and the others get the same as when nothing is frozen.
#[test]
fn only_what_is_tracked_has_a_gradient() {
    let shapes: [&[usize]; 4] = [&[2, 3, 5, 6], &[3], &[3], &[3, 1, 3, 3]];
    let case = case("", &shapes, |t| Ok(t[0].clone()));
    let vars = inputs(&case, DType::F64);
    let gradients = |tracked: &dyn Fn(usize) -> bool| {
        let pick = |(i, v): (usize, &Var)| match tracked(i) {
            true => v.as_tensor().clone(),
            false => v.as_detached_tensor(),
        };
        let t: Vec<Tensor> = vars.iter().enumerate().map(pick).collect();
        let y = of_batch(&t, Activation::Relu, &depthwise(3)).unwrap();
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |v: &Var| {
            let grad = grads.get(v)?.flatten_all().unwrap();
            Some(grad.to_vec1::<f64>().unwrap())
        };
        vars.iter().map(flat).collect::<Vec<_>>()
    };
    let all = gradients(&|_| true);
    for mask in 1..16usize {
        let tracked = |i: usize| mask >> i & 1 == 1;
        for (i, (some, all)) in gradients(&tracked).iter().zip(&all).enumerate() {
            let wanted = if tracked(i) { all.clone() } else { None };
            assert_eq!(*some, wanted, "operand {i} of {mask:04b}");
        }
    }
}

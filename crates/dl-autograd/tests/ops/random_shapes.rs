//! Kernels against their composed forms over random shapes and options.

use candle_core::{DType, Result, Tensor};
use dl_autograd::{
    Activation, Conv2dConfig, Padding2d, batch_norm, composed, conv2d, group_norm, layer_norm,
    linear, log_softmax, matmul, rms_norm, softmax, weight_norm,
};
use proptest::prelude::*;

use crate::case::{case, inputs};
use crate::value_and_gradients;

/// Both forms add the same products in f64 in another order: a few thousand terms at most.
fn agree(shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) {
    let case = case("random", shapes, op);
    let vars = inputs(&case, DType::F64);
    let ours = value_and_gradients(&case, &vars);
    let theirs = composed(|| value_and_gradients(&case, &vars));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.len(), theirs.len(), "{shapes:?}");
        let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= 1e-9 * scale, "{shapes:?}: {a} and {b}");
        }
    }
}

fn pair(range: std::ops::Range<usize>) -> impl Strategy<Value = (usize, usize)> {
    (range.clone(), range)
}

fn padding() -> impl Strategy<Value = Padding2d> {
    (0..3usize, 0..3usize, 0..3usize, 0..3usize).prop_map(|(top, bottom, left, right)| Padding2d {
        top,
        bottom,
        left,
        right,
    })
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::Relu6)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn conv2d_of_any_geometry(
        batch in 1..4usize,
        groups in 1..4usize,
        (c_in, c_out) in pair(1..4),
        image in pair(1..20),
        kernel in pair(1..6),
        stride in pair(1..4),
        dilation in pair(1..3),
        padding in padding(),
    ) {
        let config = Conv2dConfig { stride, padding, dilation, groups };
        let reach = |k: usize, d: usize| d * (k - 1) + 1;
        prop_assume!(reach(kernel.0, dilation.0) <= image.0 + padding.top + padding.bottom);
        prop_assume!(reach(kernel.1, dilation.1) <= image.1 + padding.left + padding.right);
        let x = [batch, c_in * groups, image.0, image.1];
        let w = [c_out * groups, c_in, kernel.0, kernel.1];
        agree(&[&x, &w, &[w[0]]], move |t| conv2d(&t[0], &t[1], Some(&t[2]), &config));
    }

    #[test]
    fn depthwise_of_any_geometry(
        batch in 1..4usize,
        channels in 2..7usize,
        image in pair(5..40),
        kernel in pair(1..6),
        stride in pair(1..4),
        padding in padding(),
    ) {
        let config = Conv2dConfig { stride, padding, groups: channels, ..Default::default() };
        let x = [batch, channels, image.0, image.1];
        let w = [channels, 1, kernel.0, kernel.1];
        agree(&[&x, &w], move |t| conv2d(&t[0], &t[1], None, &config));
    }

    #[test]
    fn linear_of_any_size(rows in 1..70usize, inputs in 1..70usize, outputs in 1..70usize) {
        agree(&[&[rows, inputs], &[outputs, inputs], &[outputs]], |t| {
            linear(&t[0], &t[1], Some(&t[2]))
        });
    }

    #[test]
    fn matmul_of_any_broadcast(
        dims in proptest::collection::vec((1..4usize, 0..3u8), 0..3),
        (m, n) in pair(1..12),
        k in 1..12usize,
    ) {
        // Each batch dimension is full on both sides, or one on the left, or one on the right.
        let side = |which: u8, last: [usize; 2]| -> Vec<usize> {
            let batch = dims.iter().map(|&(d, one)| if one == which { 1 } else { d });
            batch.chain(last).collect()
        };
        agree(&[&side(1, [m, k]), &side(2, [k, n])], |t| matmul(&t[0], &t[1]));
    }

    #[test]
    fn batch_norm_of_any_shape(
        batch in 2..6usize,
        channels in 1..9usize,
        plane in 1..40usize,
        activation in activation(),
    ) {
        agree(&[&[batch, channels, plane], &[channels], &[channels]], move |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, activation)?.0)
        });
    }

    #[test]
    fn group_norm_of_any_shape(
        batch in 1..6usize,
        groups in 1..5usize,
        channels in 1..5usize,
        plane in 1..70usize,
    ) {
        // A row of one value has no gradient but rounding.
        prop_assume!(channels * plane > 1);
        let c = groups * channels;
        agree(&[&[batch, c, plane], &[c], &[c]], move |t| {
            group_norm(&t[0], groups, Some(&t[1]), Some(&t[2]), 1e-3)
        });
    }

    #[test]
    fn weight_norm_of_any_shape(shape in proptest::collection::vec(1..8usize, 1..5), dim in 0..4usize) {
        prop_assume!(dim < shape.len());
        let mut g = vec![1; shape.len()];
        g[dim] = shape[dim];
        agree(&[&shape, &g], move |t| weight_norm(&t[0], &t[1], Some(dim)));
    }

    #[test]
    fn rows_of_any_length(rows in 1..70usize, dim in 1..70usize) {
        agree(&[&[rows, dim], &[dim], &[dim]], |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-3));
        agree(&[&[rows, dim], &[dim]], |t| rms_norm(&t[0], Some(&t[1]), 1e-3));
        agree(&[&[rows, dim]], |t| softmax(&t[0], 1));
        agree(&[&[rows, dim]], |t| log_softmax(&t[0], 0));
    }
}

//! Kernels against their composed forms over random shapes and options.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    Activation, AttentionOptions, AvgPool2dConfig, Causal, Conv1dConfig, Conv2dConfig,
    ConvTranspose2dConfig, CrossEntropyOptions, Direction, Epilogue, Interpolation,
    MaxPool2dConfig, PadMode, Padding2d, Prologue, Purpose, RecurrentWeights, Reduction, Rng,
    adaptive_avg_pool2d, adaptive_max_pool2d, add_layer_norm, avg_pool2d, batch_norm,
    batch_norm_conv2d, cat, composed, conv_transpose2d, conv1d, conv2d, cross_entropy, cumsum,
    dropout, dropout_channels, embedding, global_avg_pool, gradcheck, group_norm, gru, interpolate,
    layer_norm, linear, linear_with, log_softmax, lstm, matmul, max, max_pool2d, min, pad,
    pixel_shuffle, pixel_unshuffle, prelu, rms_norm, rope, rope_frequencies, rope_interleaved,
    scale, scale_channels, scaled_dot_product_attention, scatter, scatter_add, softmax, split,
    transpose, weight_norm,
};
use proptest::prelude::*;

use crate::case::{Case, case, inputs};
use crate::value_and_gradients;

fn compare(case: &Case, dtype: DType, tolerance: f64) {
    let vars = inputs(case, dtype);
    let ours = value_and_gradients(case, &vars);
    let theirs = composed(|| value_and_gradients(case, &vars));
    // Of all that is computed: a gradient that cancels to nothing, as that of attention's scores where
    // there is one key, keeps the roundings of its terms.
    let scale = theirs.iter().flatten().fold(1f64, |m, x| m.max(x.abs()));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.len(), theirs.len(), "{:?}", case.1);
        for (a, b) in ours.iter().zip(theirs) {
            let close = (a - b).abs() <= tolerance * scale;
            assert!(close, "{:?} in {dtype:?}: {a} and {b}", case.1);
        }
    }
}

/// Both forms add the same products in f64 in another order: a few thousand terms at most.
fn agree(shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) {
    compare(&case("random", shapes, op), DType::F64, 1e-9);
}

/// Where no small deviation magnifies errors also in f32, whose vectors are twice as wide.
fn agree_in_both(shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) {
    let case = case("random", shapes, op);
    compare(&case, DType::F64, 1e-9);
    compare(&case, DType::F32, 2e-5);
}

/// For ops that have one form: central differences.
fn check(shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) {
    let case = case("random", shapes, op);
    gradcheck(&inputs(&case, DType::F64), &case.2, 1e-7).unwrap();
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
        agree_in_both(&[&x, &w, &[w[0]]], move |t| conv2d(&t[0], &t[1], Some(&t[2]), &config));
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
        agree_in_both(&[&x, &w], move |t| conv2d(&t[0], &t[1], None, &config));
    }

    #[test]
    fn linear_of_any_size(rows in 1..70usize, inputs in 1..70usize, outputs in 1..70usize) {
        let shapes: [&[usize]; 3] = [&[rows, inputs], &[outputs, inputs], &[outputs]];
        agree_in_both(&shapes, |t| linear(&t[0], &t[1], Some(&t[2])));
        agree_in_both(&shapes, |t| linear_with(&t[0], &t[1], Some(&t[2]), Activation::Relu));
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
        agree_in_both(&[&side(1, [m, k]), &side(2, [k, n])], |t| matmul(&t[0], &t[1]));
    }

    #[test]
    fn batch_norm_of_any_shape(
        batch in 2..6usize,
        channels in 1..9usize,
        plane in 1..40usize,
        activation in activation(),
    ) {
        let x = [batch, channels, plane];
        agree(&[&x, &[channels], &[channels]], move |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, activation)?.0)
        });
        agree(&[&x, &[channels], &[channels], &x], move |t| {
            let end = Epilogue { residual: Some(&t[3]), activation };
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, end)?.0)
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
        agree(&[&[rows, dim], &[rows, dim], &[dim]], |t| {
            add_layer_norm(&t[0], &t[1], Some(&t[2]), None, 1e-3)
        });
    }

    #[test]
    fn any_dimension_of_any_shape(
        shape in proptest::collection::vec(1..8usize, 1..5),
        dim in 0..4usize,
        p in 0f64..1.,
    ) {
        prop_assume!(dim < shape.len());
        let rng = Rng::new(1, Purpose::Dropout, 2);
        agree_in_both(&[&shape], move |t| softmax(&t[0], dim));
        agree_in_both(&[&shape], move |t| log_softmax(&t[0], dim));
        agree_in_both(&[&shape], move |t| cumsum(&t[0], dim));
        agree_in_both(&[&shape], move |t| Ok(max(&t[0], dim)?.0));
        agree_in_both(&[&shape], move |t| Ok(min(&t[0], dim)?.0));
        agree_in_both(&[&shape], move |t| dropout(&t[0], p, rng));
        if let [n, c, rest @ ..] = shape.as_slice() {
            agree_in_both(&[&shape, &[*n, *c]], |t| scale_channels(&t[0], &t[1]));
            agree_in_both(&[&shape, &[*c]], |t| prelu(&t[0], &t[1]));
            if !rest.is_empty() {
                agree_in_both(&[&shape], move |t| dropout_channels(&t[0], p, rng));
            }
        }
    }

    #[test]
    fn conv1d_of_any_geometry(
        (batch, groups) in (1..4usize, 1..4usize),
        (c_in, c_out) in pair(1..4),
        length in 1..60usize,
        (kernel, stride, dilation) in (1..6usize, 1..4usize, 1..3usize),
        padding in pair(0..4),
    ) {
        prop_assume!(dilation * (kernel - 1) < length + padding.0 + padding.1);
        let config = Conv1dConfig { stride, padding, dilation, groups };
        let w = [c_out * groups, c_in, kernel];
        agree_in_both(&[&[batch, c_in * groups, length], &w, &[w[0]]], move |t| {
            conv1d(&t[0], &t[1], Some(&t[2]), &config)
        });
    }

    #[test]
    fn conv_transpose2d_of_any_geometry(
        (batch, groups) in (1..3usize, 1..4usize),
        (c_in, c_out) in pair(1..4),
        image in pair(1..9),
        kernel in pair(1..5),
        stride in pair(1..4),
        dilation in pair(1..3),
        padding in padding(),
        (more_rows, more_columns) in pair(0..3),
    ) {
        // Less than the stride or the dilation.
        let output_padding = (
            more_rows.min(stride.0.max(dilation.0) - 1),
            more_columns.min(stride.1.max(dilation.1) - 1),
        );
        let grown = |n: usize, s, k, d, more| (n - 1) * s + d * (k - 1) + more + 1;
        let rows = grown(image.0, stride.0, kernel.0, dilation.0, output_padding.0);
        let columns = grown(image.1, stride.1, kernel.1, dilation.1, output_padding.1);
        prop_assume!(padding.top + padding.bottom < rows && padding.left + padding.right < columns);
        let config = ConvTranspose2dConfig { stride, padding, output_padding, dilation, groups };
        let x = [batch, c_in * groups, image.0, image.1];
        let w = [c_in * groups, c_out, kernel.0, kernel.1];
        agree_in_both(&[&x, &w, &[c_out * groups]], move |t| {
            conv_transpose2d(&t[0], &t[1], Some(&t[2]), &config)
        });
    }

    #[test]
    fn pools_of_any_geometry(
        shape in (1..3usize, 1..4usize, 1..15usize, 1..40usize),
        kernel in pair(1..5),
        stride in pair(1..4),
        dilation in pair(1..3),
        (padding_rows, padding_columns) in pair(0..3),
        (ceil_mode, count_include_pad) in (any::<bool>(), any::<bool>()),
        size in pair(1..9),
    ) {
        let x = [shape.0, shape.1, shape.2, shape.3];
        let padding = (padding_rows.min(kernel.0 / 2), padding_columns.min(kernel.1 / 2));
        let stride = Some(stride);
        let max = MaxPool2dConfig { kernel, stride, padding, dilation, ceil_mode };
        let mean = AvgPool2dConfig {
            kernel,
            stride,
            padding,
            ceil_mode,
            count_include_pad,
            divisor_override: None,
        };
        let zeros = Tensor::zeros(&x, DType::F32, &Device::Cpu).unwrap();
        // Windows that do not fit are an error of both forms.
        prop_assert_eq!(max_pool2d(&zeros, &max).is_ok(), composed(|| max_pool2d(&zeros, &max)).is_ok());
        if max_pool2d(&zeros, &max).is_ok() {
            agree_in_both(&[&x], move |t| max_pool2d(&t[0], &max));
        }
        if avg_pool2d(&zeros, &mean).is_ok() {
            agree_in_both(&[&x], move |t| avg_pool2d(&t[0], &mean));
        }
        agree_in_both(&[&x], move |t| adaptive_max_pool2d(&t[0], size));
        agree_in_both(&[&x], move |t| adaptive_avg_pool2d(&t[0], size));
        agree_in_both(&[&x], |t| global_avg_pool(&t[0]));
    }

    #[test]
    fn attention_of_any_shape(
        (b, h_kv, group) in (1..3usize, 1..3usize, 1..4usize),
        (t, s) in pair(1..40),
        (d, d_v) in pair(1..20),
        causal in prop_oneof![
            Just(Causal::No),
            Just(Causal::TopLeft),
            Just(Causal::BottomRight)
        ],
        (masked, p) in (any::<bool>(), 0f64..0.8),
        transposed in any::<bool>(),
    ) {
        let hidden: Vec<u8> = (0..b * s).map(|i| u8::from(i % 5 != 2)).collect();
        let hidden = Tensor::from_vec(hidden, (b, 1, 1, s), &Device::Cpu).unwrap();
        let options = AttentionOptions {
            mask: masked.then_some(hidden),
            causal,
            dropout: Some((p, Rng::new(1, Purpose::Dropout, 2))),
            scale: None,
        };
        // Heads before or behind positions in memory.
        let shape = |h: usize, n: usize, d: usize| if transposed { [b, n, h, d] } else { [b, h, n, d] };
        let heads = move |x: &Tensor| if transposed { transpose(x, 1, 2) } else { Ok(x.clone()) };
        let (q, k, v) = (shape(h_kv * group, t, d), shape(h_kv, s, d), shape(h_kv, s, d_v));
        agree_in_both(&[&q, &k, &v], move |x| {
            let [q, k, v] = [heads(&x[0])?, heads(&x[1])?, heads(&x[2])?];
            scaled_dot_product_attention(&q, &k, &v, &options)
        });
    }

    #[test]
    fn rope_of_any_shape(
        (b, h, t) in (1..3usize, 1..4usize, 1..20usize),
        (half, rest) in (0..10usize, 0..5usize),
    ) {
        let x = [b, h, t, 2 * half + rest];
        prop_assume!(x[3] > 0);
        for op in [rope, rope_interleaved] {
            agree(&[&x], move |x| {
                let (cos, sin) = rope_frequencies(2 * half, t, 100.)?;
                op(&x[0], &cos, &sin)
            });
        }
    }

    #[test]
    fn recurrences_of_any_shape(
        (batch, time, inputs, hidden) in (1..20usize, 1..6usize, 1..9usize, 1..20usize),
        (ragged, reverse, bias) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let lengths = ragged.then(|| (0..batch).map(|i| i * 7 % time + 1).collect::<Vec<_>>());
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        for gates in [4, 3] {
            let (width, lengths) = (gates * hidden, lengths.clone());
            let shapes: [&[usize]; 5] = [
                &[batch, time, inputs],
                &[width, inputs],
                &[width, hidden],
                &[width],
                &[width],
            ];
            agree_in_both(&shapes[..if bias { 5 } else { 3 }], move |t| {
                let weights = RecurrentWeights {
                    weight_ih: t[1].clone(),
                    weight_hh: t[2].clone(),
                    bias: t.get(3).map(|b| [b.clone(), t[4].clone()]),
                };
                let lengths = lengths.as_deref();
                match gates {
                    4 => Ok(lstm(&t[0], None, &weights, lengths, direction)?.0),
                    _ => Ok(gru(&t[0], None, &weights, lengths, direction)?.0),
                }
            });
        }
    }

    #[test]
    fn embedding_of_any_ids(
        (rows, dim) in (1..30usize, 1..20usize),
        ids in proptest::collection::vec(0..30u32, 1..50),
        padding in proptest::option::of(0..30usize),
    ) {
        let ids: Vec<u32> = ids.into_iter().map(|id| id % rows as u32).collect();
        let padding = padding.map(|row| row % rows);
        agree_in_both(&[&[rows, dim]], move |t| {
            embedding(&t[0], &Tensor::new(ids.as_slice(), &Device::Cpu)?, padding)
        });
    }

    #[test]
    fn interpolation_to_any_size(
        shape in (1..3usize, 1..4usize, 1..12usize, 1..12usize),
        size in pair(1..25),
        align_corners in any::<bool>(),
    ) {
        use Interpolation as I;
        let x = [shape.0, shape.1, shape.2, shape.3];
        let signal = [shape.0, shape.1, shape.2];
        for mode in [
            I::Nearest,
            I::NearestExact,
            I::Linear { align_corners },
            I::Cubic { align_corners },
            I::Area,
        ] {
            agree_in_both(&[&x], move |t| interpolate(&t[0], &[size.0, size.1], mode));
            if !matches!(mode, I::Cubic { .. }) {
                agree_in_both(&[&signal], move |t| interpolate(&t[0], &[size.0], mode));
            }
        }
    }

    #[test]
    fn padding_of_any_sides(
        shape in (1..3usize, 1..4usize, 2..7usize, 2..7usize),
        rows in (0..6isize, 0..6isize),
        columns in (0..6isize, 0..6isize),
        cut in any::<bool>(),
    ) {
        let x = [shape.0, shape.1, shape.2, shape.3];
        let cut = isize::from(cut);
        for (mode, beyond) in [
            (PadMode::Constant(0.5), 9),
            (PadMode::Replicate, 9),
            (PadMode::Circular, 0),
            (PadMode::Reflect, -1),
        ] {
            // As far as the mode can fill from what is left of the dimension.
            let of = |(a, b): (isize, isize), n: usize| {
                let most = n as isize - cut + beyond;
                (a.min(most), if cut == 1 { -1 } else { b.min(most) })
            };
            let sides = [of(columns, x[3]), of(rows, x[2])];
            agree_in_both(&[&x], move |t| pad(&t[0], &sides, mode));
        }
    }

    #[test]
    fn pixels_shuffled_by_any_factor(
        (n, c, factor) in (1..3usize, 1..4usize, 1..4usize),
        (h, w) in pair(1..6),
    ) {
        let (deep, wide) = ([n, c * factor * factor, h, w], [n, c, h * factor, w * factor]);
        agree_in_both(&[&deep], move |t| pixel_shuffle(&t[0], factor));
        agree_in_both(&[&wide], move |t| pixel_unshuffle(&t[0], factor));
    }

    #[test]
    fn cross_entropy_of_any_shape(
        (n, classes, plane) in (1..9usize, 1..40usize, 1..5usize),
        (weighted, smoothing) in (any::<bool>(), 0f64..1.),
        reduction in prop_oneof![Just(Reduction::Mean), Just(Reduction::Sum), Just(Reduction::None)],
    ) {
        let options = move |z: &Tensor| -> Result<_> {
            let weights = Tensor::arange(1u32, classes as u32 + 1, &Device::Cpu)?;
            Ok(CrossEntropyOptions {
                weight: weighted.then(|| weights.to_dtype(z.dtype())? / 7.).transpose()?,
                label_smoothing: smoothing,
                ignore_index: -100,
            })
        };
        let shape = [n, classes, plane];
        agree_in_both(&[&shape], move |t| {
            let class = (0..n * plane).map(|i| (i * 5 % classes) as u32).collect();
            let class = Tensor::from_vec(class, (n, plane), &Device::Cpu)?;
            cross_entropy(&t[0], &class, &options(&t[0])?, reduction)
        });
        agree_in_both(&[&shape, &shape], move |t| {
            cross_entropy(&t[0], &softmax(&t[1], 1)?, &options(&t[0])?, reduction)
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// As many channels and pixels as fill the tiles of the direct kernels, and some more.
    #[test]
    fn conv2d_of_many_channels(
        (c_in, c_out) in pair(1..40),
        image in pair(1..40),
        kernel in pair(1..4),
        stride in pair(1..3),
        padding in padding(),
    ) {
        prop_assume!(kernel.0 <= image.0 && kernel.1 <= image.1);
        let config = Conv2dConfig { stride, padding, ..Default::default() };
        let (x, w) = ([2, c_in, image.0, image.1], [c_out, c_in, kernel.0, kernel.1]);
        agree_in_both(&[&x, &w], move |t| conv2d(&t[0], &t[1], None, &config));
    }

    /// Planes of several blocks and spans, of whole pages and of odd lengths.
    #[test]
    fn pointwise_on_large_planes(
        batch in 1..4usize,
        groups in 1..3usize,
        (c_in, c_out) in pair(1..20),
        image in prop_oneof![Just((32, 32)), pair(21..50)],
    ) {
        let config = Conv2dConfig { groups, ..Default::default() };
        let x = [batch, c_in * groups, image.0, image.1];
        let w = [c_out * groups, c_in, 1, 1];
        agree_in_both(&[&x, &w], move |t| conv2d(&t[0], &t[1], None, &config));
        let normed = move |t: &[Tensor], activation| {
            let norm = Prologue {
                gamma: &t[2],
                beta: &t[3],
                eps: 1e-3,
                activation,
                statistics: None,
            };
            Ok(batch_norm_conv2d(&t[0], &norm, &t[1], None, &config)?.0)
        };
        let shapes: [&[usize]; 4] = [&x, &w, &[x[1]], &[x[1]]];
        agree_in_both(&shapes, move |t| normed(t, Activation::Identity));
        // In f32 a rounding could take a value over a kink.
        agree(&shapes, move |t| normed(t, Activation::Relu6));
    }

    /// candle does the writing, so there is one form only.
    #[test]
    fn writing_at_any_index(
        shape in proptest::collection::vec(1..5usize, 1..4),
        (dim, count, step) in (0..3usize, 1..5usize, 1..5usize),
    ) {
        prop_assume!(dim < shape.len());
        let (size, mut source) = (shape[dim], shape.clone());
        source[dim] = count;
        let total: usize = source.iter().product();
        let index: Vec<u32> = (0..total).map(|i| (i * step % size) as u32).collect();
        let index = Tensor::from_vec(index, source.as_slice(), &Device::Cpu).unwrap();
        let again = index.clone();
        check(&[&shape, &source], move |t| scatter(&t[0], dim, &index, &t[1]));
        check(&[&shape, &source], move |t| scatter_add(&t[0], dim, &again, &t[1]));
    }

    #[test]
    fn slices_of_any_sizes(
        sizes in proptest::collection::vec(0..4usize, 1..5),
        (before, after) in pair(1..4),
    ) {
        let whole: usize = sizes.iter().sum();
        prop_assume!(whole > 0);
        check(&[&[before, whole, after]], move |t| {
            let parts = split(&t[0], &sizes, 1)?;
            let scaled = parts.iter().enumerate().map(|(i, part)| scale(part, i as f64 - 1.5));
            let scaled = scaled.collect::<Result<Vec<_>>>()?;
            cat(&scaled.iter().rev().collect::<Vec<_>>(), 1)
        });
    }
}

//! Attention, rotary positions, linear biases.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    AttentionOptions, Causal, Purpose, Rng, RngScope, Tape, alibi_bias, alibi_slopes, backward,
    checkpoint, composed, grad_with_graph, linear, narrow, next_rng, reshape, rope,
    rope_frequencies, rope_interleaved, scaled_dot_product_attention, sum, transpose,
};

use crate::case::{Case, case, inputs};

/// `(b·h, n, d)` as `(b, h, n, d)`.
fn heads(x: &Tensor, h: usize) -> Result<Tensor> {
    let (_, n, d) = x.dims3()?;
    reshape(x, ((), h, n, d))
}

/// `(b, n, h·d)` as `(b, h, n, d)` without a copy.
fn split(x: &Tensor, h: usize) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    transpose(&reshape(x, (b, n, h, d / h))?, 1, 2)
}

fn attend(
    name: &'static str,
    shapes: [&[usize]; 3],
    (h, h_kv): (usize, usize),
    options: AttentionOptions,
) -> Case {
    case(name, &shapes, move |x| {
        let mut options = options.clone();
        options.mask = match options.mask {
            Some(mask) if mask.dtype() != DType::U8 => Some(mask.to_dtype(x[0].dtype())?),
            mask => mask,
        };
        let (q, k, v) = (heads(&x[0], h)?, heads(&x[1], h_kv)?, heads(&x[2], h_kv)?);
        scaled_dot_product_attention(&q, &k, &v, &options)
    })
}

fn keep(values: &[u8], shape: &[usize]) -> AttentionOptions {
    AttentionOptions {
        mask: Tensor::from_slice(values, shape, &Device::Cpu).ok(),
        ..Default::default()
    }
}

fn causal(causal: Causal) -> AttentionOptions {
    AttentionOptions {
        causal,
        ..Default::default()
    }
}

/// Odd sizes, more keys than a vector has lanes, and widths that differ between keys and values.
pub fn cases() -> Vec<Case> {
    let plain = AttentionOptions::default;
    let wide = [&[4, 3, 5][..], &[4, 19, 5], &[4, 19, 2]];
    let square = [&[4, 5, 3][..], &[4, 5, 3], &[4, 5, 3]];
    let wider = [&[4, 2, 3][..], &[4, 5, 3], &[4, 5, 3]];
    let taller = [&[2, 5, 3][..], &[2, 3, 3], &[2, 3, 3]];
    let additive = |i: usize| {
        if i % 7 == 3 {
            f32::NEG_INFINITY
        } else {
            0.25 * (i % 5) as f32
        }
    };
    let additive = Tensor::from_vec((0..50).map(additive).collect(), (1, 2, 5, 5), &Device::Cpu);
    let mut cases = vec![
        attend("attention", wide, (2, 2), plain()),
        attend("attention causal", square, (2, 2), causal(Causal::TopLeft)),
        attend(
            "attention causal, more queries than keys",
            taller,
            (1, 1),
            causal(Causal::TopLeft),
        ),
        attend(
            "attention causal behind a cache",
            wider,
            (2, 2),
            causal(Causal::BottomRight),
        ),
        attend(
            "attention with queries before all keys",
            taller,
            (2, 2),
            causal(Causal::BottomRight),
        ),
        attend(
            "attention with hidden keys",
            square,
            (2, 2),
            keep(&[1, 1, 0, 1, 0, 1, 1, 1, 1, 0], &[2, 1, 1, 5]),
        ),
        attend(
            "attention with a row of hidden keys",
            wider,
            (2, 2),
            keep(&[0, 0, 0, 0, 0, 1, 0, 1, 1, 0], &[2, 5]),
        ),
        attend(
            "attention with an additive mask",
            square,
            (2, 2),
            AttentionOptions {
                mask: additive.ok(),
                ..plain()
            },
        ),
        attend(
            "attention with a mask for each query",
            square,
            (2, 2),
            AttentionOptions {
                causal: Causal::TopLeft,
                ..keep(&[1, 1, 0, 1, 1], &[5, 1])
            },
        ),
        attend(
            "attention scaled",
            wide,
            (2, 2),
            AttentionOptions {
                scale: Some(0.3),
                ..plain()
            },
        ),
        attend(
            "attention with dropout",
            wide,
            (2, 2),
            AttentionOptions {
                dropout: Some((0.4, Rng::new(1, Purpose::Dropout, 2))),
                ..plain()
            },
        ),
        attend(
            "attention grouped",
            [&[12, 3, 4], &[4, 5, 4], &[4, 5, 3]],
            (6, 2),
            causal(Causal::BottomRight),
        ),
        attend(
            "attention of every option",
            [&[12, 3, 4], &[4, 5, 4], &[4, 5, 3]],
            (6, 2),
            AttentionOptions {
                causal: Causal::BottomRight,
                scale: Some(-0.7),
                ..keep(&[1, 1, 0, 1, 1, 1, 0, 1, 1, 1], &[2, 1, 1, 5])
            },
        ),
        case(
            "attention of transposed views",
            &[&[2, 3, 8], &[2, 5, 8], &[2, 5, 8]],
            |x| {
                let (q, k, v) = (split(&x[0], 2)?, split(&x[1], 2)?, split(&x[2], 2)?);
                let y = scaled_dot_product_attention(&q, &k, &v, &AttentionOptions::default())?;
                reshape(&transpose(&y, 1, 2)?, (x[0].dims()[0], 3, 8))
            },
        ),
        case("attention of one tensor", &[&[4, 5, 3]], |x| {
            let x = heads(&x[0], 2)?;
            scaled_dot_product_attention(&x, &x, &x, &AttentionOptions::default())
        }),
        case(
            "keys in columns, one column of values",
            &[&[2, 3, 4], &[2, 4, 5], &[2, 5, 1]],
            |x| {
                let k = transpose(&heads(&x[1], 1)?, 2, 3)?;
                let v = heads(&x[2], 1)?.broadcast_as((2, 1, 5, 3))?;
                let q = heads(&x[0], 1)?;
                scaled_dot_product_attention(&q, &k, &v, &AttentionOptions::default())
            },
        ),
    ];
    cases.push(case("narrow", &[&[3, 5, 2]], |x| narrow(&x[0], 1, 1, 3)));
    type Rotation = fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>;
    for (names, op) in [
        (
            ["rope", "rope of some features", "rope of a view"],
            rope as Rotation,
        ),
        (
            [
                "rope interleaved",
                "rope interleaved, of some features",
                "rope interleaved, of a view",
            ],
            rope_interleaved,
        ),
    ] {
        let [all, some, view] = names;
        cases.push(case(all, &[&[2, 3, 5, 6]], move |x| {
            let (cos, sin) = rope_frequencies(6, 9, 100.)?;
            op(&x[0], &cos, &sin)
        }));
        cases.push(case(some, &[&[2, 3, 5, 7]], move |x| {
            let (cos, sin) = rope_frequencies(4, 9, 100.)?;
            op(&x[0], &cos.narrow(0, 2, 6)?, &sin.narrow(0, 2, 6)?)
        }));
        cases.push(case(view, &[&[2, 5, 8]], move |x| {
            let (cos, sin) = rope_frequencies(4, 5, 100.)?;
            op(&split(&x[0], 2)?, &cos, &sin)
        }));
    }
    cases
}

/// Several blocks of queries, of which a tile divides none, under everything that changes a row.
fn large() -> Case {
    let hidden: Vec<u8> = (0..2 * 301).map(|i| u8::from(i % 5 != 0)).collect();
    let options = AttentionOptions {
        mask: Tensor::from_vec(hidden, (2, 1, 1, 301), &Device::Cpu).ok(),
        causal: Causal::BottomRight,
        dropout: Some((0.2, Rng::new(1, Purpose::Dropout, 2))),
        scale: None,
    };
    let shapes = [&[8, 261, 17][..], &[4, 301, 17], &[4, 301, 19]];
    attend("large", shapes, (4, 2), options)
}

fn values(case: &Case, dtype: DType) -> Vec<Vec<f64>> {
    let vars = inputs(case, dtype);
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = case.2(&tensors).unwrap();
    let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![y];
    all.extend(vars.iter().map(|v| grads.get(v).unwrap().clone()));
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    all.iter().map(|t| flat(t).unwrap()).collect()
}

#[test]
fn many_blocks_agree_with_the_composed_form() {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 4e-6)] {
        let (ours, theirs) = (
            values(&large(), dtype),
            composed(|| values(&large(), dtype)),
        );
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() <= tolerance * scale, "{dtype:?}: {a} and {b}");
            }
        }
    }
}

#[test]
fn many_blocks_have_the_same_bits_for_one_two_and_three_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| values(&large(), DType::F32))
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn a_query_that_sees_no_key_gives_zeros_and_gets_no_gradient() {
    let x = Var::new(&[[[[1f32, 2.], [3., -1.]]]], &Device::Cpu).unwrap();
    let options = keep(&[0, 0, 1, 1], &[2, 2]);
    for ours in [true, false] {
        let run = || -> Result<_> {
            let y = scaled_dot_product_attention(&x, &x.detach(), &x.detach(), &options)?;
            Ok((y.backward()?, y))
        };
        let (grads, y) = if ours { run() } else { composed(run) }.unwrap();
        let rows = |t: &Tensor| t.flatten_to(2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows(&y)[0], [0., 0.]);
        assert_ne!(rows(&y)[1], [0., 0.]);
        assert_eq!(rows(grads.get(&x).unwrap())[0], [0., 0.]);
    }
}

#[test]
fn huge_scores_are_finite_and_a_nan_is_never_swallowed() {
    let run = |q: f32, mask: u8| {
        let q = Tensor::new(&[[[[q]]]], &Device::Cpu).unwrap();
        let kv = Tensor::new(&[[[[1f32], [-1.]]]], &Device::Cpu).unwrap();
        let y = scaled_dot_product_attention(&q, &kv, &kv, &keep(&[mask, mask], &[2]));
        y.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
    };
    for ours in [true, false] {
        let form = |q, mask| match ours {
            true => run(q, mask),
            false => composed(|| run(q, mask)),
        };
        assert_eq!(form(1e5, 1), 1.);
        assert_eq!(form(-1e5, 1), -1.);
        assert!(form(f32::NAN, 1).is_nan() && form(f32::NAN, 0).is_nan());
    }
}

#[test]
fn an_attention_that_does_not_fit_is_an_error_that_says_so() {
    let run = |q: &[usize], k: &[usize], v: &[usize], options: AttentionOptions| {
        let result = scaled_dot_product_attention(&zeros(q), &zeros(k), &zeros(v), &options);
        result.unwrap_err().to_string()
    };
    let (q, k, none) = (
        &[2, 4, 3, 5][..],
        &[2, 2, 7, 5][..],
        AttentionOptions::default,
    );
    let masked = |mask: Tensor| AttentionOptions {
        mask: Some(mask),
        ..none()
    };
    assert!(run(&[2, 3, 5], k, k, none()).contains("[2, 3, 5]"));
    assert!(run(q, &[2, 2, 7, 4], k, none()).contains("[2, 2, 7, 4]"));
    assert!(run(q, k, &[2, 2, 6, 5], none()).contains("[2, 2, 6, 5]"));
    assert!(run(q, &[2, 3, 7, 5], &[2, 3, 7, 5], none()).contains("4 query heads"));
    assert!(run(q, k, k, masked(zeros(&[3, 6]))).contains("[3, 6]"));
    let wrong_type = zeros(&[3, 7]).to_dtype(DType::F64).unwrap();
    assert!(run(q, k, k, masked(wrong_type)).contains("F64"));
    let tracked = Var::from_tensor(&zeros(&[3, 7])).unwrap();
    assert!(run(q, k, k, masked(tracked.as_tensor().clone())).contains("tracked"));
    let dropout = Some((1.5, Rng::new(0, Purpose::Dropout, 0)));
    assert!(run(q, k, k, AttentionOptions { dropout, ..none() }).contains("1.5"));
}

#[test]
fn attention_over_nothing_gives_zeros() {
    let run = |t: usize, s: usize| {
        let kv = zeros(&[2, 1, s, 3]);
        scaled_dot_product_attention(
            &zeros(&[2, 1, t, 3]),
            &kv,
            &kv,
            &AttentionOptions::default(),
        )
    };
    assert_eq!(run(0, 4).unwrap().dims(), [2, 1, 0, 3]);
    let y = run(4, 0).unwrap().flatten_all().unwrap();
    assert_eq!(y.to_vec1::<f32>().unwrap(), [0f32; 24]);
}

/// A segment with projections of its own around attention, under all that draws or hides.
fn block(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let options = AttentionOptions {
        causal: Causal::TopLeft,
        dropout: Some((0.3, next_rng(Purpose::Dropout))),
        ..Default::default()
    };
    let x = linear(x, w, None)?;
    let q = split(&x, 2)?;
    let y = scaled_dot_product_attention(&q, &q, &q, &options)?;
    let shape = x.dims3()?;
    reshape(&transpose(&y, 1, 2)?, shape)
}

#[test]
fn checkpointed_attention_gives_the_bits_of_the_plain_one() {
    let vars = inputs(
        &case("", &[&[2, 5, 6], &[6, 6]], |t| Ok(t[0].clone())),
        DType::F32,
    );
    let run = |as_segment: bool| {
        let _scope = RngScope::new(4, 2);
        let _tape = Tape::new();
        let w = vars[1].as_tensor().clone();
        let y = match as_segment {
            true => checkpoint(&[&vars[0]], &vars[1..], move |x| block(&x[0], &w)),
            false => block(&vars[0], &w),
        };
        let grads = backward(&sum(&y.unwrap()).unwrap()).unwrap();
        let bits = |v: &Var| {
            grads
                .get(v)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
        };
        vars.iter().map(|v| bits(v).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

/// `q = k = v` of bf16: the casts stand between attention and its operands on the tape.
#[test]
fn attention_in_half_precision_has_a_gradient_with_a_graph() {
    let case = case("", &[&[2, 5, 6]], |x| {
        let x = split(&x[0], 2)?;
        scaled_dot_product_attention(&x, &x, &x, &AttentionOptions::default())
    });
    let second = |dtype: DType| {
        let x = inputs(&case, DType::BF16)
            .remove(0)
            .to_dtype(dtype)
            .unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let _tape = Tape::new();
        let y = sum(&case.2(&[x.as_tensor().clone()]).unwrap()).unwrap();
        let g = grad_with_graph(&y, &[&x]).unwrap().remove(0).unwrap();
        assert_eq!(g.dtype(), dtype);
        let grads = g.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let second = grads.get(&x).unwrap().to_dtype(DType::F64).unwrap();
        second.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    // Gradients of gradients are near 1; each passes a dozen results rounded to 8 bits.
    for (half, wide) in second(DType::BF16).iter().zip(second(DType::F64)) {
        assert!((half - wide).abs() <= 0.1, "{half} and {wide}");
    }
}

#[test]
fn a_dropout_of_one_drops_all() {
    let x = Tensor::ones((1, 1, 3, 2), DType::F32, &Device::Cpu).unwrap();
    let options = AttentionOptions {
        dropout: Some((1., Rng::new(0, Purpose::Dropout, 0))),
        ..Default::default()
    };
    let y = scaled_dot_product_attention(&x, &x, &x, &options).unwrap();
    assert_eq!(
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        [0f32; 6]
    );
}

/// From the paper's code: `get_slopes(12)` is the slopes of 8 heads and four of those of 16.
#[test]
fn slopes_of_twelve_heads_are_those_of_eight_and_every_second_of_sixteen() {
    let slopes = alibi_slopes(12);
    let half = 0.5f64.sqrt();
    assert_eq!(
        slopes[..8],
        [
            0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625
        ]
    );
    for (i, slope) in slopes[8..].iter().enumerate() {
        assert!((slope - half * 0.5f64.powi(i as i32)).abs() < 1e-15);
    }
    assert!(alibi_slopes(0).is_empty());
    assert_eq!(alibi_bias(12, 3, 4).unwrap().dims(), [12, 3, 4]);
}

#[test]
fn a_rope_that_does_not_fit_is_an_error() {
    let (cos, sin) = rope_frequencies(4, 3, 1e4).unwrap();
    assert!(rope(&zeros(&[1, 1, 4, 4]), &cos, &sin).is_err());
    assert!(rope(&zeros(&[1, 1, 3, 3]), &cos, &sin).is_err());
    assert!(rope(&zeros(&[1, 3, 4]), &cos, &sin).is_err());
    assert!(rope_frequencies(3, 3, 1e4).is_err());
    assert!(rope_frequencies(4, 3, 0.).is_err());
    let tracked = Var::from_tensor(&cos).unwrap();
    assert!(rope(&zeros(&[1, 1, 3, 4]), &tracked, &sin).is_err());
}

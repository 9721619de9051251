//! LSTM and GRU.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{Direction, RecurrentWeights, cat, flatten_from, gru, lstm, transpose};

use crate::case::{Case, case};

fn weights(t: &[Tensor]) -> RecurrentWeights {
    RecurrentWeights {
        weight_ih: t[0].clone(),
        weight_hh: t[1].clone(),
        bias: t.get(2).map(|ih| [ih.clone(), t[3].clone()]),
    }
}

/// All results of an op in one.
fn joined(results: &[Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> = results
        .iter()
        .map(|t| flatten_from(t, 0))
        .collect::<Result<_>>()?;
    cat(&flat.iter().collect::<Vec<_>>(), 0)
}

fn both(
    t: &[Tensor],
    state: Option<[&Tensor; 2]>,
    weights: &RecurrentWeights,
    lengths: Option<&[usize]>,
    direction: Direction,
) -> Result<Tensor> {
    let (y, h, c) = lstm(&t[0], state, weights, lengths, direction)?;
    joined(&[y, h, c])
}

/// 9 sequences are a tile of 8 and one more, 4 · 9 gates a panel of 32 and 4 more.
pub fn cases() -> Vec<Case> {
    const RAGGED: [usize; 3] = [4, 1, 3];
    let reverse = Direction::Reverse;
    vec![
        case(
            "lstm",
            &[&[2, 3, 4], &[20, 4], &[20, 5], &[20], &[20]],
            |t| both(t, None, &weights(&t[1..]), None, Direction::Forward),
        ),
        case(
            "lstm with a state",
            &[&[9, 2, 3], &[9, 9], &[9, 9], &[36, 3], &[36, 9]],
            |t| {
                let state = Some([&t[1], &t[2]]);
                both(t, state, &weights(&t[3..]), None, Direction::Forward)
            },
        ),
        case(
            "lstm of ragged sequences",
            &[
                &[3, 4, 2],
                &[3, 3],
                &[3, 3],
                &[12, 2],
                &[12, 3],
                &[12],
                &[12],
            ],
            |t| {
                let state = Some([&t[1], &t[2]]);
                both(
                    t,
                    state,
                    &weights(&t[3..]),
                    Some(&RAGGED),
                    Direction::Forward,
                )
            },
        ),
        case(
            "lstm of ragged sequences in reverse",
            &[
                &[3, 4, 2],
                &[3, 3],
                &[3, 3],
                &[12, 2],
                &[12, 3],
                &[12],
                &[12],
            ],
            move |t| {
                let state = Some([&t[1], &t[2]]);
                both(t, state, &weights(&t[3..]), Some(&RAGGED), reverse)
            },
        ),
        case(
            "lstm in reverse of a transposed input",
            &[&[3, 2, 4], &[12, 4], &[12, 3]],
            move |t| {
                let x = transpose(&t[0], 0, 1)?;
                both(&[x], None, &weights(&t[1..]), None, reverse)
            },
        ),
        case(
            "gru",
            &[&[2, 3, 4], &[15, 4], &[15, 5], &[15], &[15]],
            |t| {
                let (y, h) = gru(&t[0], None, &weights(&t[1..]), None, Direction::Forward)?;
                joined(&[y, h])
            },
        ),
        case(
            "gru with a state",
            &[&[9, 2, 3], &[9, 11], &[33, 3], &[33, 11]],
            |t| {
                let weights = weights(&t[2..]);
                let (y, h) = gru(&t[0], Some(&t[1]), &weights, None, Direction::Forward)?;
                joined(&[y, h])
            },
        ),
        case(
            "gru of ragged sequences",
            &[&[3, 4, 2], &[9, 2], &[9, 3]],
            |t| {
                let (x, weights) = (&t[0], weights(&t[1..]));
                let (y, h) = gru(x, None, &weights, Some(&RAGGED), Direction::Forward)?;
                joined(&[y, h])
            },
        ),
        case(
            "gru in reverse of a transposed input",
            &[&[3, 2, 4], &[9, 4], &[9, 3], &[9], &[9]],
            move |t| {
                let x = transpose(&t[0], 0, 1)?;
                let (y, h) = gru(&x, None, &weights(&t[1..]), None, reverse)?;
                joined(&[y, h])
            },
        ),
        case(
            "gru of ragged sequences in reverse",
            &[&[3, 4, 2], &[3, 3], &[9, 2], &[9, 3], &[9], &[9]],
            move |t| {
                let weights = weights(&t[2..]);
                let (y, h) = gru(&t[0], Some(&t[1]), &weights, Some(&RAGGED), reverse)?;
                joined(&[y, h])
            },
        ),
    ]
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn what_does_not_fit_is_named() {
    let good = weights(&[zeros(&[8, 3]), zeros(&[8, 2]), zeros(&[8]), zeros(&[8])]);
    let short = RecurrentWeights {
        bias: Some([zeros(&[8]), zeros(&[7])]),
        ..good.clone()
    };
    let square = weights(&[zeros(&[8, 3]), zeros(&[8, 8])]);
    let (x, h) = (zeros(&[2, 4, 3]), zeros(&[2, 2]));
    let message = |x: &Tensor, state, weights, lengths| {
        let y = lstm(x, state, weights, lengths, Direction::Forward);
        y.unwrap_err().to_string()
    };
    for (got, wanted) in [
        (
            message(&zeros(&[4, 3]), None, &good, None),
            "x (batch, time, inputs), got [4, 3]",
        ),
        (
            message(&zeros(&[2, 0, 3]), None, &good, None),
            "1 step or more, got x [2, 0, 3]",
        ),
        (
            message(&zeros(&[2, 4, 5]), None, &good, None),
            "weight_ih [8, 5], got [8, 3]",
        ),
        (
            message(&x, None, &square, None),
            "weight_hh (4·hidden, hidden), got [8, 8]",
        ),
        (message(&x, None, &short, None), "bias_hh [8], got [7]"),
        (
            message(&x, Some([&h, &x]), &good, None),
            "c0 [2, 2], got [2, 4, 3]",
        ),
        (
            message(&x, None, &good, Some(&[4])),
            "2 sequences takes as many lengths, got 1",
        ),
        (
            message(&x, None, &good, Some(&[4, 5])),
            "lengths in [1, 4], got 5 for sequence 1",
        ),
        (
            message(&x, None, &good, Some(&[0, 4])),
            "lengths in [1, 4], got 0 for sequence 0",
        ),
    ] {
        assert!(got.contains(wanted), "{got}");
    }
}

/// Results and the gradient of a weight where `behind` stands in the padding.
fn with_padding(behind: f32) -> Vec<f32> {
    let x = (0..12).map(|i| {
        if i / 2 % 3 == 2 {
            behind
        } else {
            i as f32 / 12.
        }
    });
    let x = Tensor::from_vec(x.collect::<Vec<f32>>(), (2, 3, 2), &Device::Cpu).unwrap();
    let weight = Var::from_tensor(&zeros(&[8, 2]).affine(1., 0.3).unwrap()).unwrap();
    let weights = weights(&[weight.as_tensor().clone(), weight.as_tensor().clone()]);
    let y = both(&[x], None, &weights, Some(&[2, 2]), Direction::Reverse).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    let gradient = grads.get(&weight).unwrap();
    joined(&[y, gradient.clone()]).unwrap().to_vec1().unwrap()
}

#[test]
fn padding_is_never_read() {
    let y = with_padding(f32::NAN);
    assert!(y.iter().all(|y| y.is_finite()), "{y:?}");
    assert_eq!(y, with_padding(7.));
}

/// Large enough for several tasks, in which the rows are cut in other places.
#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let case = case(
                "",
                &[&[37, 9, 20], &[160, 20], &[160, 40], &[160], &[160]],
                |t| both(t, None, &weights(&t[1..]), None, Direction::Forward),
            );
            crate::value_and_gradients(&case, &crate::inputs(&case, DType::F32))
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

//! Attention, rotary positions, recurrences.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::RNN;
use dl_autograd::{
    AttentionOptions, Causal, Direction, RecurrentWeights, gru, lstm, rope, rope_frequencies,
    rope_interleaved, scaled_dot_product_attention,
};

use crate::{Kernel, kernel};

fn plain_weights(t: &[Tensor]) -> RecurrentWeights {
    RecurrentWeights {
        weight_ih: t[1].clone(),
        weight_hh: t[2].clone(),
        bias: Some([t[3].clone(), t[4].clone()]),
    }
}

/// candle's own layer, which takes one step after the other.
fn candle_rnn<R: RNN>(
    t: &[Tensor],
    new: fn(VarBuilder) -> Result<R>,
) -> Result<(R, Vec<R::State>)> {
    let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    let weights = names.iter().zip(&t[1..]);
    let weights = weights
        .map(|(name, w)| (name.to_string(), w.clone()))
        .collect();
    let rnn = new(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?;
    let states = rnn.seq(&t[0])?;
    Ok((rnn, states))
}

fn candle_lstm(t: &[Tensor]) -> Result<Tensor> {
    let (rnn, states) = candle_rnn(t, |vb| candle_nn::lstm(256, 256, Default::default(), vb))?;
    rnn.states_to_tensor(&states)
}

fn candle_gru(t: &[Tensor]) -> Result<Tensor> {
    let (rnn, states) = candle_rnn(t, |vb| candle_nn::gru(256, 256, Default::default(), vb))?;
    rnn.states_to_tensor(&states)
}

fn candle_attention(t: &[Tensor]) -> Result<Tensor> {
    let scores = (t[0].matmul(&t[1].t()?)? * (t[0].dims()[3] as f64).powf(-0.5))?;
    candle_nn::ops::softmax(&scores, 3)?.matmul(&t[2])
}

fn causal_attention(t: &[Tensor]) -> Result<Tensor> {
    let options = AttentionOptions {
        causal: Causal::TopLeft,
        ..Default::default()
    };
    scaled_dot_product_attention(&t[0], &t[1], &t[2], &options)
}

fn candle_causal_attention(t: &[Tensor]) -> Result<Tensor> {
    let (n, d) = (t[0].dims()[2], t[0].dims()[3]);
    let later = (0..n * n).map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0. });
    let later = Tensor::from_vec(later.collect(), (n, n), &Device::Cpu)?;
    let scores = (t[0].matmul(&t[1].t()?)? * (d as f64).powf(-0.5))?;
    candle_nn::ops::softmax(&scores.broadcast_add(&later)?, 3)?.matmul(&t[2])
}

pub fn sequences() -> Vec<Kernel> {
    vec![
        kernel(
            "attention, 16×12×128×32",
            &[&[16, 12, 128, 32][..]; 3],
            |t| scaled_dot_product_attention(&t[0], &t[1], &t[2], &AttentionOptions::default()),
            Some(candle_attention),
        ),
        kernel(
            "attention, causal, 2×8×1024×64",
            &[&[2, 8, 1024, 64][..]; 3],
            causal_attention,
            Some(candle_causal_attention),
        ),
        kernel(
            "attention, grouped, 4×16/4×256×64",
            &[&[4, 16, 256, 64], &[4, 4, 256, 64], &[4, 4, 256, 64]],
            causal_attention,
            None,
        ),
        kernel(
            "rope interleaved, 16×12×128×64",
            &[&[16, 12, 128, 64]],
            |t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                rope_interleaved(&t[0], &cos, &sin)
            },
            Some(|t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                candle_nn::rotary_emb::rope_i_slow(&t[0], &cos, &sin)
            }),
        ),
        kernel(
            "rope, 16×12×128×64",
            &[&[16, 12, 128, 64]],
            |t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                rope(&t[0], &cos, &sin)
            },
            Some(|t| {
                let (cos, sin) = rope_frequencies(64, 128, 1e4)?;
                candle_nn::rotary_emb::rope_slow(&t[0], &cos, &sin)
            }),
        ),
    ]
}

pub fn recurrent() -> Vec<Kernel> {
    vec![
        kernel(
            "lstm, 32×64×256→256",
            &[&[32, 64, 256], &[1024, 256], &[1024, 256], &[1024], &[1024]],
            |t| Ok(lstm(&t[0], None, &plain_weights(t), None, Direction::Forward)?.0),
            Some(candle_lstm),
        ),
        kernel(
            "gru, 32×64×256→256",
            &[&[32, 64, 256], &[768, 256], &[768, 256], &[768], &[768]],
            |t| Ok(gru(&t[0], None, &plain_weights(t), None, Direction::Forward)?.0),
            Some(candle_gru),
        ),
    ]
}

//! Tensors without elements or dimensions, which no op may panic on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::*;

use crate::bad_calls::{entropy, first, of, rng, t};

type Many = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

fn weights(t: &[Tensor]) -> RecurrentWeights {
    RecurrentWeights {
        weight_ih: t[0].clone(),
        weight_hh: t[1].clone(),
        bias: Some([t[2].clone(), t[3].clone()]),
    }
}

/// Every op on tensors without elements, each dimension in turn.
pub fn empty() -> Vec<(&'static str, Vec<Vec<usize>>, Many)> {
    fn with(
        name: &'static str,
        shapes: &[&[usize]],
        op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> (&'static str, Vec<Vec<usize>>, Many) {
        let shapes = shapes.iter().map(|s| s.to_vec()).collect();
        (name, shapes, Box::new(op))
    }
    let clamped = Activation::Relu;
    let two = Conv2dConfig {
        padding: 1.into(),
        ..Default::default()
    };
    let linear_mode = Interpolation::Linear {
        align_corners: true,
    };
    let depthwise = Conv2dConfig { groups: 2, ..two };
    let none = AttentionOptions::default;
    vec![
        with("conv1d", &[&[2, 3, 5], &[4, 3, 3], &[4]], |t| {
            conv1d(&t[0], &t[1], Some(&t[2]), &Conv1dConfig::default())
        }),
        with("conv2d", &[&[2, 3, 5, 5], &[4, 3, 3, 3], &[4]], move |t| {
            conv2d(&t[0], &t[1], Some(&t[2]), &two)
        }),
        with("conv3d", &[&[2, 3, 4, 4, 4], &[2, 3, 2, 2, 2], &[2]], |t| {
            conv3d(&t[0], &t[1], Some(&t[2]), &Default::default())
        }),
        with("depthwise", &[&[2, 2, 5, 5], &[2, 1, 3, 3]], move |t| {
            conv2d(&t[0], &t[1], None, &depthwise)
        }),
        with(
            "conv_transpose2d",
            &[&[2, 3, 5, 5], &[3, 4, 3, 3], &[4]],
            |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &Default::default()),
        ),
        with("conv_transpose1d", &[&[2, 3, 5], &[3, 4, 3]], |t| {
            conv_transpose1d(&t[0], &t[1], None, &Default::default())
        }),
        with("batch_norm", &[&[2, 3, 4], &[3], &[3]], move |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1., clamped)?.0)
        }),
        with(
            "batch_norm_conv2d",
            &[&[2, 2, 5, 5], &[2], &[2], &[2, 1, 3, 3]],
            move |t| {
                let norm = Prologue {
                    gamma: &t[1],
                    beta: &t[2],
                    eps: 1.,
                    activation: clamped,
                    statistics: Some((&t[1], &t[2])),
                };
                Ok(batch_norm_conv2d(&t[0], &norm, &t[3], None, &depthwise)?.0)
            },
        ),
        with("batch_norm_with", &[&[2, 3, 4], &[3], &[3]], move |t| {
            batch_norm_with(&t[0], &t[1], &t[2], &t[1], &t[2], 1., clamped)
        }),
        with("layer_norm", &[&[2, 3], &[3], &[3]], |t| {
            layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1.)
        }),
        with("rms_norm", &[&[2, 3], &[3]], |t| {
            rms_norm(&t[0], Some(&t[1]), 1.)
        }),
        with("group_norm", &[&[2, 4, 3], &[4]], |t| {
            group_norm(&t[0], 2, Some(&t[1]), None, 1.)
        }),
        with("instance_norm", &[&[2, 4, 3], &[4]], |t| {
            instance_norm(&t[0], Some(&t[1]), None, 1.)
        }),
        with("add_layer_norm", &[&[2, 3], &[2, 3], &[3]], |t| {
            add_layer_norm(&t[0], &t[1], Some(&t[2]), None, 1.)
        }),
        with("add_rms_norm", &[&[2, 3], &[2, 3], &[3]], |t| {
            add_rms_norm(&t[0], &t[1], Some(&t[2]), 1.)
        }),
        with(
            "batch_norm and a residual",
            &[&[2, 3], &[3], &[3], &[2, 3]],
            |t| {
                let end = Epilogue {
                    residual: Some(&t[3]),
                    activation: Activation::Relu,
                };
                Ok(batch_norm(&t[0], &t[1], &t[2], 1., end)?.0)
            },
        ),
        with("layer_norm without weights", &[&[2, 3]], |t| {
            layer_norm(&t[0], None, None, 1.)
        }),
        with("weight_norm", &[&[2, 3], &[2, 1]], |t| {
            weight_norm(&t[0], &t[1], Some(0))
        }),
        with("spectral_norm", &[&[2, 3]], |t| {
            spectral_norm(
                &t[0],
                &crate::bad_calls::t(&[2]),
                &crate::bad_calls::t(&[3]),
                0,
            )
        }),
        with("softmax", &[&[2, 3, 4]], |t| softmax(&t[0], 1)),
        with("softmax of the last", &[&[2, 3]], |t| softmax(&t[0], 1)),
        with("log_softmax", &[&[2, 3]], |t| log_softmax(&t[0], 1)),
        with("linear", &[&[2, 3], &[4, 3], &[4]], |t| {
            linear(&t[0], &t[1], Some(&t[2]))
        }),
        with("matmul", &[&[2, 3, 4], &[2, 4, 5]], |t| {
            matmul(&t[0], &t[1])
        }),
        with("matmul of one", &[&[2, 3, 4], &[4, 5]], |t| {
            matmul(&t[0], &t[1])
        }),
        with("add", &[&[2, 3], &[2, 3]], |t| add(&t[0], &t[1])),
        with("mul", &[&[2, 3], &[2, 3]], |t| mul(&t[0], &t[1])),
        with("sum", &[&[2, 3]], |t| sum(&t[0])),
        with("scale", &[&[2, 3]], |t| scale(&t[0], 2.)),
        with("scale by 0", &[&[2, 3]], |t| scale(&t[0], 0.)),
        with("max_pool2d", &[&[2, 3, 4, 4]], |t| {
            max_pool2d(&t[0], &Default::default())
        }),
        with("max_pool1d", &[&[2, 3, 4]], |t| {
            max_pool1d(&t[0], &Default::default())
        }),
        with("avg_pool2d", &[&[2, 3, 4, 4]], |t| {
            avg_pool2d(&t[0], &Default::default())
        }),
        with("avg_pool1d", &[&[2, 3, 4]], |t| {
            avg_pool1d(&t[0], &Default::default())
        }),
        with("adaptive_avg_pool2d", &[&[2, 3, 4, 4]], |t| {
            adaptive_avg_pool2d(&t[0], (2, 3))
        }),
        with("adaptive_avg_pool1d", &[&[2, 3, 4]], |t| {
            adaptive_avg_pool1d(&t[0], 3)
        }),
        with("adaptive_max_pool1d", &[&[2, 3, 4]], |t| {
            adaptive_max_pool1d(&t[0], 3)
        }),
        with("adaptive_max_pool2d", &[&[2, 3, 4, 4]], |t| {
            adaptive_max_pool2d(&t[0], (2, 3))
        }),
        with("global_avg_pool", &[&[2, 3, 4, 4]], |t| {
            global_avg_pool(&t[0])
        }),
        with("interpolate", &[&[2, 3, 4, 4]], move |t| {
            interpolate(&t[0], &[3, 5], linear_mode)
        }),
        with("interpolate_by", &[&[2, 3, 4]], |t| {
            interpolate_by(&t[0], &[2.], Interpolation::Area)
        }),
        with("pixel_shuffle", &[&[2, 4, 3, 3]], |t| {
            pixel_shuffle(&t[0], 2)
        }),
        with("pixel_unshuffle", &[&[2, 4, 4, 4]], |t| {
            pixel_unshuffle(&t[0], 2)
        }),
        with("pad", &[&[2, 3, 4]], |t| {
            pad(&t[0], &[(1, 2), (2, 0)], PadMode::Constant(1.))
        }),
        with("pad reflect", &[&[2, 3, 4]], |t| {
            pad(&t[0], &[(1, 2)], PadMode::Reflect)
        }),
        with("relu", &[&[2, 3]], |t| relu(&t[0])),
        with("relu6", &[&[2, 3]], |t| relu6(&t[0])),
        with("sigmoid", &[&[2, 3]], |t| sigmoid(&t[0])),
        with("tanh", &[&[2, 3]], |t| tanh(&t[0])),
        with("silu", &[&[2, 3]], |t| silu(&t[0])),
        with("gelu", &[&[2, 3]], |t| gelu(&t[0])),
        with("gelu_tanh", &[&[2, 3]], |t| gelu_tanh(&t[0])),
        with("leaky_relu", &[&[2, 3]], |t| leaky_relu(&t[0], 0.1)),
        with("elu", &[&[2, 3]], |t| elu(&t[0], 1.)),
        with("selu", &[&[2, 3]], |t| selu(&t[0])),
        with("celu", &[&[2, 3]], |t| celu(&t[0], 1.)),
        with("softplus", &[&[2, 3]], |t| softplus(&t[0], 1., 20.)),
        with("log_sigmoid", &[&[2, 3]], |t| log_sigmoid(&t[0])),
        with("mish", &[&[2, 3]], |t| mish(&t[0])),
        with("hard_swish", &[&[2, 3]], |t| hard_swish(&t[0])),
        with("hard_sigmoid", &[&[2, 3]], |t| hard_sigmoid(&t[0])),
        with("hard_tanh", &[&[2, 3]], |t| hard_tanh(&t[0], -1., 1.)),
        with("softsign", &[&[2, 3]], |t| softsign(&t[0])),
        with("glu", &[&[3, 4]], |t| glu(&t[0], 1)),
        with("swiglu", &[&[4, 3]], |t| swiglu(&t[0], 0)),
        with("geglu", &[&[3, 4]], |t| geglu(&t[0], 1)),
        with("reglu", &[&[3, 4]], |t| reglu(&t[0], 1)),
        with("prelu", &[&[2, 3, 4], &[3]], |t| prelu(&t[0], &t[1])),
        with("prelu of one slope", &[&[2, 3], &[1]], |t| {
            prelu(&t[0], &t[1])
        }),
        with("scale_channels", &[&[2, 3, 4], &[2, 3]], |t| {
            scale_channels(&t[0], &t[1])
        }),
        with("dropout", &[&[2, 3]], |t| dropout(&t[0], 0.5, rng())),
        with("dropout_channels", &[&[2, 3, 4]], |t| {
            dropout_channels(&t[0], 0.5, rng())
        }),
        with("drop_path", &[&[2, 3]], |t| drop_path(&t[0], 0.5, rng())),
        with("alpha_dropout", &[&[2, 3]], |t| {
            alpha_dropout(&t[0], 0.5, rng())
        }),
        with("gaussian_noise", &[&[2, 3]], |t| {
            gaussian_noise(&t[0], 0.5, rng())
        }),
        with("lstm", &[&[2, 5, 3], &[8, 3], &[8, 2], &[8], &[8]], |t| {
            Ok(lstm(&t[0], None, &weights(&t[1..]), None, Direction::Reverse)?.0)
        }),
        with("gru", &[&[2, 5, 3], &[6, 3], &[6, 2], &[6], &[6]], |t| {
            Ok(gru(&t[0], None, &weights(&t[1..]), None, Direction::Forward)?.1)
        }),
        with(
            "attention",
            &[&[2, 2, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 4]],
            move |t| scaled_dot_product_attention(&t[0], &t[1], &t[2], &none()),
        ),
        with("rope", &[&[1, 2, 3, 4]], |t| {
            let (cos, sin) = rope_frequencies(t[0].dim(3)?, t[0].dim(2)?, 1e4)?;
            rope(&t[0], &cos, &sin)
        }),
        with("rope_interleaved", &[&[1, 2, 3, 4]], |t| {
            let (cos, sin) = rope_frequencies(0, 3, 1e4)?;
            rope_interleaved(&t[0], &cos, &sin)
        }),
        with("cross_entropy", &[&[2, 3]], |t| {
            let targets = Tensor::zeros(t[0].dim(0)?, DType::U32, &Device::Cpu)?;
            entropy(&t[0], &targets, 0.1)
        }),
        with(
            "cross_entropy of distributions",
            &[&[2, 3, 4], &[2, 3, 4]],
            |t| cross_entropy(&t[0], &t[1], &Default::default(), Reduction::None),
        ),
        with("nll_loss", &[&[2, 3]], |t| {
            let targets = Tensor::zeros(t[0].dim(0)?, DType::U32, &Device::Cpu)?;
            nll_loss(&t[0], &targets, &Default::default(), Reduction::Mean)
        }),
        with("binary_cross_entropy", &[&[2, 3], &[2, 3]], |t| {
            let options = BinaryCrossEntropyOptions {
                weight: Some(Tensor::ones(3, DType::F32, &Device::Cpu)?),
                pos_weight: None,
            };
            binary_cross_entropy_with_logits(&t[0], &t[1], &options, Reduction::None)
        }),
        with("huber", &[&[2, 3], &[2, 3]], |t| {
            let huber = PointwiseLoss::Huber { delta: 1. };
            pointwise_loss(&t[0], &t[1], huber, Reduction::BatchMean)
        }),
        with("linear_gelu", &[&[2, 3], &[4, 3], &[4]], |t| {
            linear_gelu(&t[0], &t[1], Some(&t[2]))
        }),
        with("linear_with", &[&[2, 3], &[4, 3], &[4]], |t| {
            linear_with(&t[0], &t[1], Some(&t[2]), Activation::Relu6)
        }),
        with("embedding", &[&[3, 4]], |t| {
            embedding(&t[0], &Tensor::new(&[0u32, 2], &Device::Cpu)?, None)
        }),
        with("embedding of no ids", &[&[3, 4]], |t| {
            embedding(&t[0], &of(DType::U32, &[2, 0]), Some(1))
        }),
        with("max", &[&[2, 3, 4]], |t| Ok(max(&t[0], 1)?.0)),
        with("min", &[&[2, 3, 4]], |t| Ok(min(&t[0], 1)?.0)),
        with("amax", &[&[2, 3, 4]], |t| amax(&t[0], 1)),
        with("amin", &[&[2, 3, 4]], |t| amin(&t[0], 1)),
        with("cumsum", &[&[2, 3, 4]], |t| cumsum(&t[0], 1)),
        with("pow", &[&[2, 3], &[2, 3]], |t| pow(&t[0], &t[1])),
        with("powf", &[&[2, 3]], |t| powf(&t[0], 1.5)),
        with("cat", &[&[2, 3], &[2, 3]], |t| cat(&[&t[0], &t[1]], 0)),
        with("split", &[&[2, 4]], |t| first(split(&t[0], &[1, 0, 3], 1))),
        with("chunk", &[&[2, 4]], |t| {
            let parts = chunk(&t[0], 3, 1)?;
            parts
                .first()
                .map_or_else(|| Ok(t[0].clone()), |part| Ok(part.clone()))
        }),
        with("unbind", &[&[2, 4]], |t| {
            let parts = unbind(&t[0], 1)?;
            parts
                .first()
                .map_or_else(|| Ok(t[0].clone()), |part| Ok(part.clone()))
        }),
        with("scatter", &[&[2, 3], &[2, 3]], |t| {
            scatter(&t[0], 0, &of(DType::U32, t[1].dims()), &t[1])
        }),
        with("scatter_add", &[&[2, 3], &[2, 3]], |t| {
            scatter_add(&t[0], 1, &of(DType::U32, t[1].dims()), &t[1])
        }),
        with("narrow", &[&[2, 3]], |t| narrow(&t[0], 1, 1, 0)),
        with("transpose", &[&[2, 3]], |t| transpose(&t[0], 0, 1)),
        with("reshape", &[&[2, 3]], |t| reshape(&t[0], t[0].elem_count())),
        with("flatten_from", &[&[2, 3]], |t| flatten_from(&t[0], 0)),
    ]
}

/// The shapes with every dimension, alone in its tensor and in all where its size stands, made 0.
fn with_a_zero(shapes: &[Vec<usize>]) -> Vec<Vec<Vec<usize>>> {
    let mut all = vec![];
    for (i, shape) in shapes.iter().enumerate() {
        for (d, &size) in shape.iter().enumerate() {
            let mut alone = shapes.to_vec();
            alone[i][d] = 0;
            let zeroed = |&n: &usize| if n == size { 0 } else { n };
            let everywhere = shapes.iter().map(|s| s.iter().map(zeroed).collect());
            all.extend([alone, everywhere.collect()]);
        }
        let mut scalar = shapes.to_vec();
        scalar[i] = vec![];
        all.push(scalar);
    }
    all
}

#[test]
fn no_call_panics_on_tensors_without_elements_or_dimensions() {
    let mut complaints = vec![];
    for (name, shapes, op) in empty() {
        for shapes in with_a_zero(&shapes) {
            let run = || -> Result<()> {
                let vars = shapes.iter().map(|s| Var::from_tensor(&t(s)));
                let vars = vars.collect::<Result<Vec<_>>>()?;
                let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
                let _tape = Tape::new();
                let y = op(&tensors)?;
                let values = y.flatten_all()?.to_vec1::<f32>()?;
                assert_eq!(values.len(), y.elem_count());
                let loss = sum(&y)?;
                let grads = [loss.backward()?, backward(&loss)?];
                for (var, grads) in vars.iter().flat_map(|v| grads.iter().map(move |g| (v, g))) {
                    if let Some(grad) = grads.get(var) {
                        assert_eq!(grad.dims(), var.dims());
                        assert_eq!(
                            grad.flatten_all()?.to_vec1::<f32>()?.len(),
                            var.elem_count()
                        );
                    }
                }
                Ok(())
            };
            for ours in [true, false] {
                let ran = catch_unwind(AssertUnwindSafe(
                    || if ours { run() } else { composed(run) },
                ));
                if ran.is_err() {
                    complaints.push(format!("{name} of {shapes:?}, kernel: {ours}"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

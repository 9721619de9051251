//! Pools, resampling, padding, and the convolutions that are not plain.

use candle_core::{Result, Tensor};
use dl_autograd::{
    AvgPool1dConfig, AvgPool2dConfig, Conv1dConfig, Conv3dConfig, ConvTranspose1dConfig,
    ConvTranspose2dConfig, Interpolation, MaxPool1dConfig, MaxPool2dConfig, PadMode,
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d,
    avg_pool2d, conv_transpose1d, conv_transpose2d, conv1d, conv3d, global_avg_pool, interpolate,
    interpolate_by, max_pool1d, max_pool2d, pad, pixel_shuffle, pixel_unshuffle, scale_channels,
};

use crate::{Kernel, kernel};

/// The stem of a ResNet, whose windows overlap.
fn stem_pool(t: &[Tensor]) -> Result<Tensor> {
    let config = MaxPool2dConfig {
        kernel: (3, 3),
        stride: Some((2, 2)),
        padding: (1, 1),
        ..Default::default()
    };
    max_pool2d(&t[0], &config)
}

fn conv1d_same(t: &[Tensor]) -> Result<Tensor> {
    let config = Conv1dConfig {
        padding: (1, 1),
        ..Default::default()
    };
    conv1d(&t[0], &t[1], None, &config)
}

fn upsampling(t: &[Tensor]) -> Result<Tensor> {
    let config = ConvTranspose2dConfig {
        stride: (2, 2),
        ..Default::default()
    };
    conv_transpose2d(&t[0], &t[1], None, &config)
}

fn audio_upsampling(t: &[Tensor]) -> Result<Tensor> {
    let config = ConvTranspose1dConfig {
        stride: 4,
        padding: (2, 2),
        ..Default::default()
    };
    conv_transpose1d(&t[0], &t[1], None, &config)
}

fn bilinear(t: &[Tensor]) -> Result<Tensor> {
    let mode = Interpolation::Linear {
        align_corners: false,
    };
    interpolate(&t[0], &[56, 56], mode)
}

fn bicubic(t: &[Tensor]) -> Result<Tensor> {
    let mode = Interpolation::Cubic {
        align_corners: false,
    };
    interpolate(&t[0], &[56, 56], mode)
}

/// Pools, resampling, and the convolutions that are not plain.
pub fn images() -> Vec<Kernel> {
    vec![
        kernel(
            "conv1d 3, 16×128×512",
            &[&[16, 128, 512], &[128, 128, 3]],
            conv1d_same,
            Some(|t| t[0].conv1d(&t[1], 1, 1, 1, 1)),
        ),
        kernel(
            "conv3d 3×3×3, 2×32×16×28×28",
            &[&[2, 32, 16, 28, 28], &[32, 32, 3, 3, 3]],
            |t| {
                let config = Conv3dConfig {
                    padding: (1, 1, 1),
                    ..Default::default()
                };
                conv3d(&t[0], &t[1], None, &config)
            },
            None,
        ),
        kernel(
            "conv_transpose1d 8 stride 4, 16×64×512",
            &[&[16, 64, 512], &[64, 64, 8]],
            audio_upsampling,
            None,
        ),
        kernel(
            "conv_transpose2d 2×2, 16×64×28×28",
            &[&[16, 64, 28, 28], &[64, 64, 2, 2]],
            upsampling,
            Some(|t| t[0].conv_transpose2d(&t[1], 0, 0, 2, 1)),
        ),
        kernel(
            "max_pool2d 3×3 stride 2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            stem_pool,
            None,
        ),
        kernel(
            "max_pool2d 2×2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| max_pool2d(&t[0], &MaxPool2dConfig::default()),
            Some(|t| t[0].max_pool2d(2)),
        ),
        kernel(
            "avg_pool2d 2×2, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| avg_pool2d(&t[0], &AvgPool2dConfig::default()),
            Some(|t| t[0].avg_pool2d(2)),
        ),
        kernel(
            "adaptive_avg_pool2d to 7×7, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| adaptive_avg_pool2d(&t[0], (7, 7)),
            Some(|t| t[0].avg_pool2d(8)),
        ),
        kernel(
            "adaptive_max_pool2d to 7×7, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| adaptive_max_pool2d(&t[0], (7, 7)),
            Some(|t| t[0].max_pool2d(8)),
        ),
        kernel(
            "global_avg_pool, 16×512×14×14",
            &[&[16, 512, 14, 14]],
            |t| global_avg_pool(&t[0]),
            Some(|t| t[0].mean((2, 3))),
        ),
        kernel(
            "max_pool1d 2, 16×64×4096",
            &[&[16, 64, 4096]],
            |t| max_pool1d(&t[0], &MaxPool1dConfig::default()),
            None,
        ),
        kernel(
            "avg_pool1d 2, 16×64×4096",
            &[&[16, 64, 4096]],
            |t| avg_pool1d(&t[0], &AvgPool1dConfig::default()),
            None,
        ),
        kernel(
            "adaptive_avg_pool1d to 64, 16×64×4096",
            &[&[16, 64, 4096]],
            |t| adaptive_avg_pool1d(&t[0], 64),
            None,
        ),
        kernel(
            "adaptive_max_pool1d to 64, 16×64×4096",
            &[&[16, 64, 4096]],
            |t| adaptive_max_pool1d(&t[0], 64),
            None,
        ),
        kernel(
            "interpolate bicubic ×2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            bicubic,
            None,
        ),
        kernel(
            "interpolate_by 1.7, bilinear, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            |t| {
                let mode = Interpolation::Linear {
                    align_corners: false,
                };
                interpolate_by(&t[0], &[1.7, 1.7], mode)
            },
            None,
        ),
        kernel(
            "pixel_shuffle 2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            |t| pixel_shuffle(&t[0], 2),
            Some(|t| candle_nn::ops::pixel_shuffle(&t[0], 2)),
        ),
        kernel(
            "pixel_unshuffle 2, 16×16×56×56",
            &[&[16, 16, 56, 56]],
            |t| pixel_unshuffle(&t[0], 2),
            Some(|t| candle_nn::ops::pixel_unshuffle(&t[0], 2)),
        ),
        kernel(
            "scale_channels, 16×64×56×56",
            &[&[16, 64, 56, 56], &[16, 64]],
            |t| scale_channels(&t[0], &t[1]),
            Some(|t| t[0].broadcast_mul(&t[1].reshape((16, 64, 1, 1))?)),
        ),
        kernel(
            "interpolate bilinear ×2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            bilinear,
            None,
        ),
        kernel(
            "interpolate nearest ×2, 16×64×28×28",
            &[&[16, 64, 28, 28]],
            |t| interpolate(&t[0], &[56, 56], Interpolation::Nearest),
            Some(|t| t[0].upsample_nearest2d(56, 56)),
        ),
        kernel(
            "pad reflect 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Reflect),
            None,
        ),
        kernel(
            "pad replicate 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Replicate),
            Some(|t| candle_nn::ops::replication_pad2d(&t[0], 1)),
        ),
        kernel(
            "pad circular 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Circular),
            None,
        ),
        kernel(
            "pad constant 1, 16×64×56×56",
            &[&[16, 64, 56, 56]],
            |t| pad(&t[0], &[(1, 1), (1, 1)], PadMode::Constant(0.)),
            Some(|t| t[0].pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)),
        ),
    ]
}

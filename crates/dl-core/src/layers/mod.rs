//! Layers on the differentiable ops of `dl-autograd`, with PyTorch's parameter names and initialisation.

mod adaptive_pool;
mod alpha_dropout;
mod attention_mask;
mod batch_norm;
mod channel_dropout;
mod checkpointed;
mod conv1d;
mod conv2d;
mod conv3d;
mod conv_transpose1d;
mod conv_transpose2d;
mod drop_path;
mod dropout;
mod embedding;
mod gaussian_noise;
mod group_norm;
mod gru;
mod instance_norm;
mod kv_cache;
mod layer_norm;
mod linear;
mod lstm;
mod module_dict;
mod module_list;
mod multihead_attention;
mod padding_mode;
mod patch_embed;
mod pool;
mod positions;
mod prelu;
mod recurrent;
mod residual;
mod resize;
mod rms_norm;
mod sequential;
mod spectral_norm;
mod squeeze_excite;
mod transformer;
mod transformer_decoder;
mod transformer_encoder;
mod var_recorder;
mod weight_norm;

pub use adaptive_pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, GlobalAvgPool,
};
pub use alpha_dropout::AlphaDropout;
pub use attention_mask::AttentionMask;
pub use batch_norm::{BatchNorm, BatchNormConfig, batch_norm};
pub use channel_dropout::{ChannelDropout, Dropout1d, Dropout2d, Dropout3d};
pub use checkpointed::{Checkpointed, checkpointed};
pub use conv_transpose1d::{ConvTranspose1d, ConvTranspose1dOptions, conv_transpose1d};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dOptions, conv_transpose2d};
pub use conv1d::{Conv1d, Conv1dOptions, Padding1d, conv1d};
pub use conv2d::{Conv2d, Conv2dOptions, Padding, conv2d};
pub use conv3d::{Conv3d, Conv3dOptions, conv3d};
pub use drop_path::DropPath;
pub use dropout::Dropout;
pub use embedding::{Embedding, embedding};
pub use gaussian_noise::GaussianNoise;
pub use group_norm::{GroupNorm, GroupNormConfig, group_norm};
pub use gru::{Gru, gru};
pub use instance_norm::{InstanceNorm, InstanceNormConfig, instance_norm};
pub use kv_cache::KvCache;
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use linear::{Linear, linear, linear_no_bias};
pub use lstm::{Lstm, LstmState, lstm};
pub use module_dict::{ModuleDict, module_dict};
pub use module_list::{ModuleList, module_list};
pub use multihead_attention::{MultiheadAttention, MultiheadAttentionConfig, multihead_attention};
pub use padding_mode::PaddingMode;
pub use patch_embed::{PatchEmbed, PatchEmbedConfig, patch_embed};
pub use pool::{AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
pub use positions::{LearnedPositions, RotaryEmbedding, SinusoidalPositions, learned_positions};
pub use prelu::{PRelu, prelu};
pub use recurrent::RecurrentConfig;
pub use residual::Residual;
pub use resize::{Pad, PixelShuffle, PixelUnshuffle, Upsample};
pub use rms_norm::{RmsNorm, RmsNormConfig, rms_norm};
pub use sequential::{Sequential, SequentialBuilder, sequential};
pub use spectral_norm::{SpectralNorm, SpectralNormConfig, spectral_norm};
pub use squeeze_excite::{
    SqueezeActivation, SqueezeExcite, SqueezeExciteConfig, SqueezeGate, squeeze_excite,
};
pub use transformer::{FeedForwardActivation, TransformerConfig};
pub use transformer_decoder::{
    TransformerDecoder, TransformerDecoderLayer, transformer_decoder, transformer_decoder_layer,
};
pub use transformer_encoder::{
    TransformerEncoder, TransformerEncoderLayer, transformer_encoder, transformer_encoder_layer,
};
pub use weight_norm::{WeightNorm, weight_norm};

pub use dl_autograd::{
    AvgPool1dConfig, AvgPool2dConfig, Interpolation, MaxPool1dConfig, MaxPool2dConfig, PadMode,
};

//! Transforms of items, applied before they are batched, and of batches.
//!
//! | as in torchvision | here |
//! |---|---|
//! | `Compose` | [`Compose`] |
//! | `Resize` | [`Resize`] |
//! | `CenterCrop`, `RandomCrop`, `RandomResizedCrop` | [`CenterCrop`], [`RandomCrop`], [`RandomResizedCrop`] |
//! | `RandomHorizontalFlip` | [`RandomHorizontalFlip`] |
//! | `RandomErasing`, `ColorJitter` (without hue) | [`RandomErasing`], [`ColorJitter`] |
//! | `MixUp`, `CutMix` | [`Mixup`], [`Cutmix`], transforms of batches |
//! | `Grayscale` | [`Grayscale`], [`ToRgb`] |
//! | `ToTensor`, `Normalize` | [`Normalize`], within [`StackImages`](super::StackImages) |

mod apply;
mod center_crop;
mod color_jitter;
mod compose;
mod cutmix;
mod draw;
mod grayscale;
mod mixup;
mod normalize;
mod random_crop;
mod random_erasing;
mod random_horizontal_flip;
mod random_resized_crop;
mod resize;
mod soft_targets;
mod to_rgb;
mod window;

pub use apply::Transform;
pub use center_crop::CenterCrop;
pub use color_jitter::ColorJitter;
pub use compose::Compose;
pub use cutmix::Cutmix;
pub use draw::Draw;
pub use grayscale::Grayscale;
pub use mixup::Mixup;
pub use normalize::Normalize;
pub use random_crop::RandomCrop;
pub use random_erasing::RandomErasing;
pub use random_horizontal_flip::RandomHorizontalFlip;
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Resize;
pub use to_rgb::ToRgb;

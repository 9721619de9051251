//! Transforms of items, applied before they are batched.
//!
//! | as in torchvision | here |
//! |---|---|
//! | `Compose` | [`Compose`] |
//! | `Resize` | [`Resize`] |
//! | `CenterCrop`, `RandomCrop`, `RandomResizedCrop` | [`CenterCrop`], [`RandomCrop`], [`RandomResizedCrop`] |
//! | `RandomHorizontalFlip` | [`RandomHorizontalFlip`] |
//! | `Grayscale` | [`Grayscale`], [`ToRgb`] |
//! | `ToTensor`, `Normalize` | [`Normalize`], within [`StackImages`](super::StackImages) |

mod apply;
mod center_crop;
mod compose;
mod draw;
mod grayscale;
mod normalize;
mod random_crop;
mod random_horizontal_flip;
mod random_resized_crop;
mod resize;
mod to_rgb;
mod window;

pub use apply::Transform;
pub use center_crop::CenterCrop;
pub use compose::Compose;
pub use draw::Draw;
pub use grayscale::Grayscale;
pub use normalize::Normalize;
pub use random_crop::RandomCrop;
pub use random_horizontal_flip::RandomHorizontalFlip;
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Resize;
pub use to_rgb::ToRgb;

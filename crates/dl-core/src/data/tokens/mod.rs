//! Sequences of tokens: windows of a text, vocabularies, padding.

mod char_vocabulary;
mod pad;
mod windows;

pub use char_vocabulary::CharVocabulary;
pub use pad::{PadTokens, Padded};
pub use windows::TokenWindows;

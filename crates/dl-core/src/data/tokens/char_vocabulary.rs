//! Characters as tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::data::DataError;

/// The characters of a text in their order, each a token, as nanoGPT has them; keep it with the model.
///
/// ```
/// use dl_core::data::CharVocabulary;
/// let vocabulary = CharVocabulary::of("hello");
/// assert_eq!(vocabulary.encode("hole")?, [1, 3, 2, 0]);
/// assert_eq!(vocabulary.decode(&[1, 0])?, "he");
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharVocabulary {
    characters: BTreeSet<char>,
}

impl CharVocabulary {
    /// Every character that the text has.
    pub fn of(text: &str) -> Self {
        Self {
            characters: text.chars().collect(),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// The tokens of a text; fails on a character that the vocabulary lacks.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let table: Vec<char> = self.characters.iter().copied().collect();
        let token = |(at, character): (usize, char)| match table.binary_search(&character) {
            Ok(token) => Ok(token as u32),
            Err(_) => Err(self.unknown(format!("{character:?}"), at)),
        };
        text.chars().enumerate().map(token).collect()
    }

    /// The text of tokens; fails on a token that the vocabulary lacks.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, DataError> {
        let table: Vec<char> = self.characters.iter().copied().collect();
        let character = |(at, token): (usize, &u32)| {
            let character = table.get(*token as usize).copied();
            character.ok_or_else(|| self.unknown(format!("token {token}"), at))
        };
        tokens.iter().enumerate().map(character).collect()
    }

    fn unknown(&self, token: String, at: usize) -> DataError {
        DataError::UnknownToken {
            token,
            at,
            known: self.len(),
        }
    }
}

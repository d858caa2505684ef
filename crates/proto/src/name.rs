//! A peer's name: for people, chosen by the peer's owner, and so hostile text until it is checked.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Serialize, Serializer};

use crate::identity::PeerId;
use crate::limits::MAX_NAME;

/// A name that is safe to print: 1 to [`MAX_NAME`] bytes of UTF-8, no control or invisible
/// formatting characters, no white space at either end. Names need not be unique; ids are.
///
/// A clone is another handle on the same text: it is in every record of its owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("a name has at most {MAX_NAME} bytes, this one has {0}")]
    TooLong(usize),
    /// A control character, a line separator or a bidirectional override.
    #[error("a name cannot contain the character {0:?}")]
    Character(char),
    /// White space at an end.
    #[error("a name cannot begin or end with white space")]
    Space,
}

/// Whether a character would change a terminal or a page instead of being displayed.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl Name {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong(text.len()));
        }
        if let Some(c) = text.chars().find(|&c| acts(c)) {
            return Err(NameError::Character(c));
        }
        if text.trim() != text {
            return Err(NameError::Space);
        }
        Ok(Name(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Name::new(s)
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Name::new(d.str()?).map_err(decode::Error::message)
    }
}

/// The name of a peer that has announced none: its short id.
pub(crate) fn unknown_name(id: &PeerId) -> Name {
    // Eight hexadecimal characters are a valid name.
    Name::new(id.short()).unwrap_or_else(|_| unreachable!("hexadecimal characters are a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_accepts_ordinary_text_and_refuses_control_characters() {
        for good in ["a", "peer-03", "Zoë", "北京 7"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new("a\u{1b}[2Jb"), Err(NameError::Character('\u{1b}')));
        assert_eq!(Name::new("a\u{202e}b"), Err(NameError::Character('\u{202e}')));
        assert_eq!(Name::new(" a"), Err(NameError::Space));
        assert_eq!(Name::new("x".repeat(65)), Err(NameError::TooLong(65)));
    }
}

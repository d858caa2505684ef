//! The secret that opens a control API.

use core::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// 32 random bytes in hexadecimal, which give access to the nodes of one server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A fresh token.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Token(HEXLOWER.encode(&bytes)))
    }

    /// A token that the user chose: 32 to 256 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = (32..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| Token(text.to_owned()))
    }

    /// Whether `given` is this token, in a time that does not depend on how much of it is right.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        constant_time_eq::constant_time_eq(self.0.as_bytes(), given)
    }

    /// The text, for an `Authorization` header.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Never shows the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_matches_and_debug_hides_it() {
        let t = Token::random().unwrap();
        assert!(t.matches(t.secret().as_bytes()));
        assert!(!t.matches(b""));
        assert!(!t.matches(&t.secret().as_bytes()[..63]));
        assert!(!Token::random().unwrap().matches(t.secret().as_bytes()));
        assert!(!format!("{t:?}").contains(t.secret()));
    }
}

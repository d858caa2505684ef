//! Identities and names of nodes.

use rumormill::proto::{Identity, Name};
use rumormill_terminal::exit::{Exit, Failure, Outcome};

/// Longest part of a default name that comes from the name of the host, in characters.
const MAX_HOST: usize = 40;

/// A new identity, for a node that stores none.
///
/// # Errors
/// The system gives no randomness.
pub fn fresh_identity() -> Outcome<Identity> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|e| {
        Failure::new(Exit::Failed, format!("the system gives no randomness for an identity: {e}"))
    })?;
    Ok(Identity::from_secret(&secret))
}

/// The name that a text spells.
///
/// # Errors
/// The text is not a name; the message says why.
pub fn name(text: &str) -> Outcome<Name> {
    Name::new(text).map_err(|e| Failure::new(Exit::Usage, format!("{text:?} is not a name: {e}")))
}

/// A name that no other node is likely to have: the host's name and the process's id.
///
/// # Errors
/// None in practice: the characters that a name cannot have are left out.
pub fn default_name() -> Outcome<Name> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let host: String = host.chars().filter(is_allowed).take(MAX_HOST).collect();
    let host = if host.is_empty() { "peer".to_owned() } else { host };
    name(&format!("{host}-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_name_is_a_valid_name() {
        assert!(default_name().is_ok());
    }
}

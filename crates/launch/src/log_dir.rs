//! The layout of a directory of logs: `seeds/NAME.log`, `peers/NAME.log`, and beside them
//! `peers/NAME.messages.log` and `seeds/NAME.degrees.log`.

/// The directory of the seeds' logs, inside the directory of logs.
pub const SEEDS: &str = "seeds";
/// The directory of the peers' logs, inside the directory of logs.
pub const PEERS: &str = "peers";
/// The directory of logs, unless the user names another one.
pub const DEFAULT: &str = "logs";

/// The name of a node as the first part of the name of its log.
pub fn stem(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    name.chars().map(safe).collect()
}

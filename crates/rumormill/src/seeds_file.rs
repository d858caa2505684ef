//! The file that names the seeds of a network.
//!
//! One `HOST:PORT` per line, an IPv6 address in brackets. Blank lines are skipped. A `#` at the
//! start of a line or after white space begins a comment. A `#` directly behind the port begins a
//! pin: the 64 hexadecimal characters of the id that this seed must have.
//!
//! ```
//! let seeds = rumormill::seeds_file::parse("
//!     ## our three seeds
//!     10.0.0.1:7000
//!     seed.example.org:7000   # moves now and then
//!     [::1]:7002
//! ")?;
//! assert_eq!(seeds[1].host_port, "seed.example.org:7000");
//! # Ok::<(), rumormill::seeds_file::SeedsFileError>(())
//! ```

use std::fmt::Write as _;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use rumormill_proto::limits::{MAX_HOST_PORT, MAX_SEEDS};
use rumormill_proto::{PeerId, SeedAddress};

/// Why a seeds file was refused. No part of it is used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedsFileError {
    /// A line is invalid.
    #[error("line {line}: {text:?}: {expected}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// The line without white space at its ends, at most 80 characters of it.
        text: String,
        /// The error, and the expected form.
        expected: String,
    },
    /// The file names no seed.
    #[error("no seed is named: write one HOST:PORT per line")]
    Empty,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of a file is invalid.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error in it.
        error: Box<SeedsFileError>,
    },
}

/// Parses the text of a seeds file.
///
/// # Errors
/// The first invalid line, by number, with the expected form; or that no seed is named.
pub fn parse(text: &str) -> Result<Vec<SeedAddress>, SeedsFileError> {
    // Some Windows editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut seeds: Vec<(usize, SeedAddress)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let wrong = |expected: String| SeedsFileError::Line {
            line: number,
            text: line.trim().chars().take(80).collect(),
            expected,
        };
        let line_text = without_comment(line).trim();
        if line_text.is_empty() {
            continue;
        }
        let seed = parse_seed(line_text).map_err(wrong)?;
        let same = |other: &SeedAddress| {
            other.host_port.eq_ignore_ascii_case(&seed.host_port)
                || (other.pin.is_some() && other.pin == seed.pin)
        };
        if let Some((first, _)) = seeds.iter().find(|(_, s)| same(s)) {
            return Err(wrong(format!("this seed is already named in line {first}")));
        }
        if seeds.len() == MAX_SEEDS {
            return Err(wrong(format!("a network has at most {MAX_SEEDS} seeds")));
        }
        seeds.push((number, seed));
    }
    if seeds.is_empty() {
        return Err(SeedsFileError::Empty);
    }
    Ok(seeds.into_iter().map(|(_, s)| s).collect())
}

/// Reads a seeds file.
///
/// # Errors
/// It cannot be read, or [`parse`] refuses it.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<SeedAddress>, SeedsFileError> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path)
        .map_err(|source| SeedsFileError::Read { path: path.to_owned(), source })?;
    parse(&text)
        .map_err(|error| SeedsFileError::File { path: path.to_owned(), error: Box::new(error) })
}

/// The text that [`parse`] reads back as `seeds`.
#[must_use]
pub fn format(seeds: &[SeedAddress]) -> String {
    let mut text = String::new();
    for seed in seeds {
        text.push_str(&seed.host_port);
        if let Some(pin) = seed.pin {
            // Writing to a String cannot fail.
            let _ = write!(text, "#{}", pin.to_hex());
        }
        text.push('\n');
    }
    text
}

/// Removes a comment: a `#` at the start or after white space, and the rest of the line.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or(line);
        }
        before = c;
    }
    line
}

fn parse_seed(text: &str) -> Result<SeedAddress, String> {
    let (host_port, pin) = match text.split_once('#') {
        None => (text, None),
        Some((host_port, pin)) => {
            let pin: PeerId = pin.parse().map_err(|_| {
                "expected 64 hexadecimal characters directly behind '#' (a comment needs white \
                 space before its '#')"
                    .to_owned()
            })?;
            (host_port, Some(pin))
        }
    };
    check_host_port(host_port)?;
    Ok(SeedAddress { host_port: host_port.to_owned(), pin })
}

/// Checks the form of a `HOST:PORT`.
fn check_host_port(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_whitespace) {
        return Err("expected one HOST:PORT per line, found white space inside".to_owned());
    }
    if text.len() > MAX_HOST_PORT {
        return Err(format!("expected at most {MAX_HOST_PORT} characters"));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("expected HOST:PORT, found no port".to_owned());
    };
    if let Some(ip) = host.strip_prefix('[') {
        let ip = ip.strip_suffix(']').ok_or("expected ']' behind the IPv6 address")?;
        ip.parse::<Ipv6Addr>().map_err(|_| format!("{ip:?} is not an IPv6 address"))?;
    } else if host.contains(':') {
        return Err("expected an IPv6 address in brackets, as in [::1]:7000".to_owned());
    } else {
        check_host(host)?;
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{port:?} is not a port: expected 1 to 65535")),
        Ok(_) if port.starts_with('+') => Err(format!("{port:?} is not a port")),
        Ok(_) => Ok(()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("expected HOST:PORT, found no host".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if let Some(c) = host.chars().find(|&c| !allowed(c)) {
        return Err(format!("{c:?} cannot be in a host name"));
    }
    if host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(format!("{host:?} is not a host name"));
    }
    // A name whose last label is a number is an IPv4 address or a mistake.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.chars().all(|c| c.is_ascii_digit()) && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!("{host:?} is not an IPv4 address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_pins_ipv6_and_windows_line_ends_are_parsed() {
        let pin = "0f".repeat(32);
        let text = format!(
            "\u{feff}# seeds\r\n127.0.0.1:7000\r\n\n  seed-1.example.org:7001 # two\n\
             [::1]:7002#{pin}\n[fe80::1]:7003#{pin2}# x\n\t#last\n",
            pin2 = "0E".repeat(32)
        );
        // The last '#' is directly behind the pin, so it begins no comment.
        let e = parse(&text).unwrap_err().to_string();
        assert!(e.starts_with("line 6:"), "{e}");
        let seeds = parse(&text.replace("# x", " # x")).unwrap();
        let hosts: Vec<&str> = seeds.iter().map(|s| s.host_port.as_str()).collect();
        assert_eq!(
            hosts,
            ["127.0.0.1:7000", "seed-1.example.org:7001", "[::1]:7002", "[fe80::1]:7003"]
        );
        assert_eq!(seeds[2].pin.unwrap().to_hex(), pin);
        assert_eq!(parse(&format(&seeds)).unwrap(), seeds);
    }

    #[test]
    fn every_invalid_line_is_reported_by_number_with_the_expected_form() {
        let pin = "0f".repeat(32);
        let cases = [
            ("localhost", "no port"),
            ("localhost:", "not a port"),
            ("localhost:0", "1 to 65535"),
            ("localhost:65536", "1 to 65535"),
            ("localhost:+70", "not a port"),
            ("localhost:http", "not a port"),
            (":7000", "no host"),
            ("::1:7000", "in brackets"),
            ("[::1:7000", "']'"),
            ("[::g]:7000", "not an IPv6 address"),
            ("256.0.0.1:7000", "not an IPv4 address"),
            ("10.0.0:7000", "not an IPv4 address"),
            ("a..b:7000", "not a host name"),
            ("a/b:7000", "'/' cannot be"),
            ("a b:7000", "white space inside"),
            ("10.0.0.1:7000, 10.0.0.2:7000", "white space inside"),
            ("host:7000#comment", "64 hexadecimal"),
            ("host:7000#0f", "64 hexadecimal"),
            (&format!("{}:7000", "a".repeat(64)), "not a host name"),
            (&format!("{}:7000", "a.".repeat(200)), "at most 264"),
            ("FIRST:1", "already named in line 1"),
            (&format!("other:1#{pin}"), "already named in line 2"),
        ];
        for (line, expected) in cases {
            let e = parse(&format!("first:1\nsecond:1#{pin}\n{line}\n")).unwrap_err().to_string();
            assert!(e.starts_with("line 3: ") && e.contains(expected), "{line}: {e}");
        }
    }

    #[test]
    fn error_escapes_and_truncates_hostile_text() {
        let e = parse(&format!("\u{1b}[2J{}", "x".repeat(500))).unwrap_err().to_string();
        assert!(!e.contains('\u{1b}') && e.len() < 300, "{e}");
    }

    #[test]
    fn file_with_no_seed_or_too_many_seeds_is_refused() {
        assert!(matches!(parse("# nothing\n\n"), Err(SeedsFileError::Empty)));
        let many: String = (0..=MAX_SEEDS).map(|n| format!("h{n}:1\n")).collect();
        assert!(parse(&many).unwrap_err().to_string().contains("at most 64 seeds"));
    }

    #[test]
    fn error_names_the_file() {
        let e = read("/nonexistent/seeds.txt").unwrap_err().to_string();
        assert!(e.contains("/nonexistent/seeds.txt"), "{e}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.txt");
        std::fs::write(&path, "ok:1\nbad\n").unwrap();
        let e = read(&path).unwrap_err().to_string();
        assert!(e.contains("config.txt: line 2: \"bad\""), "{e}");
    }
}

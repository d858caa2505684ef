//! Values of a scenario file: a time, a size, a range, a number of peers.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use rumormill_units::{duration, size};
use serde::{Deserialize, Deserializer};

/// Deserializes a value from a string or a number.
macro_rules! from_text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = TextOrNumber::deserialize(from)?.to_string();
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The TOML types in which a value may be written.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Integer(u64),
    Float(f64),
}

impl fmt::Display for TextOrNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextOrNumber::Text(t) => f.write_str(t),
            TextOrNumber::Integer(n) => n.fmt(f),
            TextOrNumber::Float(n) => n.fmt(f),
        }
    }
}

/// A time: `"250us"`, `"20ms"`, `"1.5s"`, `"2m"`, `"1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        duration::parse(text).map(Span).map_err(|e| format!("{text:?} is not a time: {e}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        if micros.is_multiple_of(1_000_000) {
            write!(f, "{}s", micros / 1_000_000)
        } else if micros.is_multiple_of(1000) {
            write!(f, "{}ms", micros / 1000)
        } else {
            write!(f, "{micros}us")
        }
    }
}

from_text!(Span);

/// A shortest and a longest time: `"5ms"` or `"1ms..20ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanRange {
    /// Shortest.
    pub min: Span,
    /// Longest.
    pub max: Span,
}

impl FromStr for SpanRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = parse_range(text)?;
        Ok(SpanRange { min, max })
    }
}

impl fmt::Display for SpanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, &self.min, &self.max)
    }
}

from_text!(SpanRange);

/// A smallest and a largest size in bytes: `200`, `"64KiB"` or `"100..2000"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest.
    pub min: Size,
    /// Largest.
    pub max: Size,
}

impl FromStr for SizeRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = parse_range(text)?;
        Ok(SizeRange { min, max })
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, &self.min, &self.max)
    }
}

from_text!(SizeRange);

/// A number of bytes: `200`, `"64KiB"`, `"10MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        size::parse(text).map(Size).map_err(|e| format!("{text:?} is not a size: {e}"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

from_text!(Size);

/// A number of peers: `3`, or `"10%"` of the live peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// This number.
    Count(usize),
    /// This percentage, rounded up.
    Percent(f64),
}

impl Share {
    /// The number of peers of a total of `n`.
    #[must_use]
    pub fn of(self, n: usize) -> usize {
        match self {
            Share::Count(count) => count.min(n),
            Share::Percent(p) => ((n as f64 * p / 100.0).ceil() as usize).min(n),
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Share::Count(1)
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a number of peers: write 3, or \"10%\"");
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Share::Count).map_err(|_| wrong());
        };
        let p: f64 = percent.trim().parse().map_err(|_| wrong())?;
        if (0.0..=100.0).contains(&p) { Ok(Share::Percent(p)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Count(n) => n.fmt(f),
            Share::Percent(p) => write!(f, "{p}%"),
        }
    }
}

from_text!(Share);

/// Parses one value, or two with `..` between them, the smaller one first.
fn parse_range<T: FromStr<Err = String> + PartialOrd + Copy>(text: &str) -> Result<(T, T), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (min.trim().parse()?, max.trim().parse()?);
    if min > max { Err(format!("{text:?} ends before it begins")) } else { Ok((min, max)) }
}

fn write_range<T: fmt::Display + PartialEq>(
    f: &mut fmt::Formatter<'_>,
    min: &T,
    max: &T,
) -> fmt::Result {
    if min == max { min.fmt(f) } else { write!(f, "{min}..{max}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_they_are_parsed() {
        for text in ["20s", "1500ms", "250us"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["5ms", "1ms..20ms"] {
            assert_eq!(text.parse::<SpanRange>().unwrap().to_string(), text);
        }
        for text in ["200", "100..2000"] {
            assert_eq!(text.parse::<SizeRange>().unwrap().to_string(), text);
        }
        for text in ["3", "10%", "2.5%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn parse_errors_name_the_invalid_value() {
        assert!("20".parse::<Span>().unwrap_err().contains("\"20\" is not a time"));
        assert!("9ms..1ms".parse::<SpanRange>().unwrap_err().contains("ends before it begins"));
        for bad in ["101%", "-1", "x", "%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn percentage_is_rounded_up_and_count_is_limited() {
        assert_eq!(Share::Percent(10.0).of(25), 3);
        assert_eq!(Share::Percent(0.0).of(25), 0);
        assert_eq!(Share::Count(9).of(5), 5);
    }
}

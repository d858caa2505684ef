//! Durations in readable form.

use std::time::Duration;

use jiff::fmt::friendly::{FractionalUnit, Spacing, SpanParser, SpanPrinter};
use jiff::{SignedDuration, SignedDurationRound, Unit};

/// The longest duration that [`parse`] takes.
const MAX: Duration = Duration::from_secs(366 * 86_400);

/// Parses `250us`, `500ms`, `90s`, `1.5s`, `2m`, `1h 30m` or `0`; at most a year.
///
/// # Errors
/// The text has another form: the message says which one was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| "expected a number with a unit, such as 500ms, 90s, 2m or 1h".to_owned())
        .and_then(|d| if d > MAX { Err("that is longer than a year".to_owned()) } else { Ok(d) })
}

/// A duration in readable form, with the digits that matter: `850 ms`, `2.5 s`, `3 m 20 s`,
/// `4 h 5 m`.
#[must_use]
pub fn show(d: Duration) -> String {
    let printer = SpanPrinter::new().spacing(Spacing::BetweenUnitsAndDesignators);
    let d = SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    let (unit, increment, printer) = match d.as_millis() {
        0..10 => (Unit::Microsecond, 10, printer.fractional(Some(FractionalUnit::Millisecond))),
        10..1_000 => (Unit::Millisecond, 1, printer),
        1_000..120_000 => {
            (Unit::Millisecond, 100, printer.fractional(Some(FractionalUnit::Second)))
        }
        120_000..7_200_000 => (Unit::Second, 1, printer),
        _ => (Unit::Minute, 1, printer),
    };
    // A duration too close to the limit of the type to be rounded is shown as it is.
    let rounding = SignedDurationRound::new().smallest(unit).increment(increment);
    printer.duration_to_string(&d.round(rounding).unwrap_or(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_known_units_are_parsed_and_others_refused() {
        assert_eq!(parse("250us"), Ok(Duration::from_micros(250)));
        for (text, ms) in
            [("500ms", 500), ("90s", 90_000), ("1.5s", 1500), ("2m", 120_000), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in
            ["", "5", "s", "-1s", "1s ago", "1d", "1e3s", "inf", "NaNs", "1..5s", "99999999h"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_suits_their_size() {
        for (ms, text) in [
            (1, "1 ms"),
            (850, "850 ms"),
            (2500, "2.5 s"),
            (31_449, "31.4 s"),
            (200_000, "3 m 20 s"),
            (14_700_000, "4 h 5 m"),
        ] {
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
        assert_eq!(show(Duration::from_micros(2_349)), "2.35 ms");
        assert!(!show(Duration::MAX).is_empty());
    }
}

//! Durations in readable form.

use std::time::Duration;

/// Parses `250us`, `500ms`, `90s`, `1.5s`, `2m`, `1h` or `0`; at most a year.
///
/// # Errors
/// The text has another form: the message says which one was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with a unit, such as 500ms, 90s, 2m or 1h".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        "" if value == 0.0 => 0.0,
        _ => return Err(expected()),
    };
    if seconds > 366.0 * 86_400.0 {
        return Err("that is longer than a year".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| expected())
}

/// A duration in readable form: `850 ms`, `2.5 s`, `3 min 20 s`, `4 h 5 min`.
#[must_use]
pub fn show(d: Duration) -> String {
    let seconds = d.as_secs_f64();
    if seconds < 0.01 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if d.as_secs() < 7200 {
        format!("{} min {} s", d.as_secs() / 60, d.as_secs() % 60)
    } else {
        format!("{} h {} min", d.as_secs() / 3600, d.as_secs() / 60 % 60)
    }
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
        for bad in ["", "5", "s", "-1s", "1 s", "1d", "1e3s", "inf", "NaNs", "1..5s", "99999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_suits_their_size() {
        for (ms, text) in [
            (1, "1.00 ms"),
            (850, "850 ms"),
            (2500, "2.5 s"),
            (200_000, "3 min 20 s"),
            (14_700_000, "4 h 5 min"),
        ] {
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
    }
}

//! Sizes in readable form.

/// Parses `500000`, `64KiB`, `16MiB`, `2GiB`, `100kB`, `100MB` or `2GB`, in bytes.
///
/// # Errors
/// The text has another form: the message says which one was expected.
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || "expected a number of bytes, or one with a unit, such as 64MiB".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: u64 = number.parse().map_err(|_| expected())?;
    let unit: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    value.checked_mul(unit).ok_or_else(|| "that is more than 64 bits can hold".to_owned())
}

/// A size in readable form: `900 B`, `1.5 KiB`, `16 MiB`.
#[must_use]
pub fn show(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let digits = usize::from(unit != "B" && value < 10.0 && value.fract() > 0.0);
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (900, "900 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (16 << 20, "16 MiB"),
            (5 << 30, "5 GiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }

    #[test]
    fn sizes_with_known_units_are_parsed_and_others_refused() {
        for (text, bytes) in [
            ("0", 0),
            ("500000", 500_000),
            ("64KiB", 65_536),
            ("16MiB", 16 << 20),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "16 MiB",
            "16M",
            "16mib",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

//! Sizes in readable form.

use bytesize::ByteSize;

/// Parses `500000`, `64KiB`, `1.5MiB`, `2GiB`, `100kB`, `100MB` or `2 GB`, in bytes. The case of
/// the unit does not matter.
///
/// # Errors
/// The text has another form: the message says which one was expected.
pub fn parse(text: &str) -> Result<u64, String> {
    match text.parse() {
        // The library gives the largest number for a larger one.
        Ok(ByteSize(u64::MAX)) => Err("that is more than 64 bits can hold".to_owned()),
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(_) => Err("expected a number of bytes, or one with a unit, such as 64MiB".to_owned()),
    }
}

/// A size in readable form: `900 B`, `1.5 KiB`, `16.0 MiB`.
#[must_use]
pub fn show(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (900, "900 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (16 << 20, "16.0 MiB"),
            (5 << 30, "5.0 GiB"),
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
            ("1.5MiB", 3 << 19),
            ("16 mib", 16 << 20),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "16MiBs",
            "1..5MiB",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

//! Points in time as text, in UTC, so that the logs of several machines can be compared.

use jiff::Timestamp;

/// The present time, in microseconds since 1970 (Unix time).
pub fn now_us() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}

/// The point in time; the last one of the calendar if it is beyond the year 9999, which only a
/// hostile node sends.
fn timestamp(unix_us: u64) -> Timestamp {
    let signed = i64::try_from(unix_us).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(signed).unwrap_or(Timestamp::MAX)
}

/// The time as `2026-02-26T19:39:24.123Z`.
pub fn stamp(unix_us: u64) -> String {
    format!("{:.3}", timestamp(unix_us))
}

/// The time of day as `19:39:24`.
pub fn clock(unix_us: u64) -> String {
    timestamp(unix_us).strftime("%H:%M:%S").to_string()
}

/// The time as `2026-02-26 19->39.24`, the form of the message log.
pub fn message_stamp(unix_us: u64) -> String {
    timestamp(unix_us).strftime("%Y-%m-%d %H->%M.%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_gives_known_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_772_134_764, "2026-02-26T19:39:24.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(stamp(seconds * 1_000_000), text);
        }
        assert_eq!(stamp(1_772_134_764_123_456), "2026-02-26T19:39:24.123Z");
        assert_eq!(message_stamp(1_772_134_764_123_456), "2026-02-26 19->39.24");
        assert_eq!(clock(1_772_134_764_123_456), "19:39:24");
    }

    #[test]
    fn stamp_accepts_any_number() {
        assert!(stamp(u64::MAX).starts_with("9999-12-30T"));
        assert!(!clock(u64::MAX).is_empty() && !message_stamp(u64::MAX).is_empty());
    }
}

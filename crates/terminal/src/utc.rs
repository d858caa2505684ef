//! Points in time as text, in UTC, so that the logs of several machines can be compared.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, split up (proleptic Gregorian calendar, UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CivilTime {
    year: i64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u64,
}

/// The present time, in microseconds since 1970 (Unix time).
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// "civil_from_days" of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil_time(unix_us: u64) -> CivilTime {
    let seconds = unix_us / 1_000_000;
    let days = i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097).unsigned_abs();
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    CivilTime {
        year: i64::try_from(year_of_era).unwrap_or(0) + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        hour: seconds / 3600 % 24,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: unix_us % 1_000_000,
    }
}

/// The time as `2026-02-26T19:39:24.123Z`.
pub fn stamp(unix_us: u64) -> String {
    let p = civil_time(unix_us);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        p.year,
        p.month,
        p.day,
        p.hour,
        p.minute,
        p.second,
        p.micros / 1000
    )
}

/// The time of day as `19:39:24`.
pub fn clock(unix_us: u64) -> String {
    let p = civil_time(unix_us);
    format!("{:02}:{:02}:{:02}", p.hour, p.minute, p.second)
}

/// The time as `2026-02-26 19->39.24`, the form of the message log.
pub fn message_stamp(unix_us: u64) -> String {
    let p = civil_time(unix_us);
    format!(
        "{:04}-{:02}-{:02} {:02}->{:02}.{:02}",
        p.year, p.month, p.day, p.hour, p.minute, p.second
    )
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
        assert!(!stamp(u64::MAX).is_empty());
    }
}

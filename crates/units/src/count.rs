//! Counts as text.

/// A count with its noun, grouped: `1 peer`, `2 peers`, `12,000 peers`. For nouns with a plural in
/// `s`.
#[must_use]
pub fn counted(n: impl TryInto<u64>, what: &str) -> String {
    // A negative number, or one beyond u64, is shown as the maximum.
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number in groups of three digits.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_grouped_with_singular_or_plural() {
        assert_eq!(counted(0u32, "peer"), "0 peers");
        assert_eq!(counted(1usize, "peer"), "1 peer");
        assert_eq!(counted(9_999i64, "peer"), "9,999 peers");
        assert_eq!(counted(12_345u64, "peer"), "12,345 peers");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}

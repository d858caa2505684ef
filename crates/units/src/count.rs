//! Numbers of things in words.

/// A number of things, grouped: `1 peer`, `2 peers`, `12,000 peers`. For words whose plural ends in `s`.
#[must_use]
pub fn counted(n: impl TryInto<u64>, what: &str) -> String {
    // There is no word for fewer than none, or for more than this.
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
    fn in_words() {
        assert_eq!(counted(0u32, "peer"), "0 peers");
        assert_eq!(counted(1usize, "peer"), "1 peer");
        assert_eq!(counted(9_999i64, "peer"), "9,999 peers");
        assert_eq!(counted(12_345u64, "peer"), "12,345 peers");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}

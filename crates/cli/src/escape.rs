//! Text from others, made safe for a terminal and a log: one line, nothing that acts.

/// Longest content shown in a line, in characters.
pub(crate) const SHOWN: usize = 200;

/// Escapes what acts on a terminal or breaks a line; other text stays as it is.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line separators, invisible and bidirectional formatting.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A payload on one line: escaped, and cut with its length where it is long.
pub(crate) fn payload(payload: &[u8]) -> String {
    let Ok(whole) = str::from_utf8(payload) else {
        return format!("<{} bytes, not text>", payload.len());
    };
    let mut shown: String = whole.chars().take(SHOWN).collect();
    let cut = shown.len() < whole.len();
    shown = text(&shown);
    if cut {
        shown.push_str(&format!("… <{} bytes>", payload.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_shows_is_kept() {
        assert_eq!(text("Zoë 北京 'a' \"b\" \\"), "Zoë 北京 'a' \"b\" \\");
        assert_eq!(text("a\u{1b}[2J\r\nb\u{202e}"), "a\\u{1b}[2J\\r\\nb\\u{202e}");
    }

    #[test]
    fn payloads_are_one_short_line() {
        assert_eq!(payload(b"Hello from a"), "Hello from a");
        assert_eq!(payload(&[0xff, 1]), "<2 bytes, not text>");
        let long = payload("é".repeat(5000).as_bytes());
        assert!(long.ends_with("… <10000 bytes>") && long.chars().count() < 220);
    }
}

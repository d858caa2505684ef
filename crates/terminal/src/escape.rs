//! Text from other nodes, made safe for a terminal and a log: one line, without control characters.

/// Longest payload that is shown in a line, in characters.
pub const MAX_SHOWN: usize = 200;

/// Escapes the characters that control a terminal or break a line; other text stays as it is.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if needs_escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line separators, invisible and bidirectional formatting.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A payload on one line: escaped, and cut at [`MAX_SHOWN`] characters with its length behind it.
pub fn payload(payload: &[u8]) -> String {
    let Ok(whole) = str::from_utf8(payload) else {
        return format!("<{} bytes, not text>", payload.len());
    };
    let mut shown: String = whole.chars().take(MAX_SHOWN).collect();
    let is_cut = shown.len() < whole.len();
    shown = text(&shown);
    if is_cut {
        shown.push_str(&format!("… <{} bytes>", payload.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_control_characters_and_keeps_printable_ones() {
        assert_eq!(text("Zoë 北京 'a' \"b\" \\"), "Zoë 北京 'a' \"b\" \\");
        assert_eq!(text("a\u{1b}[2J\r\nb\u{202e}"), "a\\u{1b}[2J\\r\\nb\\u{202e}");
    }

    #[test]
    fn payload_is_shown_as_one_short_line() {
        assert_eq!(payload(b"Hello from a"), "Hello from a");
        assert_eq!(payload(&[0xff, 1]), "<2 bytes, not text>");
        let long = payload("é".repeat(5000).as_bytes());
        assert!(long.ends_with("… <10000 bytes>") && long.chars().count() < 220);
    }
}

//! Text in a picture: font, width, and allowed characters.

use std::sync::OnceLock;

use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, IntoTextStyle as _, TextStyle, register_font,
};

use crate::PlotError;
use crate::units::UNIT;

/// The embedded font first; where the SVG is shown without it, a font of the same width.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// The drawing library takes the height of a line as the size of a font; this factor corrects that
/// to the em.
const LINE_PER_EM: f64 = 1.24;

/// The library measures with the font's height as its size; this is the ratio of that height to the
/// em of this font.
const HEIGHT_PER_EM: f64 = 1.164;

/// Registers the embedded font with the drawing library, which needs it to measure text.
pub(crate) fn register_fonts() -> Result<(), PlotError> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let register = || {
        register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FAMILY, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    };
    let done = *DONE.get_or_init(register);
    done.then_some(()).ok_or_else(|| PlotError::Draw("the embedded font is broken".to_owned()))
}

/// A style for text with an em of this many pixels.
pub(crate) fn style(em: f64, bold: bool, colour: &impl Color) -> TextStyle<'static> {
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(FAMILY), em * UNIT * LINE_PER_EM, weight);
    font.with_color(colour).into_text_style(&(1, 1))
}

/// The width of a line in pixels.
pub(crate) fn width(text: &str, em: f64, bold: bool) -> f64 {
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(FAMILY), em * UNIT * HEIGHT_PER_EM, weight);
    font.box_size(text).map_or(0.0, |(w, _)| f64::from(w) / UNIT)
}

/// Text that is allowed in XML and on one line: without control characters and characters that
/// change the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// The start of a line with at most this width; an ellipsis marks a cut.
pub(crate) fn cut(text: &str, em: f64, bold: bool, most: f64) -> String {
    if width(text, em, bold) <= most {
        return text.to_owned();
    }
    // Not one character at a time: a hostile title may be long.
    let ends: Vec<usize> = text.char_indices().map(|(i, _)| i).take(2000).collect();
    let fits = |&end: &usize| width(&format!("{}…", text[..end].trim_end()), em, bold) <= most;
    let kept = ends.partition_point(fits).saturating_sub(1);
    format!("{}…", text[..ends.get(kept).copied().unwrap_or(0)].trim_end())
}

/// Breaks text between words into lines of at most this width; a wider word is cut.
pub(crate) fn wrap(text: &str, em: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), em, false) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, em, false, most)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_and_cut_lines_fit_the_width() {
        register_fonts().unwrap();
        let text = "the share of all peers that have at least so many neighbours";
        let lines = wrap(text, 13.0, 150.0);
        assert_eq!(lines.join(" "), text);
        assert!(lines.len() > 2 && lines.iter().all(|l| width(l, 13.0, false) <= 150.0));
        let cut = cut(&"W".repeat(100_000), 13.0, true, 200.0);
        assert!(cut.ends_with("W…") && width(&cut, 13.0, true) <= 200.0);
        assert_eq!(wrap("", 13.0, 50.0), Vec::<String>::new());
    }

    #[test]
    fn characters_forbidden_in_xml_are_replaced() {
        assert_eq!(clean("a\u{0}b\n\u{202e}c<&北"), "a\u{fffd}b\u{fffd}\u{fffd}c<&北");
    }
}

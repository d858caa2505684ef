//! Reading Server-Sent Events (HTML Living Standard, section 9.2), as far as this API writes them.

use crate::limits::MAX_STREAM_ITEM;

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawItem {
    /// Its name; empty if it has none.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: String,
}

/// The stream violates its format or its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not one of a control API: {0}")]
pub struct BadStream(&'static str);

/// Takes bytes as they come and gives items as they are complete.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Takes in bytes; gives the items that are complete with them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<RawItem>, BadStream> {
        let mut items = Vec::new();
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            if self.line.len() + self.data.len() + part.len() > MAX_STREAM_ITEM {
                return Err(BadStream("an item is too long"));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = str::from_utf8(&line).map_err(|_| BadStream("it is not UTF-8"))?;
                items.extend(self.line(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(items)
    }

    fn line(&mut self, line: &str) -> Option<RawItem> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(RawItem { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            // Comments (an empty field name) keep the connection alive.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parser_gives_the_same_items_however_the_bytes_are_split() {
        let text = b"data: {\"a\":1}\n\n: alive\n\nevent: lagged\r\ndata: x\ndata: y\n\n";
        let item = |name: &str, data: &str| RawItem { name: name.into(), data: data.into() };
        let expected = vec![item("", "{\"a\":1}"), item("lagged", "x\ny")];
        for step in 1..text.len() {
            let mut parser = Parser::default();
            let items: Vec<_> = text.chunks(step).flat_map(|c| parser.feed(c).unwrap()).collect();
            assert_eq!(items, expected, "step {step}");
        }
    }

    #[test]
    fn parser_refuses_an_endless_line() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; MAX_STREAM_ITEM / 2];
        assert!(parser.feed(&chunk).is_ok());
        assert!(parser.feed(&chunk).is_ok());
        assert!(parser.feed(&chunk).is_err());
    }
}

//! Texts that several commands and views share.

use rumormill_http::view::FullMessage;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::{escape, utc};
use serde_json::Value;

/// The first 8 characters of an id.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The payload of a message that was requested with its content.
///
/// # Errors
/// The node sent no content.
pub(crate) fn payload(message: &FullMessage) -> Outcome<Vec<u8>> {
    message.content.bytes().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "the node sent a message without content; is it another version?",
        )
    })
}

/// A message on one line.
///
/// # Errors
/// As [`payload`].
pub(crate) fn message_line(message: &FullMessage) -> Outcome<String> {
    let name = message.name.as_deref().unwrap_or_else(|| short_id(&message.publisher));
    let topic = match message.topic.as_str() {
        "" => String::new(),
        topic => format!(" ({})", escape::text(topic)),
    };
    Ok(format!(
        "{} {} #{}{topic}: {}\n",
        utc::clock(message.received_us.unwrap_or(message.published_us)),
        escape::text(name),
        message.sequence,
        escape::payload(&payload(message)?),
    ))
}

/// An event on one line: its kind, then its fields, as in `neighbour_up name=peer-03 degree=2`.
pub(crate) fn event_text(event: &Value) -> String {
    let Value::Object(fields) = event else { return escape::text(&event.to_string()) };
    let kind = fields.get("event").and_then(Value::as_str).unwrap_or("event");
    let mut text = escape::text(kind);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "event") {
        let value = match value {
            Value::String(s) => shorten_if_id(s).to_owned(),
            Value::Array(list) => {
                let items: Vec<&str> =
                    list.iter().filter_map(Value::as_str).map(shorten_if_id).collect();
                items.join(",")
            }
            other => other.to_string(),
        };
        text += &format!(" {}={}", escape::text(name), escape::text(&value));
    }
    text
}

fn shorten_if_id(text: &str) -> &str {
    let is_id = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { short_id(text) } else { text }
}

//! The lists of the view as lines of text.

use std::cmp::Ordering;
use std::collections::VecDeque;

use rumormill_http::view::{EventLine, FullMessage, MemberLine, MessageLine, NeighbourLine};
use rumormill_terminal::{escape, utc};
use serde::Serialize;
use serde_json::Value;

use super::tab::Tab;
use super::update::Snapshot;
use crate::text::{event_text, short_id};

/// How good or bad the state is that a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Odd,
    Bad,
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) tone: Tone,
    /// All fields of the item, for its details.
    pub(super) detail: Vec<String>,
    /// The id of the message that the line shows, whose content may be requested.
    pub(super) message: Option<String>,
}

/// A list.
#[derive(Debug)]
pub(super) struct Listing {
    /// The columns and their widths; the last one takes what is left.
    pub(super) heading: Vec<(&'static str, u16)>,
    pub(super) rows: Vec<Row>,
    /// The text that replaces an empty list.
    pub(super) empty: &'static str,
}

impl Listing {
    /// Keeps the lines that contain a text, in upper or lower case.
    pub(super) fn keep(&mut self, filter: &str) {
        if !filter.is_empty() {
            let filter = filter.to_lowercase();
            self.rows.retain(|r| r.cells.iter().any(|c| c.to_lowercase().contains(&filter)));
        }
    }

    pub(super) fn sort(&mut self, column: usize) {
        let cell = |row: &Row| row.cells.get(column).cloned().unwrap_or_default();
        self.rows.sort_by(|a, b| order(&cell(a), &cell(b)));
    }
}

/// The order of two cells: numbers by their size, largest first, other text by its letters.
fn order(a: &str, b: &str) -> Ordering {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text.get(..end).and_then(|t| t.parse::<f64>().ok())
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        _ => a.cmp(b),
    }
}

/// The list of a tab; the overview has none.
pub(super) fn of(
    tab: Tab,
    snapshot: Option<&Snapshot>,
    events: &VecDeque<EventLine>,
) -> Option<Listing> {
    match tab {
        Tab::Overview => None,
        Tab::Connections => Some(connections(snapshot.map_or(&[], |s| &s.neighbours))),
        Tab::Messages => Some(messages(snapshot.map_or(&[], |s| &s.messages))),
        Tab::Members => Some(members(snapshot.map_or(&[], |s| &s.members))),
        Tab::Events => Some(listed_events(events)),
    }
}

fn connections(all: &[NeighbourLine]) -> Listing {
    let row = |n: &NeighbourLine| Row {
        cells: vec![
            escape::text(&n.name),
            format!("{}/{}", n.degree, n.target),
            n.smoothed_delay_ms.map_or_else(|| "-".to_owned(), |d| format!("{d:.1} ms")),
            format!("{:.0} s", n.since_s),
            format!("{:.1} s", n.heard_s),
            n.misses.to_string(),
            if n.dialed { "out" } else { "in" }.to_owned(),
            escape::text(&n.address),
        ],
        tone: if n.suspect {
            Tone::Bad
        } else if n.misses > 0 {
            Tone::Odd
        } else {
            Tone::Good
        },
        detail: fields(n),
        message: None,
    };
    Listing {
        heading: vec![
            ("NAME", 18),
            ("DEGREE", 7),
            ("DELAY", 9),
            ("SINCE", 8),
            ("HEARD", 7),
            ("MISSES", 6),
            ("DIR", 3),
            ("ADDRESS", 15),
        ],
        rows: all.iter().map(row).collect(),
        empty: "no connections",
    }
}

/// The newest first.
fn messages(all: &[MessageLine]) -> Listing {
    let row = |m: &MessageLine| Row {
        cells: vec![
            utc::clock(m.received_us),
            m.name.as_deref().map_or_else(|| short_id(&m.publisher).to_owned(), escape::text),
            m.sequence.to_string(),
            m.bytes.to_string(),
            m.hops.to_string(),
            m.duplicates.to_string(),
            escape::text(&m.topic),
        ],
        tone: Tone::Plain,
        detail: fields(m),
        message: Some(m.id.clone()),
    };
    Listing {
        heading: vec![
            ("RECEIVED", 8),
            ("PUBLISHER", 18),
            ("SEQ", 8),
            ("BYTES", 7),
            ("HOPS", 4),
            ("DUPLICATES", 10),
            ("TOPIC", 15),
        ],
        rows: all.iter().rev().map(row).collect(),
        empty: "no messages are retained",
    }
}

fn members(all: &[MemberLine]) -> Listing {
    let row = |m: &MemberLine| Row {
        cells: vec![
            m.name.as_deref().map_or_else(|| "-".to_owned(), escape::text),
            short_id(&m.id).to_owned(),
            escape::text(&m.state),
            m.incarnation.to_string(),
            format!("{}/{}", m.degree, m.target),
            m.addresses.first().map_or_else(|| "-".to_owned(), |a| escape::text(a)),
        ],
        tone: match m.state.as_str() {
            "alive" => Tone::Good,
            "suspect" => Tone::Odd,
            "dead" => Tone::Bad,
            _ => Tone::Plain,
        },
        detail: fields(m),
        message: None,
    };
    Listing {
        heading: vec![
            ("NAME", 18),
            ("ID", 8),
            ("STATE", 8),
            ("INCARNATION", 13),
            ("DEGREE", 7),
            ("ADDRESS", 21),
        ],
        rows: all.iter().map(row).collect(),
        empty: "no members are known",
    }
}

/// The newest first.
fn listed_events(all: &VecDeque<EventLine>) -> Listing {
    let row = |e: &EventLine| {
        let text = event_text(&e.event);
        let (kind, rest) = text.split_once(' ').unwrap_or((&text, ""));
        Row {
            cells: vec![utc::clock(e.at_us), kind.to_owned(), rest.to_owned()],
            tone: tone_of(kind),
            detail: fields(e),
            message: None,
        }
    };
    Listing {
        heading: vec![("TIME", 8), ("EVENT", 20), ("WHAT", 30)],
        rows: all.iter().rev().map(row).collect(),
        empty: "nothing has happened since this view was opened",
    }
}

fn tone_of(kind: &str) -> Tone {
    match kind {
        "neighbour_up" | "joined" | "peer_joined" | "seed_up" | "refuted" => Tone::Good,
        "member_dead" | "peer_removed" | "gap" | "store_failed" | "degraded" => Tone::Bad,
        "suspected" | "reported" | "neighbour_down" | "seed_lost" | "death_reported" => Tone::Odd,
        _ => Tone::Plain,
    }
}

/// The name and the value of each field, escaped.
fn fields(of: &impl Serialize) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::to_value(of) else { return Vec::new() };
    fields
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{name:<18} {}", escape::text(&value))
        })
        .collect()
}

/// The content of a message, line by line.
pub(super) fn content(message: &FullMessage) -> Vec<String> {
    let payload = message.content.bytes().unwrap_or_default();
    let mut lines = vec![String::new()];
    match core::str::from_utf8(&payload) {
        Ok(text) => lines.extend(text.lines().map(escape::text)),
        Err(_) => lines.push(escape::payload(&payload)),
    }
    lines
}

//! Textual traces of watched nodes: their inputs, events and state changes.

use std::collections::{BTreeSet, VecDeque};

use rumormill_proto::wire::Frame;
use rumormill_proto::{Event, Input, LinkId, Time};

use super::World;
use crate::link::other;
use crate::node::NodeId;

/// Number of lines to keep; older lines are dropped.
const LINES: usize = 60;
/// Longest line, in characters; longer lines are cut.
const LENGTH: usize = 160;

/// The watched nodes and the lines written for them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The watched nodes; all nodes if it is empty.
    nodes: BTreeSet<NodeId>,
    /// When the trace begins.
    from: Time,
    lines: VecDeque<String>,
}

impl World {
    /// Traces inputs and events of these nodes (of all nodes if the list is empty) from `from` on;
    /// [`World::watch_lines`] returns the last lines.
    pub fn watch(&mut self, nodes: &[NodeId], from: Time) {
        let nodes = nodes.iter().copied().collect();
        self.watch = Some(Watch { nodes, from, lines: VecDeque::new() });
    }

    /// The trace of the watched nodes, oldest line first.
    #[must_use]
    pub fn watch_lines(&self) -> Vec<String> {
        self.watch.iter().flat_map(|w| &w.lines).cloned().collect()
    }

    /// Whether this node is watched now.
    fn is_watched(&self, node: NodeId) -> bool {
        let now = self.now;
        let includes = |w: &Watch| now >= w.from && (w.nodes.is_empty() || w.nodes.contains(&node));
        self.watch.as_ref().is_some_and(includes)
    }

    fn write_line(&mut self, node: NodeId, what: &str) {
        let line: String = format!("{} {node} {what}", self.now).chars().take(LENGTH).collect();
        if let Some(w) = &mut self.watch {
            if w.lines.len() >= LINES {
                w.lines.pop_front();
            }
            w.lines.push_back(line);
        }
    }

    pub(super) fn watch_input(&mut self, node: NodeId, input: &Input) {
        if self.watch.is_none() || !self.is_watched(node) {
            return;
        }
        let end = |link: LinkId| {
            let there = self.links.end(other(link)).map(|e| e.node.to_string());
            there.unwrap_or_else(|| "?".to_owned())
        };
        let what = match input {
            Input::Frame { link, frame } => format!("<- {} {}", end(*link), self.frame(frame)),
            Input::LinkUp { link, .. } => format!("link up to {}", end(*link)),
            Input::LinkDown { link, why } => format!("link down to {}: {why:?}", end(*link)),
            Input::DialFailed { why, .. } => format!("dial failed: {why:?}"),
            Input::Stored { .. } | Input::Timeout => return,
            other => format!("{other:?}"),
        };
        self.write_line(node, &what);
    }

    pub(super) fn watch_event(&mut self, node: NodeId, event: &Event) {
        if self.watch.is_some() && self.is_watched(node) {
            self.write_line(node, &format!("event {event:?}"));
        }
    }

    pub(super) fn watch_change(&mut self, node: NodeId, what: &str) {
        if self.watch.is_some() && self.is_watched(node) {
            self.write_line(node, what);
        }
    }

    /// A short description of a frame.
    fn frame(&self, frame: &Frame) -> String {
        match frame {
            Frame::Gossip(g) => {
                let publisher = g.batch.publisher();
                let name =
                    self.node_of(&publisher).map_or_else(|| "?".to_owned(), |n| n.to_string());
                let (first, end) = (g.batch.first(), g.batch.end());
                let epoch = g.batch.epoch();
                let pulled = if g.pulled { ", pulled" } else { "" };
                format!("Gossip of {name} (epoch {epoch}): {first}..{end}, hop {}{pulled}", g.hops)
            }
            other => other.name().to_owned(),
        }
    }
}

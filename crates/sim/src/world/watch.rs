//! Looking over the shoulders of some nodes: what they were told and what they told, as text.

use std::collections::{BTreeSet, VecDeque};

use rumormill_proto::wire::Frame;
use rumormill_proto::{Event, Input, LinkId, Time};

use super::World;
use crate::link::other;
use crate::node::NodeId;

/// Lines that are kept, the last ones.
const LINES: usize = 60;
/// Longest line, in characters.
const LENGTH: usize = 160;

/// Who is watched, from when, and what was seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Nobody in particular means everybody.
    nodes: BTreeSet<NodeId>,
    from: Time,
    lines: VecDeque<String>,
}

impl World {
    /// Writes down what these nodes (all, if there are none) are told and tell from then on; the
    /// last lines of it can be had from [`World::watched`].
    pub fn watch(&mut self, nodes: &[NodeId], from: Time) {
        let nodes = nodes.iter().copied().collect();
        self.watch = Some(Watch { nodes, from, lines: VecDeque::new() });
    }

    /// What the watched nodes were told and told, oldest first.
    #[must_use]
    pub fn watched(&self) -> Vec<String> {
        self.watch.iter().flat_map(|w| &w.lines).cloned().collect()
    }

    /// Whether somebody looks at this node now.
    fn is_watched(&self, node: NodeId) -> bool {
        let now = self.now;
        let looks = |w: &Watch| now >= w.from && (w.nodes.is_empty() || w.nodes.contains(&node));
        self.watch.as_ref().is_some_and(looks)
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
            self.write_line(node, &format!("tells {event:?}"));
        }
    }

    pub(super) fn watch_change(&mut self, node: NodeId, what: &str) {
        if self.watch.is_some() && self.is_watched(node) {
            self.write_line(node, what);
        }
    }

    /// A frame in a few words.
    fn frame(&self, frame: &Frame) -> String {
        match frame {
            Frame::Gossip(g) => {
                let publisher = g.batch.publisher();
                let who =
                    self.node_of(&publisher).map_or_else(|| "?".to_owned(), |n| n.to_string());
                let (first, end) = (g.batch.first(), g.batch.end());
                let life = g.batch.epoch();
                let pulled = if g.pulled { ", pulled" } else { "" };
                format!("Gossip of {who} ({life}): {first}..{end}, hop {}{pulled}", g.hops)
            }
            other => other.name().to_owned(),
        }
    }
}

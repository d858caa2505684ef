//! Degrees and links from a directory of logs.
//!
//! Degrees are in the degree logs of the seeds. Links are in the logs of the peers, as events: a
//! neighbour was added or removed. The last line about each counts. Logs are appended to, so a
//! directory may have lines of earlier networks, which are ignored: a network begins when its seeds
//! begin with new keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rumormill_analysis::{Graph, Histogram};
use rumormill_launch::log_dir::{self, PEERS, SEEDS};
use rumormill_terminal::escape;

use super::graph::graph;

/// The content of a directory of logs.
#[derive(Debug, Default)]
pub(crate) struct LogDir {
    name: String,
    /// The last logged degree and its time, by the first characters of the id.
    degrees: BTreeMap<String, (String, u64)>,
    /// Whether a member was alive in the last line about it, and the time of that line.
    present: BTreeMap<String, (String, bool)>,
    /// The neighbours that a peer logged, and whether each was still one, by the stem of its log.
    links: BTreeMap<String, BTreeMap<String, bool>>,
    /// The id of a name, from the logs of other peers.
    ids: BTreeMap<String, String>,
    /// The id of a peer, from the last start in its own log.
    own: BTreeMap<String, String>,
    /// Peers whose name a later peer has.
    replaced: BTreeSet<String>,
    /// The time of the last line by or about each peer, by id.
    last_seen: BTreeMap<String, String>,
    /// The identity of each seed, by the stem of its log.
    seeds: BTreeMap<String, SeedLog>,
    /// Time of the last line that counts.
    last: String,
}

#[derive(Debug, Default)]
struct SeedLog {
    id: String,
    /// The first line with this id.
    since: String,
    /// The last line.
    last: String,
}

/// Length of a time in a log, as in `2026-02-26T19:39:24.123Z`.
const TIME_LENGTH: usize = 24;
/// Length of a short id in a log.
const SHORT_ID: usize = 8;

impl LogDir {
    pub(super) fn read(dir: &Path) -> Result<Self, String> {
        let name = escape::text(&dir.display().to_string());
        let mut logs = LogDir { name, ..LogDir::default() };
        let (seeds, peers) = (files(&dir.join(SEEDS))?, files(&dir.join(PEERS))?);
        if seeds.is_empty() && peers.is_empty() {
            return Err(format!(
                "{} holds no logs: there is no .log file in {SEEDS}/ or {PEERS}/",
                logs.name
            ));
        }
        for (stem, path) in seeds {
            let text = text(&path)?;
            match stem.strip_suffix(".degrees") {
                Some(_) => text.lines().for_each(|line| logs.degree_line(line)),
                None => text.lines().for_each(|line| logs.seed_line(&stem, line)),
            }
        }
        for (stem, path) in peers {
            if !stem.ends_with(".messages") {
                let told = logs.links.entry(stem.clone()).or_default();
                let mut told = std::mem::take(told);
                text(&path)?.lines().for_each(|line| logs.peer_line(&stem, line, &mut told));
                logs.links.insert(stem, told);
            }
        }
        Ok(logs)
    }

    /// `TIME peer_id=>degree`
    fn degree_line(&mut self, line: &str) {
        let Some((time, rest)) = stamped(line) else { return };
        let Some((id, degree)) = rest.split_once("=>") else { return };
        let (Some(id), Ok(degree)) = (id.get(..SHORT_ID), degree.trim().parse()) else { return };
        let kept = self.degrees.entry(id.to_owned()).or_default();
        // Several seeds log the same; the files of one seed are read oldest first.
        if time >= kept.0.as_str() {
            *kept = (time.to_owned(), degree);
        }
        self.mark_seen(id, time);
        self.update_last(time);
    }

    fn seed_line(&mut self, stem: &str, line: &str) {
        let Some((time, text)) = event(line) else { return };
        let started = started_id(text);
        if let Some(id) = started {
            let kept = self.seeds.entry(stem.to_owned()).or_default();
            if kept.id != id {
                (kept.id, kept.since) = (id.to_owned(), time.to_owned());
            }
        }
        if let Some(kept) = self.seeds.get_mut(stem) {
            time.clone_into(&mut kept.last);
        }
        if let Some(rest) = text.strip_prefix("removed ") {
            if let Some((_, id)) = first_id(rest) {
                self.record_presence(id, time, false);
            }
        } else if let Some(rest) =
            text.strip_prefix("registered ").or_else(|| text.strip_prefix("updated "))
            && let Some((_, id)) = first_id(rest)
        {
            self.record_presence(id, time, true);
        }
    }

    fn peer_line(&mut self, stem: &str, line: &str, told: &mut BTreeMap<String, bool>) {
        let Some((time, text)) = event(line) else { return };
        if let Some(id) = started_id(text) {
            // The links of the earlier process have ended.
            told.clear();
            let before = self.own.insert(stem.to_owned(), id.to_owned());
            self.replaced.extend(before.filter(|before| before != id));
            self.replaced.remove(id);
            self.mark_seen(id, time);
            return;
        }
        if let Some(own) = self.own.get(stem).cloned() {
            self.mark_seen(&own, time);
        }
        let Some((name, id)) = first_id(text) else { return };
        let after = text.get(name.len() + SHORT_ID + 4..).unwrap_or_default();
        if after.starts_with("is a neighbour now") {
            told.insert(id.to_owned(), true);
        } else if after.starts_with("is no neighbour any more") {
            told.insert(id.to_owned(), false);
        } else if after.starts_with("is dead") || after.starts_with("left the network") {
            self.record_presence(id, time, false);
        } else if after.starts_with("is in the network") {
            self.record_presence(id, time, true);
        } else {
            return;
        }
        self.ids.insert(log_dir::stem(name), id.to_owned());
        self.mark_seen(id, time);
        self.update_last(time);
    }

    fn mark_seen(&mut self, id: &str, time: &str) {
        let kept = self.last_seen.entry(id.to_owned()).or_default();
        if time > kept.as_str() {
            time.clone_into(kept);
        }
    }

    fn record_presence(&mut self, id: &str, time: &str, present: bool) {
        let kept = self.present.entry(id.to_owned()).or_default();
        if time >= kept.0.as_str() {
            *kept = (time.to_owned(), present);
        }
        self.mark_seen(id, time);
    }

    fn update_last(&mut self, time: &str) {
        if time > self.last.as_str() {
            time.clone_into(&mut self.last);
        }
    }

    fn is_gone(&self, id: &str) -> bool {
        self.replaced.contains(id)
            || self.present.get(id).is_some_and(|(_, present)| !present)
            || self.is_of_earlier_network(id)
    }

    /// Whether the last line about a peer is older than the keys of the seeds.
    fn is_of_earlier_network(&self, id: &str) -> bool {
        // A seed whose last line is older than the key of another seed belongs to an earlier
        // network.
        let newest = self.seeds.values().map(|s| &s.since).max();
        let present = self.seeds.values().filter(|s| Some(&s.last) >= newest);
        let since = present.map(|s| &s.since).min();
        since.is_some_and(|since| self.last_seen.get(id).is_some_and(|heard| heard < since))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn describe(&self) -> String {
        let left = self.present.iter().filter(|(id, p)| !p.1 && !self.is_of_earlier_network(id));
        let gone = left.count();
        let gone = if gone > 0 { format!(", without {gone} dead or left") } else { String::new() };
        format!("logs in {}, state at {}{gone}", self.name, self.last)
    }

    /// The last degree of each living peer; `None` if no seed logged degrees.
    pub(super) fn degrees(&self) -> Option<Histogram> {
        let there = self.degrees.iter().filter(|(id, _)| !self.is_gone(id));
        (!self.degrees.is_empty()).then(|| there.map(|(_, d)| d.1).collect())
    }

    /// The links at the end; `None` if no peer logged any. A link counts only if neither end logged
    /// its removal.
    pub(super) fn graph(&self) -> Result<Option<Graph>, String> {
        // A peer without a known id is identified by its name.
        let id = |stem: &str| {
            let known = self.own.get(stem).or_else(|| self.ids.get(stem));
            known.cloned().unwrap_or_else(|| stem.to_owned())
        };
        let told: BTreeMap<String, &BTreeMap<String, bool>> = self
            .links
            .iter()
            .map(|(stem, told)| (id(stem), told))
            .filter(|(id, _)| !self.is_gone(id))
            .collect();
        if told.is_empty() {
            return Ok(None);
        }
        let mut pairs = BTreeSet::new();
        for (a, links) in &told {
            for b in links.iter().filter(|l| *l.1).map(|l| l.0) {
                let agreed = told.get(b).is_none_or(|of_b| of_b.get(a).copied().unwrap_or(false));
                if a != b && agreed && !self.is_gone(b) {
                    pairs.insert(if a < b {
                        (a.clone(), b.clone())
                    } else {
                        (b.clone(), a.clone())
                    });
                }
            }
        }
        graph(told.into_keys(), &pairs).map(Some)
    }
}

/// The time of a line, and what follows it.
fn stamped(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.split_at_checked(TIME_LENGTH)?;
    time.ends_with('Z').then(|| (time, rest.trim_start()))
}

/// The time of a line of a node's log, and its text without the level.
fn event(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = stamped(line)?;
    let (_level, text) = rest.split_once(' ')?;
    Some((time, text.trim_start()))
}

/// The id of a node, if the line logs its start.
fn started_id(text: &str) -> Option<&str> {
    let (name, id) = first_id(text)?;
    text.get(name.len() + SHORT_ID + 4..)?.starts_with("begins as a ").then_some(id)
}

/// A name and an id at the start of a text: `peer-03 (ffe4e743) …`. The name may contain brackets.
fn first_id(text: &str) -> Option<(&str, &str)> {
    text.match_indices(" (").find_map(|(at, _)| {
        let id = text.get(at + 2..at + 2 + SHORT_ID)?;
        let hex = id.chars().all(|c| c.is_ascii_hexdigit());
        (hex && text[at + 2 + SHORT_ID..].starts_with(')')).then(|| (&text[..at], id))
    })
}

/// The log files of a directory with their stems, the oldest file of each log first. Empty if there
/// is no such directory.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let cannot = |e: std::io::Error| {
        format!("cannot read {}: {e}", escape::text(&dir.display().to_string()))
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((stem, age)) = name.split_once(".log") else { continue };
        // A rotated file has a number at its end, which is higher for older files.
        let age = age.strip_prefix('.').map_or(Some(0), |n| n.parse::<u32>().ok());
        if let Some(age) = age {
            out.push((stem.to_owned(), std::cmp::Reverse(age), path));
        }
    }
    out.sort();
    Ok(out.into_iter().map(|(stem, _, path)| (stem, path)).collect())
}

fn text(path: &Path) -> Result<String, String> {
    let shown = || escape::text(&path.display().to_string());
    let bytes = fs::read(path).map_err(|e| format!("cannot read {}: {e}", shown()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

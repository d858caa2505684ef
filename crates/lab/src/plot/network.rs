//! The network that runs here: what its nodes say over their control API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::{StreamExt as _, stream};
use rumormill_analysis::propagation::SHARES;
use rumormill_analysis::{Arrival, Graph, Histogram, Message, Propagation};
use rumormill_http::view::{MemberLine, MessageLine, NeighbourLine};
use rumormill_http::{Client, ClientError, ControlFile, RunDir};

use super::graph::graph;
use super::kind::Kind;
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::running::choose;

/// Nodes asked at the same time.
const AT_ONCE: usize = 32;
/// Messages that each peer is asked for, newest first.
const MESSAGES: usize = 100_000;
/// Points of the curve of shares over time.
const POINTS: usize = 1000;

/// What the nodes said; only what the picture takes was asked.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Whose word on the members it is.
    told_by: String,
    members: Vec<MemberLine>,
    neighbours: BTreeMap<String, Vec<NeighbourLine>>,
    messages: BTreeMap<String, Vec<MessageLine>>,
    silent: usize,
}

impl Network {
    /// Asks for what `kind` takes.
    pub(super) async fn ask(
        kind: Kind,
        node: Option<&str>,
        run_dir: Option<&Path>,
    ) -> Outcome<Self> {
        let dir = RunDir::locate(run_dir);
        let nodes = dir.nodes().or_exit(Exit::NoNode)?;
        let none = |e: String| {
            Failure::new(Exit::NoNode, format!("{e} (looked in {})", dir.path().display()))
        };
        let seed = nodes.iter().find(|n| n.role == "seed").or_else(|| nodes.first());
        let teller = match (node, seed) {
            (None, Some(seed)) => seed,
            _ => choose(&nodes, node).map_err(none)?,
        };
        let mut network = Network { told_by: teller.name.clone(), ..Network::default() };
        if kind == Kind::Degrees {
            network.members = Client::new(teller)?.members().await?;
            return Ok(network);
        }
        let peers: Vec<&ControlFile> = nodes.iter().filter(|n| n.role == "peer").collect();
        if peers.is_empty() {
            return Err(none("no peer is running here, only seeds".to_owned()));
        }
        match kind {
            Kind::Graph | Kind::Robustness => {
                let all = all(&peers, |c| async move { c.neighbours().await }).await;
                network.neighbours = network.heard(all)?;
            }
            _ => {
                let all = all(&peers, |c| async move { c.messages(MESSAGES).await }).await;
                network.messages = network.heard(all)?;
            }
        }
        Ok(network)
    }

    /// Keeps the answers. A node that ended meanwhile is counted as silent; if nobody answers, that
    /// is an error.
    fn heard<T>(
        &mut self,
        answers: Vec<(String, Result<T, ClientError>)>,
    ) -> Outcome<BTreeMap<String, T>> {
        let mut out = BTreeMap::new();
        let mut error = None;
        for (id, answer) in answers {
            match answer {
                Ok(answer) => {
                    out.insert(id, answer);
                }
                Err(e) => {
                    self.silent += 1;
                    error = Some(e);
                }
            }
        }
        match error {
            Some(e) if out.is_empty() => Err(e.into()),
            _ => Ok(out),
        }
    }

    pub(super) fn describe(&self) -> String {
        if !self.members.is_empty() {
            return format!("running network, degrees as {} knows them", self.told_by);
        }
        let asked = self.neighbours.len().max(self.messages.len());
        let plural = if asked == 1 { "" } else { "s" };
        let mut text = format!("running network, {asked} peer{plural} asked");
        if self.silent > 0 {
            text.push_str(&format!(", {} gave no answer", self.silent));
        }
        if let Some((messages, longest)) = self.held() {
            text.push_str(&format!(
                "; {messages} messages still held, delays by the clocks of both ends ({longest} hops \
                 at most)"
            ));
        }
        text
    }

    fn held(&self) -> Option<(usize, u16)> {
        let all = || self.messages.values().flatten();
        let ids: BTreeSet<&str> = all().map(|m| m.id.as_str()).collect();
        let longest = all().map(|m| m.hops).max()?;
        Some((ids.len(), longest))
    }

    /// Degrees of the members alive.
    pub(super) fn degrees(&self) -> Option<Histogram> {
        let alive = self.members.iter().filter(|m| matches!(m.state.as_str(), "alive" | "suspect"));
        Some(alive.map(|m| u64::from(m.degree)).collect())
    }

    /// Links as either end tells them, so that peers on other machines are there too.
    pub(super) fn graph(&self) -> Result<Option<Graph>, String> {
        let mut pairs = BTreeSet::new();
        for (a, neighbours) in &self.neighbours {
            for b in neighbours.iter().map(|n| &n.id).filter(|b| *b != a) {
                pairs.insert(if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) });
            }
        }
        graph(self.neighbours.keys().cloned(), &pairs).map(Some)
    }

    /// The deliveries that each message had among the peers asked.
    fn deliveries(&self) -> BTreeMap<&str, Message> {
        let mut out: BTreeMap<&str, Message> = BTreeMap::new();
        for (peer, held) in &self.messages {
            for m in held.iter().filter(|m| m.publisher != *peer) {
                let others =
                    self.messages.len() - usize::from(self.messages.contains_key(&m.publisher));
                let message = out
                    .entry(m.id.as_str())
                    .or_insert_with(|| Message { expected: others, arrivals: Vec::new() });
                message.arrivals.push(Arrival {
                    // Two clocks are compared: what seems to come before it was sent came at once.
                    micros: m.received_us.saturating_sub(m.published_us),
                    hops: u32::from(m.hops),
                    fewest: None,
                    duplicates: m.duplicates,
                    // What the copies took on the way is not told, only the length of the content.
                    bytes: 0,
                });
            }
        }
        out
    }

    pub(super) fn propagation(&self) -> Result<Propagation, String> {
        let messages: Vec<Message> = self.deliveries().into_values().collect();
        Propagation::new(&messages, &SHARES, POINTS)
            .map_err(|e| format!("the peers that run here hold nothing to draw: {e}"))
    }

    /// The delay of each delivery, in microseconds.
    pub(super) fn delays(&self) -> Vec<u64> {
        let all = self.deliveries();
        all.values().flat_map(|m| m.arrivals.iter().map(|a| a.micros)).collect()
    }
}

/// Asks all of these, some at a time.
async fn all<T, F>(
    peers: &[&ControlFile],
    ask: impl Fn(Client) -> F,
) -> Vec<(String, Result<T, ClientError>)>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let one = |file: &&ControlFile| {
        let (id, client) = (file.id.clone(), Client::new(file));
        let answer = client.map(&ask);
        async move {
            match answer {
                Ok(answer) => (id, answer.await),
                Err(e) => (id, Err(e)),
            }
        }
    };
    stream::iter(peers.iter().map(one)).buffer_unordered(AT_ONCE).collect().await
}

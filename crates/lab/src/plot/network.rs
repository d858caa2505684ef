//! The network that runs on this machine, through the control API of its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::{StreamExt as _, stream};
use rumormill_analysis::propagation::SHARES;
use rumormill_analysis::{Arrival, Graph, Histogram, Message, Propagation};
use rumormill_http::view::{MemberLine, MessageLine, NeighbourLine};
use rumormill_http::{Client, ClientError, ControlFile, RunDir};
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::running::choose;

use super::graph::graph;
use super::kind::Kind;

/// Nodes that are asked at the same time.
const MAX_REQUESTS: usize = 32;
/// Most messages that each peer is asked for, newest first.
const MAX_MESSAGES: usize = 100_000;
/// Points of the curve of shares over time.
const CURVE_POINTS: usize = 1000;

/// The answers of the nodes. Only the data that the picture needs is requested.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// The name of the node whose members are used.
    source: String,
    members: Vec<MemberLine>,
    neighbours: BTreeMap<String, Vec<NeighbourLine>>,
    messages: BTreeMap<String, Vec<MessageLine>>,
    silent: usize,
}

impl Network {
    /// Requests the data that a kind of picture needs.
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
        let source = match (node, seed) {
            (None, Some(seed)) => seed,
            _ => choose(&nodes, node).map_err(none)?,
        };
        let mut network = Network { source: source.name.clone(), ..Network::default() };
        if kind == Kind::Degrees {
            network.members = Client::new(source)?.members().await?;
            return Ok(network);
        }
        let peers: Vec<&ControlFile> = nodes.iter().filter(|n| n.role == "peer").collect();
        if peers.is_empty() {
            return Err(none("no peer is running here, only seeds".to_owned()));
        }
        match kind {
            Kind::Graph | Kind::Robustness => {
                let answers = ask_all(&peers, |c| async move { c.neighbours().await }).await;
                network.neighbours = network.collect_answers(answers)?;
            }
            _ => {
                let answers =
                    ask_all(&peers, |c| async move { c.messages(MAX_MESSAGES).await }).await;
                network.messages = network.collect_answers(answers)?;
            }
        }
        Ok(network)
    }

    /// Keeps the answers. A node that ended meanwhile is counted as silent; it is an error if no
    /// node answers.
    fn collect_answers<T>(
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
            return format!("running network, degrees as {} knows them", self.source);
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

    /// The degrees of the living members.
    pub(super) fn degrees(&self) -> Option<Histogram> {
        let alive = self.members.iter().filter(|m| matches!(m.state.as_str(), "alive" | "suspect"));
        Some(alive.map(|m| u64::from(m.degree)).collect())
    }

    /// The links that at least one end reports, so that links to peers on other machines are
    /// included.
    pub(super) fn graph(&self) -> Result<Option<Graph>, String> {
        let mut pairs = BTreeSet::new();
        for (a, neighbours) in &self.neighbours {
            for b in neighbours.iter().map(|n| &n.id).filter(|b| *b != a) {
                pairs.insert(if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) });
            }
        }
        graph(self.neighbours.keys().cloned(), &pairs).map(Some)
    }

    /// The deliveries of each message at the peers that were asked.
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
                    // Two clocks are compared: a negative delay counts as zero.
                    micros: m.received_us.saturating_sub(m.published_us),
                    hops: u32::from(m.hops),
                    fewest: None,
                    duplicates: m.duplicates,
                    // The API does not report the bytes of the copies.
                    bytes: 0,
                });
            }
        }
        out
    }

    pub(super) fn propagation(&self) -> Result<Propagation, String> {
        let messages: Vec<Message> = self.deliveries().into_values().collect();
        Propagation::new(&messages, &SHARES, CURVE_POINTS)
            .map_err(|e| format!("the peers that run here hold no messages to draw: {e}"))
    }

    /// The delay of each delivery, in microseconds.
    pub(super) fn delays(&self) -> Vec<u64> {
        let all = self.deliveries();
        all.values().flat_map(|m| m.arrivals.iter().map(|a| a.micros)).collect()
    }
}

/// Asks all of these peers, a limited number at a time.
async fn ask_all<T, F>(
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
    stream::iter(peers.iter().map(one)).buffer_unordered(MAX_REQUESTS).collect().await
}

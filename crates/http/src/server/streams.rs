//! What goes on as it happens, as Server-Sent Events.
//!
//! An item without a name is an event or a message. One named `lagged` says how many events were
//! missed because the reader was too slow; one named `gap` says which messages do not come; one named
//! `caught_up` says that history is over.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Item, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use rumormill::proto::{PeerId, WallTime};
use rumormill::{Events, Node, Observed, Received, Start, SubscribeOptions, Subscription};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use utoipa::IntoParams;

use super::extract::{PathOf, QueryOf};
use super::openapi::{OfNode, Refused};
use super::shared::{Answer, App, peer};
use crate::limits::STREAM_KEEP_ALIVE;
use crate::nodes::Handle;
use crate::problem::Problem;
use crate::view::{EventLine, FullMessage, GapLine, Lagged};

/// How often the names of members are read anew at most.
const NAMES_EVERY: Duration = Duration::from_secs(1);

pub(super) fn respond(
    items: impl Stream<Item = Item> + Send + 'static,
    mut closing: watch::Receiver<bool>,
) -> impl IntoResponse {
    let closed = async move {
        let _ = closing.wait_for(|closing| *closing).await;
    };
    let items = items.map(Ok::<_, Infallible>).take_until(Box::pin(closed));
    Sse::new(items).keep_alive(KeepAlive::new().interval(STREAM_KEEP_ALIVE))
}

pub(super) fn lagged(missing: u64) -> Item {
    json(&Lagged { missing }).event("lagged")
}

fn json(value: &impl serde::Serialize) -> Item {
    // The views hold nothing that JSON cannot say; `json_data` never splits a line.
    Item::default().json_data(value).unwrap_or_default()
}

/// What happens in a node from now on, as server-sent events: JSON with `at_us`, `event` and what belongs
/// to it, and `lagged` for those that were not read in time.
#[utoipa::path(get, path = "/events", tag = "nodes", params(OfNode),
    responses((status = 200, description = "The events, until the node stops", body = String,
        content_type = "text/event-stream"), Refused))]
pub(super) async fn events(
    State(shared): App,
    PathOf(which): PathOf<String>,
) -> Answer<impl IntoResponse> {
    let events = match &shared.nodes.find(&which)?.handle {
        Handle::Peer(node) => node.events(),
        Handle::Seed(node) => node.events(),
    };
    let items = stream::unfold(events, |mut events: Events| async move {
        let item = match events.recv().await? {
            Observed::Event(stamped) => json(&EventLine::of(stamped.at, &stamped.event)),
            Observed::Lagged(n) => lagged(n),
        };
        Some((item, events))
    });
    Ok(respond(items, shared.closing.subscribe()))
}

/// What a reader of messages asks for: `payload=false`, `topic=` (several times), `from=`.
fn tail_options(query: Vec<(String, String)>) -> Answer<(SubscribeOptions, bool)> {
    let (mut options, mut with_content) = (SubscribeOptions::new(), true);
    let bad = |e: &dyn std::fmt::Display| Problem::bad_request(e.to_string());
    for (name, value) in query {
        match name.as_str() {
            "payload" => {
                with_content = value
                    .parse()
                    .map_err(|_| Problem::bad_request("`payload` is true or false"))?;
            }
            "topic" => options = options.topic(&value).map_err(|e| bad(&e))?,
            "from" => options = options.start(start(&value)?),
            other => return Err(Problem::bad_request(format!("no such parameter: {other}"))),
        }
    }
    Ok((options, with_content))
}

/// `now`, `earliest`, a time in microseconds since 1970, or the id of a message to go on after.
fn start(text: &str) -> Answer<Start> {
    match text {
        "now" => return Ok(Start::Now),
        "earliest" => return Ok(Start::Earliest),
        _ => {}
    }
    if let Ok(micros) = text.parse() {
        return Ok(Start::Time(WallTime(micros)));
    }
    let id = text.parse().map_err(|_| {
        Problem::bad_request(
            "`from` is now, earliest, microseconds since 1970, or PEER/EPOCH/NUMBER",
        )
    })?;
    Ok(Start::After(id))
}

/// Which messages to follow.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its fields are read by the derive")]
struct TailParams {
    /// `now` (what is published from now on), `earliest` (what the peer keeps, then what comes),
    /// microseconds since 1970, or the id of a message to go on after.
    #[param(default = "now")]
    from: Option<String>,
    /// A topic or a pattern (`orders.*`); several times for several, all topics without.
    topic: Option<Vec<String>>,
    /// Whether to send what the messages say.
    #[param(default = true)]
    payload: Option<bool>,
}

/// The messages that a peer receives and publishes, as server-sent events: each as `messages/…` has it, and
/// `gap` in the place of those that do not come. Where history is asked for, `caught_up` (an empty
/// object) says that it is over.
#[utoipa::path(get, path = "/tail", tag = "nodes", params(OfNode, TailParams),
    responses((status = 200, description = "The messages, until the peer stops", body = String,
        content_type = "text/event-stream"), Refused))]
pub(super) async fn tail(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(query): QueryOf<Vec<(String, String)>>,
) -> Answer<impl IntoResponse> {
    let (options, with_content) = tail_options(query)?;
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?.clone();
    let tail = Tail {
        subscription: node.subscribe_with(options),
        names: Names { node, known: BTreeMap::new(), read: None },
        with_content,
    };
    let items = stream::unfold(tail, |mut tail| async move {
        let item = match tail.subscription.recv().await? {
            Received::Message(incoming) => {
                let name = tail.names.of(incoming.message.id().publisher).await;
                json(&FullMessage::delivered(&incoming, name, tail.with_content))
            }
            Received::Gap(gap) => json(&GapLine::from(&gap)).event("gap"),
            Received::CaughtUp => Item::default().event("caught_up").data("{}"),
        };
        Some((item, tail))
    });
    Ok(respond(items, shared.closing.subscribe()))
}

struct Tail {
    subscription: Subscription,
    names: Names,
    with_content: bool,
}

/// Names of publishers. The member list is long in a large network, so it is not asked for with
/// every message.
struct Names {
    node: Node,
    known: BTreeMap<PeerId, String>,
    read: Option<Instant>,
}

impl Names {
    async fn of(&mut self, id: PeerId) -> Option<String> {
        if !self.known.contains_key(&id) && self.read.is_none_or(|at| at.elapsed() >= NAMES_EVERY) {
            self.read = Some(Instant::now());
            // The names of a stopped node do not change any more.
            let Ok(members) = self.node.members().await else { return None };
            let named = members.into_iter().filter_map(|m| Some((m.id, m.name?.to_string())));
            self.known = named.collect();
        }
        self.known.get(&id).cloned()
    }
}

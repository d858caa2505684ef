//! Events and messages as Server-Sent Events.
//!
//! An item without a name is an event or a message. The item `lagged` has the number of events that
//! were missed because the reader was too slow, `gap` has the messages that do not arrive, and
//! `caught_up` ends the history.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Item, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use rumormill::proto::{PeerId, WallTime};
use rumormill::{EventItem, Events, Node, Start, SubscribeOptions, Subscription, SubscriptionItem};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use utoipa::IntoParams;

use super::extract::{PathOf, QueryOf};
use super::openapi::{ErrorResponses, NodePath};
use super::shared::{Answer, App, peer};
use crate::limits::STREAM_KEEP_ALIVE;
use crate::nodes::Handle;
use crate::problem::Problem;
use crate::view::{EventLine, FullMessage, GapLine, Lagged};

/// How often the names of members are read at most.
const NAMES_INTERVAL: Duration = Duration::from_secs(1);

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
    // The views can always be written as JSON, and `json_data` never splits a line.
    Item::default().json_data(value).unwrap_or_default()
}

/// The events of a node from now on, as server-sent events: JSON with `at_us`, `event` and the
/// fields of the event, and `lagged` with the number of events that were not read in time.
#[utoipa::path(get, path = "/events", tag = "nodes", params(NodePath),
    responses((status = 200, description = "The events, until the node stops", body = String,
        content_type = "text/event-stream"), ErrorResponses))]
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
            EventItem::Event(stamped) => json(&EventLine::of(stamped.at, &stamped.event)),
            EventItem::Lagged(n) => lagged(n),
        };
        Some((item, events))
    });
    Ok(respond(items, shared.closing.subscribe()))
}

/// Parses the query of a reader of messages: `payload=false`, `topic=` (several times), `from=`.
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

/// Parses `now`, `earliest`, a time in microseconds since 1970, or the id of a message to begin
/// after.
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
            "`from` is now, earliest, microseconds since 1970, or PEER/EPOCH/SEQUENCE",
        )
    })?;
    Ok(Start::After(id))
}

/// The messages to follow.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its fields are read by the derive")]
struct TailParams {
    /// `now` (new messages only), `earliest` (the retained messages, then new ones), microseconds
    /// since 1970, or the id of a message to begin after.
    #[param(default = "now")]
    from: Option<String>,
    /// A topic or a pattern (`orders.*`), may be repeated; all topics without one.
    topic: Option<Vec<String>>,
    /// Whether to send the content of the messages.
    #[param(default = true)]
    payload: Option<bool>,
}

/// The messages that a peer receives and publishes, as server-sent events: each as in `messages/…`,
/// and `gap` in the place of those that do not arrive. If the history was requested, `caught_up`
/// (an empty object) ends it.
#[utoipa::path(get, path = "/tail", tag = "nodes", params(NodePath, TailParams),
    responses((status = 200, description = "The messages, until the peer stops", body = String,
        content_type = "text/event-stream"), ErrorResponses))]
pub(super) async fn tail(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(query): QueryOf<Vec<(String, String)>>,
) -> Answer<impl IntoResponse> {
    let (options, with_content) = tail_options(query)?;
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?.clone();
    let tail = TailStream {
        subscription: node.subscribe_with(options),
        names: PublisherNames { node, known: BTreeMap::new(), read: None },
        with_content,
    };
    let items = stream::unfold(tail, |mut tail| async move {
        let item = match tail.subscription.recv().await? {
            SubscriptionItem::Message(incoming) => {
                let name = tail.names.of(incoming.message.id().publisher).await;
                json(&FullMessage::delivered(&incoming, name, tail.with_content))
            }
            SubscriptionItem::Gap(gap) => json(&GapLine::from(&gap)).event("gap"),
            SubscriptionItem::CaughtUp => Item::default().event("caught_up").data("{}"),
        };
        Some((item, tail))
    });
    Ok(respond(items, shared.closing.subscribe()))
}

struct TailStream {
    subscription: Subscription,
    names: PublisherNames,
    with_content: bool,
}

/// The names of publishers. The member list of a large network is long, so it is not read for every
/// message.
struct PublisherNames {
    node: Node,
    known: BTreeMap<PeerId, String>,
    read: Option<Instant>,
}

impl PublisherNames {
    async fn of(&mut self, id: PeerId) -> Option<String> {
        if !self.known.contains_key(&id)
            && self.read.is_none_or(|at| at.elapsed() >= NAMES_INTERVAL)
        {
            self.read = Some(Instant::now());
            // A stopped node gives no further names.
            let Ok(members) = self.node.members().await else { return None };
            let named = members.into_iter().filter_map(|m| Some((m.id, m.name?.to_string())));
            self.known = named.collect();
        }
        self.known.get(&id).cloned()
    }
}

//! What goes on as it happens, as Server-Sent Events.
//!
//! An item without a name is an event or a message; one named `lagged` says how many were missed
//! because the reader was too slow.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event as Item, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use rumormill::proto::PeerId;
use rumormill::{Events, Node, Observed, Received, Subscription};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::Shared;
use super::nodes::Handle;
use super::routes::{Answer, peer};
use crate::limits::STREAM_KEEP_ALIVE;
use crate::problem::Problem;
use crate::view::{EventLine, FullMessage, Lagged};

/// How often the names of members are read anew at most.
const NAMES_EVERY: Duration = Duration::from_secs(1);

fn respond(
    items: impl Stream<Item = Item> + Send + 'static,
    mut closing: watch::Receiver<bool>,
) -> impl IntoResponse {
    let closed = async move {
        let _ = closing.wait_for(|closing| *closing).await;
    };
    let items = items.map(Ok::<_, Infallible>).take_until(Box::pin(closed));
    Sse::new(items).keep_alive(KeepAlive::new().interval(STREAM_KEEP_ALIVE))
}

fn lagged(missing: u64) -> Item {
    json(&Lagged { missing }).event("lagged")
}

fn json(value: &impl serde::Serialize) -> Item {
    // The views hold nothing that JSON cannot say; `json_data` never splits a line.
    Item::default().json_data(value).unwrap_or_default()
}

/// `GET /v1/nodes/{node}/events`
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Path(which): Path<String>,
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

#[derive(Deserialize)]
pub(super) struct TailQuery {
    /// Whether to send what the messages say.
    payload: Option<bool>,
}

/// `GET /v1/nodes/{node}/tail`
pub(super) async fn tail(
    State(shared): State<Arc<Shared>>,
    Path(which): Path<String>,
    query: Result<Query<TailQuery>, QueryRejection>,
) -> Answer<impl IntoResponse> {
    let query = query.map_err(|e| Problem::bad_request(e.body_text()))?;
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?.clone();
    let tail = Tail {
        subscription: node.subscribe(),
        names: Names { node, known: BTreeMap::new(), read: None },
        with_content: query.payload.unwrap_or(true),
    };
    let items = stream::unfold(tail, |mut tail| async move {
        let item = match tail.subscription.recv().await? {
            Received::Message(delivery) => {
                let name = tail.names.of(delivery.message.id.publisher).await;
                json(&FullMessage::delivered(&delivery, name, tail.with_content))
            }
            Received::Lagged(n) => lagged(n),
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
            let members = self.node.members().await;
            let named = members.into_iter().filter_map(|m| Some((m.id, m.name?.to_string())));
            self.known = named.collect();
        }
        self.known.get(&id).cloned()
    }
}

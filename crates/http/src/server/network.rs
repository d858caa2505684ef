//! `/v1/network`: the network of all nodes served here, as the page shows it.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use super::direct::Act;
use super::routes::{Answer, message_id};
use super::{Shared, streams};
use crate::network::Item;
use crate::network::view::{MessageDot, NetworkView, Spread};
use crate::problem::Problem;

type App = State<Arc<Shared>>;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/network", get(once))
        .route("/v1/network/live", get(live))
        .route("/v1/network/messages", get(messages))
        .route("/v1/network/messages/{publisher}/{incarnation}/{sequence}", get(message))
        .route("/v1/network/acts", get(acts).post(act))
}

async fn once(State(shared): App) -> Json<NetworkView> {
    Json(shared.network.once().await)
}

/// What is known, and then what changes, as Server-Sent Events named after the items of
/// [`crate::network::view`].
async fn live(State(shared): App) -> impl IntoResponse {
    let (first, receiver) = shared.network.look();
    let items = stream::unfold((first.into_iter(), receiver), |(mut first, mut receiver)| async {
        if let Some(item) = first.next() {
            return Some((sse(&item), (first, receiver)));
        }
        let item = match receiver.recv().await {
            Ok(item) => sse(&item),
            Err(RecvError::Lagged(missing)) => streams::lagged(missing),
            Err(RecvError::Closed) => return None,
        };
        Some((item, (first, receiver)))
    });
    streams::respond(items, shared.closing.subscribe())
}

fn sse(item: &Item) -> Event {
    // JSON as serde writes it has no line breaks.
    Event::default().event(item.name).data(&*item.json)
}

async fn messages(State(shared): App) -> Json<Vec<MessageDot>> {
    Json(shared.network.messages())
}

async fn message(
    State(shared): App,
    path: Result<Path<[String; 3]>, PathRejection>,
) -> Answer<Json<Spread>> {
    let Path([publisher, incarnation, sequence]) =
        path.map_err(|e| Problem::bad_request(e.body_text()))?;
    let id = message_id(&publisher, &incarnation, &sequence)?;
    let spread = shared.network.spread(id).await;
    spread.map(Json).ok_or_else(|| {
        Problem::not_found("nobody looked when this message spread, or it is long ago")
    })
}

/// The names of what can be done.
async fn acts(State(shared): App) -> Json<Acts> {
    let director = shared.director.get();
    let acts = match director.map(|d| d.is_cut()) {
        None => Vec::new(),
        Some(false) => vec!["kill", "freeze", "thaw", "cut"],
        Some(true) => vec!["kill", "freeze", "thaw", "heal"],
    };
    Json(Acts { acts })
}

/// `GET /v1/network/acts`
#[derive(Debug, Serialize)]
struct Acts {
    acts: Vec<&'static str>,
}

/// `POST /v1/network/acts`
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Wish {
    Kill {
        node: String,
    },
    Freeze {
        node: String,
    },
    Thaw {
        node: String,
    },
    /// Cuts the peers in two halves.
    Cut {},
    Heal {},
}

async fn act(State(shared): App, wish: Result<Json<Wish>, JsonRejection>) -> Answer<StatusCode> {
    let Json(wish) = wish.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    let director = shared.director.get().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "only `rumor up` (without --processes) does something to its nodes",
        )
    })?;
    let id = |node: &str| shared.nodes.find(node).map(|n| n.id);
    let act = match wish {
        Wish::Kill { node } => Act::Kill(id(&node)?),
        Wish::Freeze { node } => Act::Freeze(id(&node)?, true),
        Wish::Thaw { node } => Act::Freeze(id(&node)?, false),
        Wish::Cut {} => Act::Cut(true),
        Wish::Heal {} => Act::Cut(false),
    };
    director.act(act).map_err(|e| Problem::new(StatusCode::CONFLICT, e))?;
    Ok(StatusCode::ACCEPTED)
}

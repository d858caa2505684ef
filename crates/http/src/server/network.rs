//! `/v1/network`: the network of all nodes served here, as the page shows it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::direct::OperatorAction;
use super::extract::{BodyOf, PathOf};
use super::openapi::{ErrorResponses, MessagePath};
use super::shared::{Answer, App, Shared, message_id};
use super::streams;
use crate::network::Item;
use crate::network::view::{MessageDot, NetworkView, Spread};
use crate::problem::Problem;

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(current))
        .routes(routes!(live))
        .routes(routes!(messages))
        .routes(routes!(message))
        .routes(routes!(acts, act))
}

/// All nodes and links at this moment, with a position for each peer in the picture.
#[utoipa::path(get, path = "/v1/network", tag = "network",
    responses((status = 200, description = "The network", body = NetworkView), ErrorResponses))]
async fn current(State(shared): App) -> Json<NetworkView> {
    Json(shared.network.current_view().await)
}

/// The present state and then all changes, as server-sent events: `network` (as `/v1/network`),
/// `degrees`, `rates`, `message`, `arrivals`, `left_out` with the number of messages that were too
/// many to track, and `lagged` with the number of items that were not read in time.
#[utoipa::path(get, path = "/v1/network/live", tag = "network",
    responses((status = 200, description = "The events, until the server stops", body = String,
        content_type = "text/event-stream"), ErrorResponses))]
async fn live(State(shared): App) -> impl IntoResponse {
    let (first, receiver) = shared.network.subscribe();
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
    // The JSON of serde has no line breaks.
    Event::default().event(item.name).data(&*item.json)
}

/// The messages that were published while a page was connected, oldest first, at most 300.
#[utoipa::path(get, path = "/v1/network/messages", tag = "network",
    responses((status = 200, description = "The messages", body = Vec<MessageDot>), ErrorResponses))]
async fn messages(State(shared): App) -> Json<Vec<MessageDot>> {
    Json(shared.network.messages())
}

/// One of them, and its arrivals.
#[utoipa::path(get, path = "/v1/network/messages/{publisher}/{epoch}/{sequence}",
    tag = "network", params(MessagePath),
    responses((status = 200, description = "Its arrivals", body = Spread), ErrorResponses))]
async fn message(
    State(shared): App,
    PathOf([publisher, epoch, sequence]): PathOf<[String; 3]>,
) -> Answer<Json<Spread>> {
    let id = message_id(&publisher, &epoch, &sequence)?;
    let spread = shared.network.spread(id).await;
    spread.map(Json).ok_or_else(|| {
        Problem::not_found("no page was connected when this message spread, or it is too long ago")
    })
}

/// The names of the actions that are possible now.
#[utoipa::path(get, path = "/v1/network/acts", tag = "network",
    responses((status = 200, description = "The names", body = PossibleActions), ErrorResponses))]
async fn acts(State(shared): App) -> Json<PossibleActions> {
    let director = shared.director.get();
    let acts = match director.map(|d| d.is_partitioned()) {
        None => Vec::new(),
        Some(false) => vec!["add", "kill", "freeze", "thaw", "cut"],
        Some(true) => vec!["add", "kill", "freeze", "thaw", "heal"],
    };
    Json(PossibleActions { acts })
}

/// The possible actions; empty unless `rumor up` serves the network.
#[derive(Debug, Serialize, ToSchema)]
struct PossibleActions {
    acts: Vec<&'static str>,
}

/// An action, and the node that it is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
enum ActionRequest {
    /// Starts a further peer.
    Add {},
    Kill {
        node: String,
    },
    Freeze {
        node: String,
    },
    Thaw {
        node: String,
    },
    /// Partitions the peers into two halves.
    Cut {},
    Heal {},
}

/// Carries out an action on nodes of `rumor up`. Its effect shows in the network.
#[utoipa::path(post, path = "/v1/network/acts", tag = "network", request_body = ActionRequest,
    security(("token" = [])),
    responses((status = 202, description = "The action has begun"), ErrorResponses,
        (status = 413, description = "The body is too long", body = Problem,
            content_type = "application/problem+json")))]
async fn act(State(shared): App, BodyOf(request): BodyOf<ActionRequest>) -> Answer<StatusCode> {
    let director = shared.director.get().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "actions need a network of `rumor up` without --processes",
        )
    })?;
    let id = |node: &str| shared.nodes.find(node).map(|n| n.id);
    let action = match request {
        ActionRequest::Add {} => OperatorAction::AddPeer,
        ActionRequest::Kill { node } => OperatorAction::Kill(id(&node)?),
        ActionRequest::Freeze { node } => OperatorAction::Freeze(id(&node)?, true),
        ActionRequest::Thaw { node } => OperatorAction::Freeze(id(&node)?, false),
        ActionRequest::Cut {} => OperatorAction::Partition(true),
        ActionRequest::Heal {} => OperatorAction::Partition(false),
    };
    director.act(action).map_err(|e| Problem::new(StatusCode::CONFLICT, e))?;
    Ok(StatusCode::ACCEPTED)
}

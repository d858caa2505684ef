//! The requests and their answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use rumormill::Node;
use rumormill::proto::message::ParseMessageIdError;
use rumormill::proto::{MessageId, PeerId};
use serde::Deserialize;
use tokio::time::{Duration, Instant, timeout_at};

use super::nodes::{Handle, Served};
use super::{Shared, guard, health, network, streams};
use crate::limits::{DEFAULT_MESSAGES, LONGEST_WAIT, MAX_BODY};
use crate::problem::Problem;
use crate::view::{
    FullMessage, MemberLine, MessageLine, NeighbourLine, NodeLine, PeerStatus, Publish, Published,
    PublisherLine, ReceiptLine, SeedStatus, Status,
};

type App = State<Arc<Shared>>;
pub(super) type Answer<T> = Result<T, Problem>;

/// All routes behind the guard.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let node = Router::new()
        .route("/status", get(status))
        .route("/members", get(members))
        .route("/registry", get(registry))
        .route("/neighbours", get(neighbours))
        .route("/messages", get(messages))
        .route("/messages/{publisher}/{incarnation}/{sequence}", get(message))
        .route("/publishers", get(publishers))
        .route("/publish", post(publish))
        .route("/leave", post(leave))
        .route("/events", get(streams::events))
        .route("/tail", get(streams::tail));
    Router::new()
        .route("/v1/nodes", get(nodes))
        .nest("/v1/nodes/{node}", node)
        .merge(network::router())
        .merge(health::guarded())
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::check))
        .merge(page(&shared))
        .with_state(shared)
}

/// The page and its parts, and whether all is well: everybody may have them who may speak to this server
/// at all.
fn page(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let check = middleware::from_fn_with_state(Arc::clone(shared), guard::check_page);
    Router::new()
        .route("/", get(|| async { crate::page::file("index.html") }))
        .route(
            "/page/{name}",
            get(|Path(name): Path<String>| async move { crate::page::file(&name) }),
        )
        .merge(health::open())
        .layer(check)
}

async fn no_such_path(request: Request) -> Problem {
    Problem::not_found(format!("no such path: {}", request.uri().path()))
}

async fn wrong_method(request: Request) -> impl IntoResponse {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {}", request.uri().path(), request.method()),
    )
}

async fn nodes(State(shared): App) -> Json<Vec<NodeLine>> {
    Json(shared.nodes.lines())
}

async fn status(State(shared): App, Path(which): Path<String>) -> Answer<Json<Status>> {
    let served = shared.nodes.find(&which)?;
    let status = match &served.handle {
        Handle::Peer(node) => {
            let snapshot = node.snapshot().await.map_err(|_| Problem::gone())?;
            Status::Peer(PeerStatus::of(&snapshot, served.around()))
        }
        Handle::Seed(node) => {
            let snapshot = node.snapshot().await.map_err(|_| Problem::gone())?;
            Status::Seed(SeedStatus::of(&snapshot, served.around()))
        }
    };
    Ok(Json(status))
}

async fn members(State(shared): App, Path(which): Path<String>) -> Answer<Json<Vec<MemberLine>>> {
    let served = shared.nodes.find(&which)?;
    let members = match &served.handle {
        Handle::Peer(node) => node.members().await,
        Handle::Seed(node) => node.members().await,
    };
    Ok(Json(members.iter().map(MemberLine::from).collect()))
}

/// The same as `members`, for those who want to be sure to ask a seed.
async fn registry(shared: App, which: Path<String>) -> Answer<Json<Vec<MemberLine>>> {
    match &shared.nodes.find(&which)?.handle {
        Handle::Seed(_) => members(shared, which).await,
        Handle::Peer(_) => {
            Err(Problem::bad_request("a peer has no registry; ask a seed, or ask for members"))
        }
    }
}

/// The peer behind a path, or an error that says what a seed does not do.
pub(super) fn peer<'a>(served: &'a Served, what: &str) -> Answer<&'a Node> {
    match &served.handle {
        Handle::Peer(node) => Ok(node),
        Handle::Seed(_) => Err(Problem::bad_request(format!(
            "{} is a seed, and seeds {what}; ask a peer",
            served.name
        ))),
    }
}

async fn neighbours(
    State(shared): App,
    Path(which): Path<String>,
) -> Answer<Json<Vec<NeighbourLine>>> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "have no neighbours")?;
    let neighbours = node.neighbours().await;
    Ok(Json(neighbours.iter().map(NeighbourLine::from).collect()))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn messages(
    State(shared): App,
    Path(which): Path<String>,
    query: Result<Query<Limit>, QueryRejection>,
) -> Answer<Json<Vec<MessageLine>>> {
    let limit = query.map_err(|e| Problem::bad_request(e.body_text()))?.limit;
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let held = node.messages(limit.unwrap_or(DEFAULT_MESSAGES)).await;
    Ok(Json(held.iter().map(MessageLine::from).collect()))
}

async fn publishers(
    State(shared): App,
    Path(which): Path<String>,
) -> Answer<Json<Vec<PublisherLine>>> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let all = node.publishers().await;
    Ok(Json(all.iter().map(PublisherLine::from).collect()))
}

/// The id of a message from the parts of a path.
pub(super) fn message_id(publisher: &str, incarnation: &str, sequence: &str) -> Answer<MessageId> {
    let id = format!("{publisher}/{incarnation}/{sequence}").parse();
    id.map_err(|e: ParseMessageIdError| Problem::bad_request(e.to_string()))
}

async fn message(
    State(shared): App,
    path: Result<Path<[String; 4]>, PathRejection>,
) -> Answer<Json<FullMessage>> {
    let Path([which, publisher, incarnation, sequence]) =
        path.map_err(|e| Problem::bad_request(e.body_text()))?;
    let id = message_id(&publisher, &incarnation, &sequence)?;
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    match node.get(id).await.map_err(|_| Problem::gone())? {
        Some(message) => {
            let name = name_of(node, id.publisher).await;
            Ok(Json(FullMessage::of(&message, name, true)))
        }
        None => Err(Problem::not_found(format!(
            "neither this peer nor any that it asked holds the message {id}"
        ))),
    }
}

async fn name_of(node: &Node, id: PeerId) -> Option<String> {
    let member = node.members().await.into_iter().find(|m| m.id == id)?;
    member.name.map(|n| n.to_string())
}

async fn publish(
    State(shared): App,
    Path(which): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<(StatusCode, Json<Published>)> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let body = body.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is over {MAX_BODY} bytes"),
        ),
        status => Problem::new(status, e.body_text()),
    })?;
    let request: Publish = serde_json::from_slice(&body)
        .map_err(|e| Problem::bad_request(format!("the body is not as expected: {e}")))?;
    let payload = request.content.bytes().ok_or_else(|| {
        Problem::bad_request("give either `text` or `payload_base64` (RFC 4648, section 4)")
    })?;
    let refused =
        |e: rumormill::PublishError| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string());
    let Some(wait) = request.wait_ms else {
        let id = node.publish(&request.topic, &payload).await.map_err(refused)?;
        let published = Published { id: id.to_string(), receipt: None };
        return Ok((StatusCode::CREATED, Json(published)));
    };
    let began = Instant::now();
    let (id, mut receipts) =
        node.publish_with_receipt(&request.topic, &payload).await.map_err(refused)?;
    let until = began + Duration::from_millis(wait).min(LONGEST_WAIT);
    let mut last = None;
    while let Ok(Some(receipt)) = timeout_at(until, receipts.next()).await {
        let complete = receipt.complete;
        last = Some(ReceiptLine::of(&receipt, began.elapsed()));
        if complete {
            break;
        }
    }
    Ok((StatusCode::CREATED, Json(Published { id: id.to_string(), receipt: last })))
}

/// A peer says goodbye; a seed stops. Answers when it is done.
async fn leave(State(shared): App, Path(which): Path<String>) -> Answer<StatusCode> {
    let served = shared.nodes.find(&which)?;
    let done = match &served.handle {
        Handle::Peer(node) => node.leave().await,
        Handle::Seed(node) => node.stop().await,
    };
    done.map_err(|_| Problem::gone())?;
    Ok(StatusCode::NO_CONTENT)
}

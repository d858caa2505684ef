//! `/v1/nodes`: one node at a time, and the list of all.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use rumormill::proto::{MessageId, PeerId, WallTime};
use rumormill::{LeaveError, Node};
use serde::Deserialize;
use tokio::time::{Duration, Instant, timeout_at};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{BodyOf, PathOf, QueryOf};
use super::openapi::{ErrorResponses, MessagePath, NodePath, PublishBody};
use super::shared::{Answer, App, Shared, message_id, peer};
use crate::limits::{MAX_EXIT_TIME, MAX_RECEIPT_WAIT};
use crate::nodes::Handle;
use crate::paging::{IdKey, Page, Paging, PublisherKey};
use crate::problem::Problem;
use crate::view::{
    FullMessage, MemberLine, MessageLine, NeighbourLine, NodeLine, PeerStatus, Publish, Published,
    PublisherLine, ReceiptLine, SeedStatus, Status,
};

/// The list of nodes.
pub(super) fn node_list_routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(nodes))
}

/// The paths below one node.
pub(super) fn single_node_routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(members))
        .routes(routes!(registry))
        .routes(routes!(neighbours))
        .routes(routes!(messages))
        .routes(routes!(message))
        .routes(routes!(publishers))
        .routes(routes!(publish))
        .routes(routes!(leave))
}

/// The nodes of this process, in the order in which they were started.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", params(Paging<u64>),
    responses((status = 200, description = "A page of them", body = Page<NodeLine>), ErrorResponses))]
async fn nodes(
    State(shared): App,
    QueryOf(paging): QueryOf<Paging<u64>>,
) -> Answer<Json<Page<NodeLine>>> {
    let page = paging.page(shared.nodes.all(), |n| n.number)?;
    Ok(Json(Page { items: page.items.iter().map(|n| n.line()).collect(), next: page.next }))
}

/// The state of a node.
#[utoipa::path(get, path = "/status", tag = "nodes", params(NodePath),
    responses((status = 200, description = "Its state, by role", body = Status), ErrorResponses))]
async fn status(State(shared): App, PathOf(which): PathOf<String>) -> Answer<Json<Status>> {
    let served = shared.nodes.find(&which)?;
    let status = match &served.handle {
        Handle::Peer(node) => {
            let snapshot = node.snapshot().await.map_err(|_| Problem::gone())?;
            Status::Peer(PeerStatus::of(&snapshot, served.context()))
        }
        Handle::Seed(node) => {
            let snapshot = node.snapshot().await.map_err(|_| Problem::gone())?;
            Status::Seed(SeedStatus::of(&snapshot, served.context()))
        }
    };
    Ok(Json(status))
}

/// The members in a node's view, by id; at a seed, its registry.
#[utoipa::path(get, path = "/members", tag = "nodes", params(NodePath, Paging<IdKey>),
    responses((status = 200, description = "A page of them", body = Page<MemberLine>), ErrorResponses))]
async fn members(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(paging): QueryOf<Paging<IdKey>>,
) -> Answer<Json<Page<MemberLine>>> {
    members_of(&shared.nodes.find(&which)?.handle, &paging).await
}

async fn members_of(handle: &Handle, paging: &Paging<IdKey>) -> Answer<Json<Page<MemberLine>>> {
    let members = match handle {
        Handle::Peer(node) => node.members().await,
        Handle::Seed(node) => node.members().await,
    };
    let members = members.map_err(|_| Problem::gone())?;
    let page = paging.page(members, |m| IdKey(m.id))?;
    Ok(Json(Page { items: page.items.iter().map(MemberLine::from).collect(), next: page.next }))
}

/// The same as `members`, but only at a seed.
#[utoipa::path(get, path = "/registry", tag = "nodes", params(NodePath, Paging<IdKey>),
    responses((status = 200, description = "A page of it", body = Page<MemberLine>), ErrorResponses))]
async fn registry(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(paging): QueryOf<Paging<IdKey>>,
) -> Answer<Json<Page<MemberLine>>> {
    match &shared.nodes.find(&which)?.handle {
        seed @ Handle::Seed(_) => members_of(seed, &paging).await,
        Handle::Peer(_) => {
            Err(Problem::not_found("a peer has no registry; ask a seed, or ask for members"))
        }
    }
}

/// The neighbours of a peer, by id.
#[utoipa::path(get, path = "/neighbours", tag = "nodes", params(NodePath, Paging<IdKey>),
    responses((status = 200, description = "A page of them", body = Page<NeighbourLine>), ErrorResponses))]
async fn neighbours(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(paging): QueryOf<Paging<IdKey>>,
) -> Answer<Json<Page<NeighbourLine>>> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "have no neighbours")?;
    let neighbours = node.neighbours().await.map_err(|_| Problem::gone())?;
    let page = paging.page(neighbours, |n| IdKey(n.id))?;
    Ok(Json(Page { items: page.items.iter().map(NeighbourLine::from).collect(), next: page.next }))
}

/// The messages that a peer holds: the newest page first, oldest message first on each.
#[utoipa::path(get, path = "/messages", tag = "nodes", params(NodePath, Paging<MessageId>),
    responses((status = 200, description = "A page of them", body = Page<MessageLine>), ErrorResponses))]
async fn messages(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(paging): QueryOf<Paging<MessageId>>,
) -> Answer<Json<Page<MessageLine>>> {
    let (limit, before) = (paging.limit()?, paging.cursor()?);
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let held = match before {
        None => node.messages(limit + 1).await,
        Some(before) => node.messages_before(before, limit + 1).await,
    };
    let mut held = held.map_err(|_| Problem::gone())?;
    let older = held.len().saturating_sub(limit);
    held.drain(..older);
    let next = held.first().filter(|_| older > 0).map(|m| m.id.to_string());
    Ok(Json(Page { items: held.iter().map(MessageLine::from).collect(), next }))
}

/// The message list of a peer in figures, by publisher and epoch.
#[utoipa::path(get, path = "/publishers", tag = "nodes", params(NodePath, Paging<PublisherKey>),
    responses((status = 200, description = "A page of it", body = Page<PublisherLine>), ErrorResponses))]
async fn publishers(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(paging): QueryOf<Paging<PublisherKey>>,
) -> Answer<Json<Page<PublisherLine>>> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let publishers = node.publishers().await.map_err(|_| Problem::gone())?;
    let page = paging.page(publishers, PublisherKey::of)?;
    Ok(Json(Page { items: page.items.iter().map(PublisherLine::from).collect(), next: page.next }))
}

/// A message with its content: from this peer, or from a neighbour that it asks.
#[utoipa::path(get, path = "/messages/{publisher}/{epoch}/{sequence}", tag = "nodes",
    params(NodePath, MessagePath),
    responses((status = 200, description = "The message", body = FullMessage), ErrorResponses))]
async fn message(
    State(shared): App,
    PathOf([which, publisher, epoch, sequence]): PathOf<[String; 4]>,
) -> Answer<Json<FullMessage>> {
    let id = message_id(&publisher, &epoch, &sequence)?;
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
    let member = node.members().await.ok()?.into_iter().find(|m| m.id == id)?;
    member.name.map(|n| n.to_string())
}

/// Publishes a message at a peer. With `wait_ms` the answer comes when all live peers that take
/// part hold it, or when that time is over; then it names those that are not known to.
#[utoipa::path(post, path = "/publish", tag = "nodes", params(NodePath), request_body = PublishBody,
    security(("token" = [])),
    responses((status = 201, description = "It was published", body = Published), ErrorResponses,
        (status = 413, description = "The body is too long", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The topic or the payload is too long, or the peer is leaving",
            body = Problem, content_type = "application/problem+json")))]
async fn publish(
    State(shared): App,
    PathOf(which): PathOf<String>,
    BodyOf(request): BodyOf<Publish>,
) -> Answer<(StatusCode, Json<Published>)> {
    let served = shared.nodes.find(&which)?;
    let node = peer(&served, "carry no messages")?;
    let payload = request.content.bytes().ok_or_else(|| {
        Problem::bad_request("give either `text` or `payload_base64` (RFC 4648, section 4)")
    })?;
    let refused =
        |e: rumormill::PublishError| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string());
    let most = MAX_RECEIPT_WAIT.as_millis();
    if request.wait_ms.is_some_and(|ms| u128::from(ms) > most) {
        return Err(Problem::bad_request(format!("`wait_ms` is over {most}, the longest wait")));
    }
    let Some(wait) = request.wait_ms else {
        let id = node.publish(&request.topic, &payload).await.map_err(refused)?;
        let published = Published { id: id.to_string(), receipt: None };
        return Ok((StatusCode::CREATED, Json(published)));
    };
    let began = Instant::now();
    let (id, mut receipts) =
        node.publish_with_receipt(&request.topic, &payload).await.map_err(refused)?;
    let until = began + Duration::from_millis(wait);
    let mut last = None;
    while let Ok(Some(receipt)) = timeout_at(until, receipts.next()).await {
        let complete = receipt.complete;
        last = Some((receipt, began.elapsed()));
        if complete {
            break;
        }
    }
    let now = wall_clock();
    let receipt = last.map(|(receipt, after)| ReceiptLine::of(&receipt, after, now));
    Ok((StatusCode::CREATED, Json(Published { id: id.to_string(), receipt })))
}

fn wall_clock() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The parameters of `leave`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Leaving {
    /// How long a peer may take to hand over what it published, at most a day; its own setting if
    /// not given.
    #[param(maximum = 86_400_000)]
    within_ms: Option<u64>,
}

/// Makes a peer hand over its messages and leave the network, or a seed stop. Answers when the node
/// has stopped.
#[utoipa::path(post, path = "/leave", tag = "nodes", params(NodePath, Leaving), security(("token" = [])),
    responses((status = 204, description = "It has stopped"), ErrorResponses,
        (status = 504, description = "It has stopped, and no other node is known to hold the last messages that \
            it published, or what others handed over to it while it was leaving", body = Problem, content_type = "application/problem+json")))]
async fn leave(
    State(shared): App,
    PathOf(which): PathOf<String>,
    QueryOf(leaving): QueryOf<Leaving>,
    body: Bytes,
) -> Answer<StatusCode> {
    if !body.is_empty() {
        return Err(Problem::bad_request("leaving takes no body; `within_ms` is a parameter"));
    }
    let served = shared.nodes.find(&which)?;
    let within = leaving.within_ms.map(Duration::from_millis);
    if within.is_some_and(|within| within > MAX_EXIT_TIME) {
        let longest = MAX_EXIT_TIME.as_millis();
        return Err(Problem::bad_request(format!("`within_ms` is over {longest}, a day")));
    }
    let done = match (&served.handle, within) {
        (Handle::Peer(node), Some(within)) => node.leave_within(within).await,
        (Handle::Peer(node), None) => node.leave().await,
        (Handle::Seed(node), _) => node.stop().await.map_err(LeaveError::from),
    };
    done.map_err(|e| match e {
        LeaveError::Unconfirmed(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, e.to_string()),
        _ => Problem::gone(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

//! Health checks for supervisors: whether the process works, and whether its nodes take part.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use rumormill::proto::snapshot::PeerState;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::ErrorResponses;
use super::shared::{Answer, Shared};
use crate::limits::HEALTH_WAIT;
use crate::metrics;
use crate::nodes::{Handle, ServedNode};
use crate::problem::Problem;

/// The routes without a token, whose answers say only whether something is wrong.
pub(super) fn open() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// The routes that need read access.
pub(super) fn guarded() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(scrape))
}

/// Metrics of all nodes here, in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "process",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text"), ErrorResponses))]
async fn scrape(State(shared): State<Arc<Shared>>) -> Answer<impl IntoResponse> {
    let text = metrics::text(shared.nodes.all()).await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

/// The health of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It takes part in the network.
    Ready,
    /// It works, and does not take part (yet, or any more).
    NotJoined,
    /// It takes part, but nothing can be written to its data directory.
    StoreFailed,
    /// Its task has ended, or does not answer.
    Unresponsive,
}

async fn health(served: &ServedNode) -> Health {
    let ready = async {
        match &served.handle {
            Handle::Peer(node) => {
                let s = node.snapshot().await?;
                Ok((s.state == PeerState::Joined, s.store_problem.is_none()))
            }
            Handle::Seed(node) => {
                node.snapshot().await.map(|s| (s.synced, s.store_problem.is_none()))
            }
        }
    };
    match timeout(HEALTH_WAIT, ready).await {
        Ok(Ok((true, true))) => Health::Ready,
        Ok(Ok((true, false))) => Health::StoreFailed,
        Ok(Ok((false, _))) => Health::NotJoined,
        Ok(Err(_)) | Err(_) => Health::Unresponsive,
    }
}

/// The number of nodes whose health fails a test, and the number of all nodes.
async fn count_unhealthy(shared: &Shared, is_healthy: impl Fn(Health) -> bool) -> (usize, usize) {
    let nodes = shared.nodes.all();
    let all = join_all(nodes.iter().map(|served| health(served))).await;
    (all.into_iter().filter(|h| !is_healthy(*h)).count(), nodes.len())
}

fn unavailable(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Whether the process works.
///
/// A supervisor should restart the process if this check fails.
#[utoipa::path(get, path = "/healthz", tag = "process", security(()),
    responses((status = 200, description = "All nodes here answer", body = String, content_type = "text/plain"),
        ErrorResponses,
        (status = 503, description = "Some do not", body = Problem,
            content_type = "application/problem+json")))]
async fn healthz(State(shared): State<Arc<Shared>>) -> Answer<&'static str> {
    match count_unhealthy(&shared, |h| h != Health::Unresponsive).await {
        (0, _) => {}
        (unhealthy, all) => {
            return Err(unavailable(format!("{unhealthy} of {all} nodes here do not answer")));
        }
    }
    // A restart does not repair a disk, so a failed store is no failure of this check; the answer
    // mentions it.
    match count_unhealthy(&shared, |h| h != Health::StoreFailed).await {
        (0, _) => Ok("ok\n"),
        _ => Ok("degraded: a node here cannot write to its data directory\n"),
    }
}

/// Whether the nodes take part in the network.
///
/// A peer takes part when it is registered with a majority of the seeds, a seed when it answers for
/// the network, and both only while they can write to their data directories. A restart would not
/// help.
#[utoipa::path(get, path = "/readyz", tag = "process", security(()),
    responses((status = 200, description = "All nodes here do", body = String, content_type = "text/plain"),
        ErrorResponses,
        (status = 503, description = "Some do not, or none runs here", body = Problem,
            content_type = "application/problem+json")))]
async fn readyz(State(shared): State<Arc<Shared>>) -> Answer<&'static str> {
    match count_unhealthy(&shared, |h| h == Health::Ready).await {
        (_, 0) => Err(unavailable("no node runs here".to_owned())),
        (0, _) => Ok("ok\n"),
        (unhealthy, all) => Err(unavailable(format!(
            "{unhealthy} of {all} nodes here are not ready: a peer is ready when a majority of the seeds holds \
             its registration, a seed when it has compared its registry with the others, and both only \
             while they can write to their data directories"
        ))),
    }
}

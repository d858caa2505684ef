//! What a supervisor asks: does the process work, and does it take part?

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use rumormill::proto::snapshot::PeerState;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::Refused;
use super::shared::{Answer, Shared};
use crate::limits::HEALTH_WAIT;
use crate::metrics;
use crate::nodes::{Handle, Served};
use crate::problem::Problem;

/// For everybody who may speak to this server at all: they say no more than that something is wrong.
pub(super) fn open() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// For those who may look.
pub(super) fn guarded() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(scrape))
}

/// Metrics of all nodes here, in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "process",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text"), Refused))]
async fn scrape(State(shared): State<Arc<Shared>>) -> Answer<impl IntoResponse> {
    let text = metrics::text(shared.nodes.all()).await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

/// How a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It takes part in the network.
    Ready,
    /// It works, and does not take part (yet, or any more).
    Apart,
    /// It takes part, but nothing can be written to its data directory.
    Storeless,
    /// Its task has ended, or does not answer.
    Stuck,
}

async fn health(served: &Served) -> Health {
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
        Ok(Ok((true, false))) => Health::Storeless,
        Ok(Ok((false, _))) => Health::Apart,
        Ok(Err(_)) | Err(_) => Health::Stuck,
    }
}

/// How many nodes of how many are not as they should be.
async fn not(shared: &Shared, well: impl Fn(Health) -> bool) -> (usize, usize) {
    let nodes = shared.nodes.all();
    let all = join_all(nodes.iter().map(|served| health(served))).await;
    (all.into_iter().filter(|h| !well(*h)).count(), nodes.len())
}

fn unavailable(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Whether the process works.
///
/// Whoever restarts it because this fails does the right thing.
#[utoipa::path(get, path = "/healthz", tag = "process", security(()),
    responses((status = 200, description = "All nodes here answer", body = String, content_type = "text/plain"),
        Refused,
        (status = 503, description = "Some do not", body = Problem,
            content_type = "application/problem+json")))]
async fn healthz(State(shared): State<Arc<Shared>>) -> Answer<&'static str> {
    match not(&shared, |h| h != Health::Stuck).await {
        (0, _) => {}
        (ill, all) => return Err(unavailable(format!("{ill} of {all} nodes here do not answer"))),
    }
    // A restart does not mend a disk, so this is no failure; but it is not "ok" either.
    match not(&shared, |h| h != Health::Storeless).await {
        (0, _) => Ok("ok\n"),
        _ => Ok("degraded: a node here cannot write to its data directory\n"),
    }
}

/// Whether it takes part.
///
/// A peer does when it is registered with a majority of the seeds, a seed when it answers for the
/// network, and both only while they can write to their data directories. A restart would not help.
#[utoipa::path(get, path = "/readyz", tag = "process", security(()),
    responses((status = 200, description = "All nodes here do", body = String, content_type = "text/plain"),
        Refused,
        (status = 503, description = "Some do not, or none runs here", body = Problem,
            content_type = "application/problem+json")))]
async fn readyz(State(shared): State<Arc<Shared>>) -> Answer<&'static str> {
    match not(&shared, |h| h == Health::Ready).await {
        (_, 0) => Err(unavailable("no node runs here".to_owned())),
        (0, _) => Ok("ok\n"),
        (ill, all) => Err(unavailable(format!(
            "{ill} of {all} nodes here are not ready: a peer is when a majority of the seeds holds its \
             registration, a seed when it has compared its registry with the others, and both when \
             their data directories take what they write"
        ))),
    }
}

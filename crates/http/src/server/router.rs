//! All paths of the API, and what is checked before a request reaches its handler.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, middleware};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::Document;
use super::shared::Shared;
use super::{guard, health, network, node_routes, openapi, streams};
use crate::limits::MAX_BODY;
use crate::problem::Problem;

/// All routes of the server.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let node = node_routes::single_node_routes()
        .routes(routes!(streams::events))
        .routes(routes!(streams::tail));
    let (guarded, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(node_routes::node_list_routes())
        .nest("/v1/nodes/{node}", node)
        .merge(network::router())
        .merge(health::guarded())
        .split_for_parts();
    let (open, health) = health::open().split_for_parts();
    let document = document.merge_from(health);
    guarded
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::check))
        .merge(page(&shared, open.merge(openapi::router(&document))))
        .with_state(shared)
}

/// The page and its parts, and the other routes that need no token.
fn page(shared: &Arc<Shared>, open: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    let check = middleware::from_fn_with_state(Arc::clone(shared), guard::check_page);
    Router::new()
        .route("/", get(|| async { crate::page::file("index.html") }))
        .route(
            "/page/{name}",
            get(|Path(name): Path<String>| async move { crate::page::file(&name) }),
        )
        .merge(open)
        .method_not_allowed_fallback(wrong_method)
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

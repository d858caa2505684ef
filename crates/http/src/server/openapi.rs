//! The OpenAPI document of the API: <https://spec.openapis.org/oas/v3.1.1>.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::routing::get;
use serde::Deserialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};

use super::shared::Shared;
use crate::problem::Problem;

/// The parts of the document that are not about one request.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Rumormill control API",
        description = "Reads and controls the nodes of one process. Ids are hexadecimal text, \
                       delays are milliseconds (`_ms`), ages are seconds (`_s`), points in time are Unix \
                       microseconds (`_us`). Fields may be added; readers ignore what they do not know.\n\n\
                       The token is in the control file of each node (`NAME-ID.json` in the directory that \
                       `rumor status --help` names), and behind the `#` of the address that `rumor up`, `peer` \
                       and `seed` print. With `--http ADDR` on loopback, and without `--http-token-file`, \
                       every user of this machine may read without it.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "nodes", description = "One node: a peer and its view, or a seed and its registry."),
        (name = "network", description = "All nodes served here together, as the page shows them."),
        (name = "process", description = "Metrics and health.")
    ),
    security((), ("token" = [])),
    modifiers(&BearerToken)
)]
pub(super) struct Document;

/// Adds the token to the document.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", token);
    }
}

/// The path parameter that names a node.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "its fields are read by the derive")]
pub(super) struct NodePath {
    /// Its name, its id, or the first eight digits of its id.
    node: String,
}

/// The path parameters that name a message.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "its fields are read by the derive")]
pub(super) struct MessagePath {
    /// The id of its publisher.
    #[param(pattern = "^[0-9a-f]{64}$")]
    publisher: String,
    /// The publisher's epoch.
    epoch: u64,
    /// Its sequence number.
    sequence: u64,
}

/// The message to publish, whose content is either text or base64.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is `Publish` in a form that the derive can describe")]
pub(super) enum PublishBody {
    Text(PublishText),
    Base64(PublishBase64),
}

/// A message of text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its fields are read by the derive")]
pub(super) struct PublishText {
    /// The topic; empty by default.
    #[schema(max_length = 128)]
    #[serde(default)]
    topic: String,
    /// The payload as text.
    text: String,
    /// Answer only when all live peers hold it, or after this many milliseconds.
    #[schema(maximum = 60_000)]
    wait_ms: Option<u64>,
}

/// A message of any bytes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its fields are read by the derive")]
pub(super) struct PublishBase64 {
    /// The topic; empty by default.
    #[schema(max_length = 128)]
    #[serde(default)]
    topic: String,
    /// The payload in base64 (RFC 4648, section 4).
    #[schema(
        pattern = "^([0-9A-Za-z+/]{4})*([0-9A-Za-z+/][AQgw]==|[0-9A-Za-z+/]{2}[AEIMQUYcgkosw048]=)?$"
    )]
    payload_base64: String,
    /// Answer only when all live peers hold it, or after this many milliseconds.
    #[schema(maximum = 60_000)]
    wait_ms: Option<u64>,
}

/// The errors that any request may have.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "its variants are read by the derive")]
pub(super) enum ErrorResponses {
    /// A parameter or the body is not as expected.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The token is missing or wrong.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The request names another host, or the page of another site sent it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such node, message or path, or not at a node of this role.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// Several nodes have this name.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The node has stopped.
    #[response(status = 410, content_type = "application/problem+json")]
    Gone(Problem),
}

/// Serves the document. It holds no secrets.
pub(super) fn router(document: &utoipa::openapi::OpenApi) -> Router<Arc<Shared>> {
    // Writing the document as JSON cannot fail.
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let answer = move |_: State<Arc<Shared>>| async move {
        let kind: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
        (kind, text.to_string())
    };
    Router::new().route("/openapi.json", get(answer))
}

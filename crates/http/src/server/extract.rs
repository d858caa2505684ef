//! Extractors of parts of requests, with a problem as the answer to a malformed part.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::limits::MAX_BODY;
use crate::problem::Problem;

/// The parameters of a path.
pub(super) struct PathOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(t)| PathOf(t)).map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// The parameters of a query.
pub(super) struct QueryOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(t)| QueryOf(t)).map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// A body of JSON, whatever its content type: a request with the token is trusted to mean it.
pub(super) struct BodyOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for BodyOf<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let refused = |e: BytesRejection| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is over {MAX_BODY} bytes"),
            ),
            status => Problem::new(status, e.body_text()),
        };
        let body = Bytes::from_request(request, state).await.map_err(refused)?;
        // A type of named fields can be read from an array as well, which no document describes.
        if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(Problem::bad_request("the body is not a JSON object".to_owned()));
        }
        let value = serde_json::from_slice(&body);
        value
            .map(BodyOf)
            .map_err(|e| Problem::bad_request(format!("the body is not as expected: {e}")))
    }
}

//! The page that shows the network: files that are part of the program.

use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// Name, type and content of each.
const FILES: [(&str, &str, &str); 8] = [
    ("index.html", "text/html; charset=utf-8", include_str!("../web/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("../web/style.css")),
    ("main.js", "text/javascript; charset=utf-8", include_str!("../web/main.js")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../web/live.js")),
    ("graph.js", "text/javascript; charset=utf-8", include_str!("../web/graph.js")),
    ("charts.js", "text/javascript; charset=utf-8", include_str!("../web/charts.js")),
    ("tables.js", "text/javascript; charset=utf-8", include_str!("../web/tables.js")),
    ("icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
];

/// The page may send requests to this server only, run only its own scripts, and not be framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// One of the files.
pub(crate) fn file(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(n, _, _)| *n == name) else {
        return Problem::not_found(format!("the page has no part {name:?}")).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A new program has a new page.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, *content).into_response()
}

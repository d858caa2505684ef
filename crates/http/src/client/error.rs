//! Why a request to a control API failed.

use std::error::Error;
use std::time::Duration;

use crate::limits::{CONNECT_TIMEOUT, MAX_ANSWER};
use crate::problem::Problem;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not `http://HOST:PORT`.
    #[error("{0:?} is not the URL of a control API (http://HOST:PORT)")]
    Url(String),
    /// No process listens at the address.
    #[error("cannot connect to {url}: {detail}")]
    Connect {
        /// Where.
        url: String,
        /// The error of the system.
        detail: String,
    },
    /// No answer in time.
    #[error("{url} gave no answer within {} s; the process may be stopped or overloaded, \
             and may still carry out the request when it runs again", .after.as_secs())]
    Timeout {
        /// Where.
        url: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {url} failed: {detail}")]
    Http {
        /// Where.
        url: String,
        /// The error of the connection.
        detail: String,
    },
    /// The request cannot be made (a token with line breaks, say).
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The node refused the request.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is over the limit.
    #[error("the answer of {url} is over {MAX_ANSWER} bytes")]
    TooLong {
        /// Where.
        url: String,
    },
    /// The answer, or an item of a stream, is not what this version expects.
    #[error("the answer of {url} is not as expected: {detail}; is it another version?")]
    Unexpected {
        /// Where.
        url: String,
        /// The difference from the expected answer.
        detail: String,
    },
}

impl ClientError {
    /// Whether the node could not be reached at all, as opposed to a refusal.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            ClientError::Connect { .. } | ClientError::Timeout { .. } | ClientError::Http { .. }
        )
    }

    /// The refusal of the node, if there was one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// The error of a request to `url` that had the time `after` for its answer.
    pub(super) fn of(e: &reqwest::Error, url: &str, after: Duration) -> Self {
        let (url, detail) = (url.to_owned(), root_cause(e));
        if e.is_timeout() {
            let after = if e.is_connect() { CONNECT_TIMEOUT } else { after };
            ClientError::Timeout { url, after }
        } else if e.is_connect() {
            ClientError::Connect { url, detail }
        } else if e.is_builder() {
            ClientError::Request(detail)
        } else {
            ClientError::Http { url, detail }
        }
    }
}

/// The innermost cause, which says what happened; the layers above it say where in the HTTP client.
fn root_cause(e: &dyn Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

//! Access checks, which run before any other part of a request is handled.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::shared::{Access, Shared};
use crate::problem::Problem;
use crate::token::Token;

pub(super) async fn check(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    check_source(headers, shared.address)?;
    let only_reads = request.method().is_safe();
    if !(only_reads && matches!(shared.access, Access::LocalReaders)) {
        check_token(headers, &shared.token)?;
    }
    Ok(next.run(request).await)
}

/// The check for the page itself, which holds no secrets; its address carries the token.
pub(super) async fn check_page(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    check_source(request.headers(), shared.address)?;
    Ok(next.run(request).await)
}

fn check_source(headers: &HeaderMap, server: SocketAddr) -> Result<(), Problem> {
    if server.ip().is_loopback() {
        check_host(headers, server)?;
    }
    check_origin(headers)
}

/// A page can make its own host name resolve to 127.0.0.1 (DNS rebinding), but the browser still
/// sends that name.
fn check_host(headers: &HeaderMap, server: SocketAddr) -> Result<(), Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let host = given.next().and_then(|h| h.to_str().ok());
    let good = host.is_some_and(|h| {
        h.eq_ignore_ascii_case(&server.to_string())
            || h.eq_ignore_ascii_case(&format!("localhost:{}", server.port()))
    });
    if good && given.next().is_none() {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("the Host header must be {server} or localhost:{}", server.port()),
        ))
    }
}

/// Browsers add `Origin` to the requests of pages. That of the page of this server is the host that
/// it was loaded from.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let is_same_site = host.is_some_and(|h| {
        origin.to_str().is_ok_and(|o| o.eq_ignore_ascii_case(&format!("http://{h}")))
    });
    if is_same_site && headers.get_all(header::ORIGIN).iter().count() == 1 {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "requests that the page of another site sends (see its Origin header) are refused",
    ))
}

fn check_token(headers: &HeaderMap, token: &Token) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let secret = given.and_then(|v| v.split_at_checked(7)).and_then(|(scheme, rest)| {
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
    });
    if secret.is_some_and(|s| token.matches(s)) {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer TOKEN` with the token of the node's control file",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect()
    }

    #[test]
    fn host_check_accepts_only_names_of_this_server() {
        let own = "127.0.0.1:4000".parse().unwrap();
        let status =
            |h: &[(header::HeaderName, &str)]| check_host(&headers(h), own).map_err(|p| p.status);
        assert_eq!(status(&[(header::HOST, "127.0.0.1:4000")]), Ok(()));
        assert_eq!(status(&[(header::HOST, "LocalHost:4000")]), Ok(()));
        for bad in ["127.0.0.1", "127.0.0.1:4001", "evil.example:4000", "127.0.0.1:4000.evil"] {
            assert_eq!(status(&[(header::HOST, bad)]), Err(403), "{bad}");
        }
        assert_eq!(status(&[]), Err(403));
        let mut two = headers(&[(header::HOST, "127.0.0.1:4000")]);
        two.append(header::HOST, "evil.example".parse().unwrap());
        assert!(check_host(&two, own).is_err());
    }

    #[test]
    fn origin_check_refuses_pages_of_other_sites() {
        let check = |origin: &str| {
            let host = (header::HOST, "127.0.0.1:4000");
            check_origin(&headers(&[host, (header::ORIGIN, origin)])).is_ok()
        };
        assert!(check_origin(&headers(&[])).is_ok());
        assert!(check("http://127.0.0.1:4000"));
        for other in
            ["http://127.0.0.1:4001", "https://127.0.0.1:4000", "null", "http://evil.example"]
        {
            assert!(!check(other), "{other}");
        }
        assert!(check_origin(&headers(&[(header::ORIGIN, "http://127.0.0.1:4000")])).is_err());
    }

    #[test]
    fn token_check_needs_the_whole_token_as_bearer() {
        let token = Token::random().unwrap();
        let check = |v: &str| check_token(&headers(&[(header::AUTHORIZATION, v)]), &token).is_ok();
        let secret = token.secret();
        assert!(check(&format!("Bearer {secret}")));
        assert!(check(&format!("bearer  {secret} ")));
        assert!(!check(secret));
        assert!(!check(&format!("Basic {secret}")));
        assert!(!check(&format!("Bearer {}", &secret[1..])));
        assert!(!check("Bearer "));
        assert!(check_token(&HeaderMap::new(), &token).is_err());
    }
}

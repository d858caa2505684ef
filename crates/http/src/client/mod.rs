//! The client side: one connection per request, which is cheap on loopback.

mod error;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use rumormill::proto::MessageId;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

pub use error::ClientError;
pub use stream::{EventStream, StreamItem};

use crate::control_file::ControlFile;
use crate::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, MAX_ANSWER, MAX_PAGE, STREAM_KEEP_ALIVE};
use crate::paging::Page;
use crate::problem::Problem;
use crate::token::Token;
use crate::view::{
    EventLine, FullMessage, MemberLine, MessageLine, NeighbourLine, NodeLine, Publish, Published,
    PublisherLine, Status,
};

/// The longest silence of a stream.
const STREAM_SILENCE: Duration = STREAM_KEEP_ALIVE.saturating_mul(3);

/// Talks to one node.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address as the control file has it, for messages.
    url: String,
    base: Url,
    token: Token,
    node: String,
    http: reqwest::Client,
}

/// An HTTP client for a control API. It uses no proxy, which would learn the token, and follows no
/// redirect. It keeps no idle connection: a server that stops would close one at the moment of the
/// next request.
fn http_client() -> ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .connect_timeout(CONNECT_TIMEOUT)
}

impl Client {
    /// A client for the node of a control file.
    ///
    /// # Errors
    /// The URL in the file is not one, or the HTTP client cannot be set up.
    pub fn new(file: &ControlFile) -> Result<Self, ClientError> {
        let base = Url::parse(&file.url)
            .ok()
            .filter(|url| url.scheme() == "http" && url.path() == "/" && url.query().is_none())
            .ok_or_else(|| ClientError::Url(file.url.clone()))?;
        let http =
            http_client().build().map_err(|e| ClientError::of(&e, &file.url, ANSWER_TIMEOUT))?;
        Ok(Client {
            url: file.url.clone(),
            base,
            token: file.token.clone(),
            node: file.id.clone(),
            http,
        })
    }

    /// All nodes of the same server.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every request.
    pub async fn nodes(&self) -> Result<Vec<NodeLine>, ClientError> {
        self.list("/v1/nodes").await
    }

    /// Its state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("status").await
    }

    /// The members in its view; at a seed, the registry.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn members(&self) -> Result<Vec<MemberLine>, ClientError> {
        self.list(&self.path("members")).await
    }

    /// Its neighbours.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn neighbours(&self) -> Result<Vec<NeighbourLine>, ClientError> {
        self.list(&self.path("neighbours")).await
    }

    /// The newest `limit` messages it holds, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn messages(&self, limit: usize) -> Result<Vec<MessageLine>, ClientError> {
        let pages = self.pages(&self.path("messages"), limit).await?;
        // The newest page came first.
        Ok(pages.into_iter().rev().flatten().collect())
    }

    /// Its message list in figures.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn publishers(&self) -> Result<Vec<PublisherLine>, ClientError> {
        self.list(&self.path("publishers")).await
    }

    /// A message with its content, from this peer or from one that it asks.
    ///
    /// # Errors
    /// See [`ClientError`]; a message that no node has is a problem with status 404.
    pub async fn message(&self, id: MessageId) -> Result<FullMessage, ClientError> {
        self.get(&format!("messages/{id}")).await
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn publish(&self, request: &Publish) -> Result<Published, ClientError> {
        let within = ANSWER_TIMEOUT + Duration::from_millis(request.wait_ms.unwrap_or(0));
        let publish = self.request(Method::POST, &self.path("publish"))?.json(request);
        self.json(publish, within).await
    }

    /// Makes a peer leave, or a seed stop; returns when it is done. `within` is how long a peer may
    /// take to hand over what it published, if not as long as it was set to. The client waits for
    /// as long as the node answers other requests.
    ///
    /// # Errors
    /// See [`ClientError`]; if no other node is known to hold all that it published: a problem with
    /// status 504.
    pub async fn leave(&self, within: Option<Duration>) -> Result<(), ClientError> {
        self.leave_if_alive(within, ANSWER_TIMEOUT).await
    }

    /// As [`leave`](Client::leave): a node that leaves is asked for its status, and given up after
    /// `silence`.
    async fn leave_if_alive(
        &self,
        within: Option<Duration>,
        silence: Duration,
    ) -> Result<(), ClientError> {
        let mut leave = self.request(Method::POST, &self.path("leave"))?;
        if let Some(within) = within {
            leave = leave.query(&[("within_ms", within.as_millis())]);
        }
        let mut leaves = std::pin::pin!(self.exchange(leave, silence));
        loop {
            let status = async {
                sleep(silence / 2).await;
                let status = self.request(Method::GET, &self.path("status"))?;
                self.exchange(status.timeout(silence / 2), silence / 2).await
            };
            let answer = tokio::select! {
                left = &mut leaves => return left.map(drop),
                answer = status => answer,
            };
            // Any other answer shows that the process runs, or that it has just ended.
            if let Err(ClientError::Timeout { url, .. }) = answer {
                return Err(ClientError::Timeout { url, after: silence });
            }
        }
    }

    /// The events of the node from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self) -> Result<EventStream<EventLine>, ClientError> {
        self.stream(self.request_stream("events")?).await
    }

    /// The messages it receives and publishes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tail(
        &self,
        request: &TailRequest,
    ) -> Result<EventStream<FullMessage>, ClientError> {
        let from = request.from.iter().map(|from| ("from", from));
        let topics = request.topics.iter().map(|topic| ("topic", topic));
        let query: Vec<_> = from.chain(topics).collect();
        let tail = self.request_stream("tail")?;
        self.stream(tail.query(&[("payload", request.with_content)]).query(&query)).await
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/nodes/{}/{what}", self.node)
    }

    /// A request with the token of the node.
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        self.authorized(&self.http, method, path)
    }

    /// A request for a stream, which may be silent for [`STREAM_SILENCE`].
    fn request_stream(&self, what: &str) -> Result<RequestBuilder, ClientError> {
        let http = http_client().read_timeout(STREAM_SILENCE).build();
        let http = http.map_err(|e| ClientError::of(&e, &self.url, ANSWER_TIMEOUT))?;
        self.authorized(&http, Method::GET, &self.path(what))
    }

    fn authorized(
        &self,
        http: &reqwest::Client,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, ClientError> {
        let url = self.base.join(path).map_err(|e| ClientError::Request(e.to_string()))?;
        Ok(http.request(method, url).bearer_auth(self.token.secret()))
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, &self.path(what))?, ANSWER_TIMEOUT).await
    }

    /// The whole of a list.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        Ok(self.pages(path, usize::MAX).await?.into_iter().flatten().collect())
    }

    /// The pages of a list, up to a number of items.
    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        most: usize,
    ) -> Result<Vec<Vec<T>>, ClientError> {
        let (mut pages, mut left, mut cursor) = (Vec::new(), most, None::<String>);
        while left > 0 {
            let limit = left.min(MAX_PAGE);
            let mut request = self.request(Method::GET, path)?.query(&[("limit", limit)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<T> = self.json(request, ANSWER_TIMEOUT).await?;
            left = left.saturating_sub(page.items.len());
            pages.push(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(pages)
    }

    fn unexpected(&self, detail: impl ToString) -> ClientError {
        ClientError::Unexpected { url: self.url.clone(), detail: detail.to_string() }
    }

    /// A request and its answer, which must be complete `within` a time.
    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<T, ClientError> {
        let bytes = self.exchange(request.timeout(within), within).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.unexpected(e))
    }

    /// A request and its answer. `within` is the time that the request gives the node, for the
    /// message about a timeout.
    async fn exchange(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        let response = request.send().await.map_err(|e| self.failed(&e, within))?;
        let status = response.status();
        let bytes = self.collect(response, within).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refused(status, &bytes)) }
    }

    fn failed(&self, e: &reqwest::Error, within: Duration) -> ClientError {
        ClientError::of(e, &self.url, within)
    }

    async fn collect(&self, response: Response, within: Duration) -> Result<Bytes, ClientError> {
        match Limited::new(reqwest::Body::from(response), MAX_ANSWER).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(e) if e.is::<LengthLimitError>() => {
                Err(ClientError::TooLong { url: self.url.clone() })
            }
            Err(e) => Err(e
                .downcast::<reqwest::Error>()
                .map_or_else(|e| self.unexpected(e), |e| self.failed(&e, within))),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        serde_json::from_slice::<Problem>(body).map_or_else(
            |_| self.unexpected(format!("status {status} without an explanation")),
            ClientError::Refused,
        )
    }

    async fn stream<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<EventStream<T>, ClientError> {
        let open = async {
            let response = request.send().await.map_err(|e| self.failed(&e, ANSWER_TIMEOUT))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let bytes = self.collect(response, ANSWER_TIMEOUT).await?;
            Err(self.refused(status, &bytes))
        };
        let late = |_| ClientError::Timeout { url: self.url.clone(), after: ANSWER_TIMEOUT };
        let response = timeout(ANSWER_TIMEOUT, open).await.map_err(late)??;
        let url = self.url.clone();
        let broken = move |e: reqwest::Error| ClientError::of(&e, &url, STREAM_SILENCE);
        let body = reqwest::Body::from(response).into_data_stream().map_err(broken);
        Ok(EventStream::new(self.url.clone(), body))
    }
}

/// Which messages to follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TailRequest {
    /// `now` (the default), `earliest`, microseconds since 1970, or the id of a message to begin
    /// after.
    pub from: Option<String>,
    /// Topics or patterns (`orders.*`); none for all.
    pub topics: Vec<String>,
    /// Whether to send the content of the messages.
    pub with_content: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(200);

    /// A node that answers `leave` after some time, and other requests at once as long as it is
    /// `awake`.
    async fn node(leave_takes: Duration, awake: bool) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let n = stream.read(&mut head).await.unwrap();
                    let leaves = String::from_utf8_lossy(&head[..n]).starts_with("POST");
                    match (leaves, awake) {
                        (true, _) => sleep(leave_takes).await,
                        (false, true) => {}
                        (false, false) => std::future::pending().await,
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                });
            }
        });
        let json = serde_json::json!({
            "name": "n", "id": "n", "role": "peer", "pid": 1, "url": url,
            "token": Token::random().unwrap(),
        });
        Client::new(&serde_json::from_value(json).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn client_waits_for_an_exit_as_long_as_the_node_answers() {
        let client = node(SILENCE * 5, true).await;
        client.leave_if_alive(None, SILENCE).await.unwrap();
        client.leave_if_alive(Some(Duration::MAX), SILENCE).await.unwrap();
    }

    #[tokio::test]
    async fn client_gives_up_on_a_node_that_does_not_answer() {
        let client = node(Duration::from_secs(60), false).await;
        let begun = Instant::now();
        let late = client.leave_if_alive(Some(Duration::from_secs(60)), SILENCE).await;
        assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

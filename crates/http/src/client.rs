//! The client side: one connection per request, which is cheap on loopback.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rumormill::proto::MessageId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::control_file::ControlFile;
use crate::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, MAX_ANSWER, MAX_PAGE, STREAM_KEEP_ALIVE};
use crate::paging::Page;
use crate::problem::Problem;
use crate::sse::{BadStream, Parser};
use crate::view::{
    EventLine, FullMessage, GapLine, Lagged, MemberLine, MessageLine, NeighbourLine, NodeLine,
    Publish, Published, PublisherLine, Status,
};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not `http://HOST:PORT`.
    #[error("{0:?} is not the URL of a control API (http://HOST:PORT)")]
    Url(String),
    /// No process listens at the address.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// Where.
        url: String,
        /// The error of the system.
        source: io::Error,
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
    #[error("the connection to {url} failed: {source}")]
    Http {
        /// Where.
        url: String,
        /// The error of the connection.
        source: hyper::Error,
    },
    /// The request cannot be made (a token with line breaks, say).
    #[error("the request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
    /// The node refused the request.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is over the limit.
    #[error("the answer of {url} is over {MAX_ANSWER} bytes")]
    TooLong {
        /// Where.
        url: String,
    },
    /// The answer is not what this version expects.
    #[error("the answer of {url} is not as expected: {detail}; is it another version?")]
    Unexpected {
        /// Where.
        url: String,
        /// The difference from the expected answer.
        detail: String,
    },
    /// A stream is not as expected.
    #[error(transparent)]
    Stream(#[from] BadStream),
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
}

type Body = Full<Bytes>;

/// Talks to one node.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    authority: String,
    authorization: String,
    node: String,
}

impl Client {
    /// A client for the node of a control file.
    ///
    /// # Errors
    /// The URL in the file is not one.
    pub fn new(file: &ControlFile) -> Result<Self, ClientError> {
        let authority = file
            .url
            .strip_prefix("http://")
            .map(|a| a.trim_end_matches('/'))
            .filter(|a| !a.is_empty() && !a.contains('/'))
            .ok_or_else(|| ClientError::Url(file.url.clone()))?;
        Ok(Client {
            url: file.url.clone(),
            authority: authority.to_owned(),
            authorization: format!("Bearer {}", file.token.secret()),
            node: file.id.clone(),
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
        let body = Some(self.encode(request)?);
        let bytes = self.answer(Method::POST, self.path("publish"), body, within).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.unexpected(&e))
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
        let mut path = self.path("leave");
        if let Some(within) = within {
            path += &format!("?within_ms={}", within.as_millis());
        }
        let mut leaves = std::pin::pin!(self.exchange(Method::POST, path, None));
        loop {
            let status = async {
                sleep(silence / 2).await;
                self.answer(Method::GET, self.path("status"), None, silence / 2).await
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
        self.stream("events").await
    }

    /// The messages it receives and publishes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tail(
        &self,
        request: &TailRequest,
    ) -> Result<EventStream<FullMessage>, ClientError> {
        let mut query = format!("tail?payload={}", request.with_content);
        if let Some(from) = &request.from {
            query += &format!("&from={}", escaped(from));
        }
        for topic in &request.topics {
            query += &format!("&topic={}", escaped(topic));
        }
        self.stream(&query).await
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/nodes/{}/{what}", self.node)
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, ClientError> {
        self.json(Method::GET, self.path(what), None).await
    }

    /// The whole of a list.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        Ok(self.pages(path, usize::MAX).await?.into_iter().flatten().collect())
    }

    /// The pages of a list, up to so many items.
    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        most: usize,
    ) -> Result<Vec<Vec<T>>, ClientError> {
        let (mut pages, mut left, mut cursor) = (Vec::new(), most, None::<String>);
        while left > 0 {
            let limit = left.min(MAX_PAGE);
            let mut query = format!("{path}?limit={limit}");
            if let Some(cursor) = &cursor {
                query += &format!("&cursor={}", escaped(cursor));
            }
            let page: Page<T> = self.json(Method::GET, query, None).await?;
            left = left.saturating_sub(page.items.len());
            pages.push(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(pages)
    }

    fn encode(&self, value: &impl Serialize) -> Result<Bytes, ClientError> {
        let encoded = serde_json::to_vec(value).map_err(|e| self.unexpected(&e))?;
        Ok(encoded.into())
    }

    fn unexpected(&self, e: &serde_json::Error) -> ClientError {
        ClientError::Unexpected { url: self.url.clone(), detail: e.to_string() }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<Bytes>,
    ) -> Result<T, ClientError> {
        let bytes = self.answer(method, path, body, ANSWER_TIMEOUT).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.unexpected(&e))
    }

    async fn answer(
        &self,
        method: Method,
        path: String,
        body: Option<Bytes>,
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        let late = |_| ClientError::Timeout { url: self.url.clone(), after: within };
        timeout(within, self.exchange(method, path, body)).await.map_err(late)?
    }

    /// A request and its answer, however long that takes.
    async fn exchange(
        &self,
        method: Method,
        path: String,
        body: Option<Bytes>,
    ) -> Result<Bytes, ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = self.collect(response).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refused(status, &bytes)) }
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, ClientError> {
        let connect = |source| ClientError::Connect { url: self.url.clone(), source };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| ClientError::Timeout { url: self.url.clone(), after: CONNECT_TIMEOUT })?
            .map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let http = |source| ClientError::Http { url: self.url.clone(), source };
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(http)?;
        // The task ends with the response, or with the response's stream.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, &self.authorization);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        sender.send_request(request).await.map_err(http)
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(e) if e.is::<LengthLimitError>() => {
                Err(ClientError::TooLong { url: self.url.clone() })
            }
            Err(e) => match e.downcast::<hyper::Error>() {
                Ok(source) => Err(ClientError::Http { url: self.url.clone(), source: *source }),
                Err(e) => {
                    let detail = e.to_string();
                    Err(ClientError::Unexpected { url: self.url.clone(), detail })
                }
            },
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ClientError::Refused(problem),
            Err(_) => ClientError::Unexpected {
                url: self.url.clone(),
                detail: format!("status {status} without an explanation"),
            },
        }
    }

    async fn stream<T: DeserializeOwned>(&self, what: &str) -> Result<EventStream<T>, ClientError> {
        let open = async {
            let response = self.send(Method::GET, self.path(what), None).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response.into_body());
            }
            let bytes = self.collect(response).await?;
            Err(self.refused(status, &bytes))
        };
        let late = |_| ClientError::Timeout { url: self.url.clone(), after: ANSWER_TIMEOUT };
        let body = timeout(ANSWER_TIMEOUT, open).await.map_err(late)??;
        Ok(EventStream {
            url: self.url.clone(),
            body,
            parser: Parser::default(),
            ready: VecDeque::new(),
            kind: PhantomData,
        })
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

/// A value for a query (RFC 3986, section 2.1).
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            other => escaped += &format!("%{other:02X}"),
        }
    }
    escaped
}

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem<T> {
    /// An event or a message.
    Of(T),
    /// Messages that do not arrive, in their place.
    Gap(GapLine),
    /// The end of the history: further messages are new to the peer.
    CaughtUp,
    /// The number of events that were missed, because this side reads too slowly.
    Lagged(u64),
}

/// A stream of events or messages of a node.
#[derive(Debug)]
pub struct EventStream<T> {
    url: String,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<StreamItem<T>>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> EventStream<T> {
    /// The next item; `None` when the node has ended the stream. Cancel safe.
    ///
    /// # Errors
    /// The connection broke, or was silent for three times its keep-alive interval.
    pub async fn next(&mut self) -> Result<Option<StreamItem<T>>, ClientError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let silence = STREAM_KEEP_ALIVE * 3;
            let late = |_| ClientError::Timeout { url: self.url.clone(), after: silence };
            let Some(frame) = timeout(silence, self.body.frame()).await.map_err(late)? else {
                return Ok(None);
            };
            let frame =
                frame.map_err(|source| ClientError::Http { url: self.url.clone(), source })?;
            let Ok(data) = frame.into_data() else { continue };
            for raw in self.parser.feed(&data)? {
                let unexpected = |e: serde_json::Error| ClientError::Unexpected {
                    url: self.url.clone(),
                    detail: e.to_string(),
                };
                self.ready.push_back(if raw.name == "lagged" {
                    let lagged: Lagged = serde_json::from_str(&raw.data).map_err(unexpected)?;
                    StreamItem::Lagged(lagged.missing)
                } else if raw.name == "caught_up" {
                    StreamItem::CaughtUp
                } else if raw.name == "gap" {
                    StreamItem::Gap(serde_json::from_str(&raw.data).map_err(unexpected)?)
                } else {
                    StreamItem::Of(serde_json::from_str(&raw.data).map_err(unexpected)?)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::token::Token;

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
        Client {
            url: url.clone(),
            authority: url.trim_start_matches("http://").to_owned(),
            authorization: format!("Bearer {}", Token::random().unwrap().secret()),
            node: "n".to_owned(),
        }
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

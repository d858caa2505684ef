//! Reading a stream of Server-Sent Events (HTML Living Standard, section 9.2).

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use sse_stream::{Sse, SseByteStream};

use super::error::ClientError;
use crate::limits::MAX_STREAM_ITEM;
use crate::view::{GapLine, Lagged};

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
pub struct EventStream<T> {
    url: String,
    items: BoxStream<'static, Result<Sse, sse_stream::Error>>,
    kind: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for EventStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("url", &self.url).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> EventStream<T> {
    /// The items of an answer's body.
    pub(super) fn new(
        url: String,
        body: impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static,
    ) -> Self {
        let bounded = bounded(url.clone(), body);
        EventStream { url, items: SseByteStream::new(bounded.boxed()).boxed(), kind: PhantomData }
    }

    /// The next item; `None` when the node has ended the stream. Cancel safe.
    ///
    /// # Errors
    /// The connection broke, or was silent for three times its keep-alive interval.
    pub async fn next(&mut self) -> Result<Option<StreamItem<T>>, ClientError> {
        while let Some(item) = self.items.next().await {
            let item = item.map_err(|e| self.broken(e))?;
            // A block without data is no item.
            let Some(data) = &item.data else { continue };
            return self
                .read(item.event.as_deref(), data)
                .map(Some)
                .map_err(|e| self.unexpected(e));
        }
        Ok(None)
    }

    fn read(&self, name: Option<&str>, data: &str) -> serde_json::Result<StreamItem<T>> {
        Ok(match name {
            Some("lagged") => StreamItem::Lagged(serde_json::from_str::<Lagged>(data)?.missing),
            Some("caught_up") => StreamItem::CaughtUp,
            Some("gap") => StreamItem::Gap(serde_json::from_str(data)?),
            _ => StreamItem::Of(serde_json::from_str(data)?),
        })
    }

    fn broken(&self, e: sse_stream::Error) -> ClientError {
        match e {
            sse_stream::Error::Body(e) => {
                e.downcast().map_or_else(|e| self.unexpected(e), |client_error| *client_error)
            }
            e => self.unexpected(e),
        }
    }

    fn unexpected(&self, e: impl fmt::Display) -> ClientError {
        ClientError::Unexpected { url: self.url.clone(), detail: e.to_string() }
    }
}

/// Ends a body with an error when an item is longer than [`MAX_STREAM_ITEM`], because the decoder
/// keeps an item in memory, however long, until it is complete.
fn bounded(
    url: String,
    body: impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ClientError>> + Send {
    let mut incomplete = 0;
    body.and_then(move |part| {
        incomplete = match part.windows(2).rposition(|pair| pair == b"\n\n") {
            Some(end) => part.len() - end - 2,
            None => incomplete + part.len(),
        };
        let detail = || format!("an item of the stream is over {MAX_STREAM_ITEM} bytes");
        std::future::ready(if incomplete > MAX_STREAM_ITEM {
            Err(ClientError::Unexpected { url: url.clone(), detail: detail() })
        } else {
            Ok(part)
        })
    })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn of_parts(parts: Vec<Bytes>) -> EventStream<serde_json::Value> {
        EventStream::new("http://x".to_owned(), stream::iter(parts.into_iter().map(Ok)))
    }

    #[tokio::test]
    async fn stream_gives_the_same_items_however_the_bytes_are_split() {
        let text =
            b"data: {\"a\":\ndata: 1}\n\n: alive\n\nevent: lagged\ndata: {\"missing\":3}\n\n";
        let expected = [StreamItem::Of(serde_json::json!({"a": 1})), StreamItem::Lagged(3)];
        for step in 1..text.len() {
            let mut stream = of_parts(text.chunks(step).map(Bytes::from_static).collect());
            for item in &expected {
                assert_eq!(stream.next().await.unwrap().as_ref(), Some(item), "step {step}");
            }
            assert_eq!(stream.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn stream_refuses_an_endless_item_and_takes_endless_items() {
        let part = |end: &str| Bytes::from("x".repeat(MAX_STREAM_ITEM / 2) + end);
        let mut endless = of_parts(vec![part(""), part(""), part("")]);
        let e = endless.next().await.unwrap_err().to_string();
        assert!(e.contains("over 8388608 bytes"), "{e}");
        let mut many = of_parts(vec![part("\n\n"), part("\n\n"), part("\n\n")]);
        assert_eq!(many.next().await.unwrap(), None);
    }
}

//! Observing a node in another process through its control API.

use rumormill_http::view::Status;
use rumormill_http::{Client, StreamItem, TailRequest};
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::utc;
use tokio::sync::mpsc;

use super::event_json;
use crate::up::event::{ObserverEvent, RunEvent};

/// Passes the events of a node on to the run. Returns when the subscription has begun; what
/// happened before it is read from the node's status.
pub(super) async fn observe_events(
    node: usize,
    client: Client,
    events: mpsc::Sender<RunEvent>,
) -> Outcome<()> {
    let mut stream = client.events().await?;
    let status = client.status().await?;
    if let Status::Peer(peer) = status {
        let at_us = utc::now_us();
        if peer.state == "joined" {
            let event = ObserverEvent::Joined;
            let _ = events.send(RunEvent::Observed { node, at_us, event }).await;
        }
        let degree = u16::try_from(peer.degree).unwrap_or(u16::MAX);
        let event = ObserverEvent::NeighbourUp { degree };
        let _ = events.send(RunEvent::Observed { node, at_us, event }).await;
    }
    tokio::spawn(async move {
        // A stream breaks when the process ends, which the run learns from its exit code, or when
        // it is stopped, which the run itself has done.
        while let Ok(Some(item)) = stream.next().await {
            let event = match item {
                StreamItem::Of(line) => match event_json::read(&line.event) {
                    Some(event) => RunEvent::Observed { node, at_us: line.at_us, event },
                    None => continue,
                },
                // A stream of events has none of these.
                StreamItem::Gap(_) | StreamItem::CaughtUp => continue,
                StreamItem::Lagged(missing) => RunEvent::Lagged { node, missing },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Passes the messages that a peer receives on to the run.
pub(super) async fn observe_messages(
    peer: usize,
    client: Client,
    events: mpsc::Sender<RunEvent>,
) -> Outcome<()> {
    let mut stream = client.tail(&TailRequest::default()).await?;
    tokio::spawn(async move {
        while let Ok(Some(item)) = stream.next().await {
            let event = match item {
                StreamItem::Of(message) => {
                    let received = message.received_us.filter(|_| message.from.is_some());
                    let (Ok(id), Some(received_us)) = (message.id.parse(), received) else {
                        continue;
                    };
                    RunEvent::Received { peer, id, published_us: message.published_us, received_us }
                }
                StreamItem::Gap(gap) => RunEvent::Gap { node: peer, missing: gap.to - gap.from },
                StreamItem::CaughtUp => continue,
                StreamItem::Lagged(missing) => RunEvent::Lagged { node: peer, missing },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

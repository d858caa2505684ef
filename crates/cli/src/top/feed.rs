//! The state of the node, asked for once a second, and its events as they happen.

use std::time::Duration;

use rumormill::proto::MessageId;
use rumormill_http::view::Status;
use rumormill_http::{Client, ClientError, StreamItem};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::update::{Request, Snapshot, Update};

/// How often the node is asked for its state, and how soon it is asked for its events again.
const EVERY: Duration = Duration::from_secs(1);
/// The newest messages that the node is asked for.
const MESSAGES: usize = 200;

async fn snapshot(client: &Client) -> Result<Snapshot, ClientError> {
    let status = client.status().await?;
    let members = client.members().await?;
    let (neighbours, messages) = match status {
        Status::Peer(_) => (client.neighbours().await?, client.messages(MESSAGES).await?),
        Status::Seed(_) => (Vec::new(), Vec::new()),
    };
    Ok(Snapshot { at: Instant::now(), status, neighbours, messages, members })
}

/// The updates of the node, from two tasks that ask it; dropping this ends the tasks.
#[derive(Debug)]
pub(super) struct Feed {
    updates: mpsc::Receiver<Update>,
    tasks: Vec<JoinHandle<()>>,
}

impl Feed {
    pub(super) fn start(client: Client, requests: mpsc::Receiver<Request>) -> Self {
        let (sender, updates) = mpsc::channel(256);
        let state = tokio::spawn(follow_state(client.clone(), requests, sender.clone()));
        let events = tokio::spawn(follow_events(client, sender));
        Feed { updates, tasks: vec![state, events] }
    }

    /// The next update. Cancel safe.
    pub(super) async fn next(&mut self) -> Update {
        match self.updates.recv().await {
            Some(update) => update,
            // Both tasks have ended: no update follows.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Asks for the state, and answers requests in between.
async fn follow_state(
    client: Client,
    mut requests: mpsc::Receiver<Request>,
    updates: mpsc::Sender<Update>,
) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let update = tokio::select! {
            _ = due.tick() => snapshot(&client).await.map(|s| Update::Snapshot(Box::new(s))),
            Some(request) = requests.recv() => match request {
                Request::Content(id) => content(&client, &id).await,
                Request::Quit => return,
            },
        };
        let update = update.unwrap_or_else(|e| Update::Failed(e.to_string()));
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

async fn content(client: &Client, id: &str) -> Result<Update, ClientError> {
    let Ok(id) = id.parse::<MessageId>() else {
        return Ok(Update::Failed(format!("{id:?} is not the id of a message")));
    };
    Ok(Update::Content(Box::new(client.message(id).await?)))
}

/// Follows the events, and subscribes again after the connection was lost.
async fn follow_events(client: Client, updates: mpsc::Sender<Update>) {
    loop {
        if let Ok(mut stream) = client.events().await {
            while let Ok(Some(item)) = stream.next().await {
                let update = match item {
                    StreamItem::Of(event) => Update::Event(event),
                    StreamItem::Lagged(n) => Update::Missed(n),
                    StreamItem::Gap(_) | StreamItem::CaughtUp => continue,
                };
                if updates.send(update).await.is_err() {
                    return;
                }
            }
        }
        sleep(EVERY).await;
    }
}

//! What the node says: asked once a second, and its events as they happen.

use std::time::Duration;

use rumormill::proto::MessageId;
use rumormill_http::view::{
    EventLine, FullMessage, MemberLine, MessageLine, NeighbourLine, Status,
};
use rumormill_http::{Client, ClientError, Item};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::model::Wish;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Messages asked for.
const MESSAGES: usize = 200;

/// Something new.
#[derive(Debug)]
pub(super) enum News {
    Look(Box<Look>),
    Event(EventLine),
    /// So many events came faster than they could be taken.
    Missed(u64),
    Content(Box<FullMessage>),
    /// The node does not answer, or not as expected.
    Trouble(String),
}

/// The node at one moment.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) status: Status,
    /// Of a seed there are none.
    pub(super) neighbours: Vec<NeighbourLine>,
    pub(super) messages: Vec<MessageLine>,
    pub(super) members: Vec<MemberLine>,
}

async fn look(client: &Client) -> Result<Look, ClientError> {
    let status = client.status().await?;
    let members = client.members().await?;
    let (neighbours, messages) = match status {
        Status::Peer(_) => (client.neighbours().await?, client.messages(MESSAGES).await?),
        Status::Seed(_) => (Vec::new(), Vec::new()),
    };
    Ok(Look { at: Instant::now(), status, neighbours, messages, members })
}

/// Two tasks that ask; they end with it.
#[derive(Debug)]
pub(super) struct Feed {
    news: mpsc::Receiver<News>,
    tasks: Vec<JoinHandle<()>>,
}

impl Feed {
    pub(super) fn begin(client: Client, wishes: mpsc::Receiver<Wish>) -> Self {
        let (sender, news) = mpsc::channel(256);
        let looks = tokio::spawn(looks(client.clone(), wishes, sender.clone()));
        let events = tokio::spawn(events(client, sender));
        Feed { news, tasks: vec![looks, events] }
    }

    /// What is new. Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // The tasks run for as long as this does.
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

async fn looks(client: Client, mut wishes: mpsc::Receiver<Wish>, news: mpsc::Sender<News>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let what = tokio::select! {
            _ = due.tick() => look(&client).await.map(|l| News::Look(Box::new(l))),
            Some(wish) = wishes.recv() => match wish {
                Wish::Read(id) => read(&client, &id).await,
                Wish::End => return,
            },
        };
        let what = what.unwrap_or_else(|e| News::Trouble(e.to_string()));
        if news.send(what).await.is_err() {
            return;
        }
    }
}

async fn read(client: &Client, id: &str) -> Result<News, ClientError> {
    let Ok(id) = id.parse::<MessageId>() else {
        return Ok(News::Trouble(format!("{id:?} is no id of a message")));
    };
    Ok(News::Content(Box::new(client.message(id).await?)))
}

/// Follows the events, and begins again when the node was away.
async fn events(client: Client, news: mpsc::Sender<News>) {
    loop {
        if let Ok(mut stream) = client.events().await {
            while let Ok(Some(item)) = stream.next().await {
                let what = match item {
                    Item::Of(event) => News::Event(event),
                    Item::Lagged(n) => News::Missed(n),
                    Item::Gap(_) | Item::CaughtUp => continue,
                };
                if news.send(what).await.is_err() {
                    return;
                }
            }
        }
        sleep(EVERY).await;
    }
}

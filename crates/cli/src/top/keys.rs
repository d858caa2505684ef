//! What is typed, read by a thread of its own: a read from a terminal cannot be cancelled.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

/// How soon the thread notices that nobody reads any more.
const PATIENCE: Duration = Duration::from_millis(100);

/// Keys, and changes of the terminal's size.
#[derive(Debug)]
pub(super) struct Keys {
    events: mpsc::Receiver<io::Result<Event>>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    pub(super) fn begin() -> Self {
        let (sender, events) = mpsc::channel(64);
        let enough = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let event = match event::poll(PATIENCE) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(e) => Err(e),
                };
                let failed = event.is_err();
                if sender.blocking_send(event).is_err() || failed {
                    return;
                }
            }
        });
        Keys { events, enough, thread: Some(thread) }
    }

    /// The next one; `None` if there is no more to come. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Event>> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    /// Whoever reads the terminal next is to get what is typed next.
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        self.events.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! Keys, read by a thread of their own, because a read from a terminal cannot be cancelled.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

/// How soon the thread notices that it is to end.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Keys, and changes of the terminal's size.
#[derive(Debug)]
pub(super) struct Keys {
    events: mpsc::Receiver<io::Result<Event>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    pub(super) fn start() -> Self {
        let (sender, events) = mpsc::channel(64);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let event = match event::poll(STOP_CHECK_INTERVAL) {
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
        Keys { events, is_stopping, thread: Some(thread) }
    }

    /// The next key or change of size; `None` after the last one. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Event>> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    /// Waits for the thread, so that the next reader of the terminal gets the keys typed from now
    /// on.
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.events.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

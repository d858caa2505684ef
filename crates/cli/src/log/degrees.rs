//! The degree log of a seed: `TIME peer_id=>degree`, one line per change.

use rumormill::proto::Event;
use rumormill::{EventItem, Events};
use rumormill_terminal::utc;

use super::files::LogFile;

/// Writes the degrees until the seed ends.
pub(super) async fn follow(mut events: Events, file: LogFile) {
    while let Some(occurrence) = events.recv().await {
        match occurrence {
            EventItem::Event(stamped) => {
                if let Event::PeerDegree { id, degree, .. } = stamped.event {
                    file.line(&format!("{} {}=>{degree}", utc::stamp(stamped.at.0), id.to_hex()));
                }
            }
            EventItem::Lagged(n) => {
                file.line(&format!("({n} events before this line were missed)"));
            }
        }
    }
}

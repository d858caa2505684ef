//! The requests of the page, turned into events of the run, which carries them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rumormill::proto::PeerId;
use rumormill_http::{Director, OperatorAction};
use tokio::sync::mpsc;

use super::event::{OperatorRequest, RunEvent};
use super::members::Members;
use super::options::Fault;

/// Hands the requests of the page over to the run.
pub(super) struct WebControl {
    members: Arc<Members>,
    events: mpsc::Sender<RunEvent>,
    is_partitioned: AtomicBool,
}

impl WebControl {
    pub(super) const fn new(members: Arc<Members>, events: mpsc::Sender<RunEvent>) -> Self {
        WebControl { members, events, is_partitioned: AtomicBool::new(false) }
    }

    fn number(&self, id: PeerId) -> Result<usize, String> {
        self.members.number(id).ok_or_else(|| "that node is not one of this run".to_owned())
    }
}

impl Director for WebControl {
    fn act(&self, action: OperatorAction) -> Result<(), String> {
        let request = match action {
            OperatorAction::Kill(id) => OperatorRequest::InjectFault(self.number(id)?, Fault::Kill),
            OperatorAction::Freeze(id, true) => {
                OperatorRequest::InjectFault(self.number(id)?, Fault::Stop)
            }
            OperatorAction::Freeze(id, false) => OperatorRequest::Resume(self.number(id)?),
            OperatorAction::Partition(on) => OperatorRequest::Partition(on),
            OperatorAction::AddPeer => OperatorRequest::AddPeer,
        };
        let busy = |_| "the run is busy or ends; try again".to_owned();
        self.events.try_send(RunEvent::Requested(request)).map_err(busy)?;
        if let OperatorAction::Partition(on) = action {
            self.is_partitioned.store(on, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_partitioned(&self) -> bool {
        self.is_partitioned.load(Ordering::Relaxed)
    }
}

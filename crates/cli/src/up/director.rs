//! What people do at the page becomes a sight of the run, which does it in its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rumormill::proto::PeerId;
use rumormill_http::{Act, Director};
use tokio::sync::mpsc;

use super::plan::Fault;
use super::seen::{Members, Sight, Wish};

/// Hands wishes to the run.
pub(super) struct Hands {
    members: Arc<Members>,
    sights: mpsc::Sender<Sight>,
    cut: AtomicBool,
}

impl Hands {
    pub(super) const fn new(members: Arc<Members>, sights: mpsc::Sender<Sight>) -> Self {
        Hands { members, sights, cut: AtomicBool::new(false) }
    }

    fn number(&self, id: PeerId) -> Result<usize, String> {
        self.members.number(id).ok_or_else(|| "that node is not one of this run".to_owned())
    }
}

impl Director for Hands {
    fn act(&self, act: Act) -> Result<(), String> {
        let wish = match act {
            Act::Kill(id) => Wish::Strike(self.number(id)?, Fault::Kill),
            Act::Freeze(id, true) => Wish::Strike(self.number(id)?, Fault::Stop),
            Act::Freeze(id, false) => Wish::Thaw(self.number(id)?),
            Act::Cut(cut) => Wish::Cut(cut),
            Act::Add => Wish::Add,
        };
        let busy = |_| "the run is busy or ends; try again".to_owned();
        self.sights.try_send(Sight::Wish(wish)).map_err(busy)?;
        if let Act::Cut(cut) = act {
            self.cut.store(cut, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

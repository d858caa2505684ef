//! What people do at the page becomes a sight of the run, which does it in its turn.

use std::collections::BTreeMap;

use rumormill::proto::PeerId;
use rumormill_http::{Act, Director};
use tokio::sync::mpsc;

use super::plan::Fault;
use super::seen::{Member, Sight, Wish};

/// Hands wishes to the run.
pub(super) struct Hands {
    numbers: BTreeMap<PeerId, usize>,
    sights: mpsc::Sender<Sight>,
}

impl Hands {
    pub(super) fn new(members: &[Member], sights: mpsc::Sender<Sight>) -> Self {
        let numbers = members.iter().enumerate().map(|(n, m)| (m.id, n)).collect();
        Hands { numbers, sights }
    }
}

impl Director for Hands {
    fn act(&self, act: Act) -> Result<(), String> {
        let (id, wish) = match act {
            Act::Kill(id) => (id, Wish::Strike(Fault::Kill)),
            Act::Freeze(id, true) => (id, Wish::Strike(Fault::Stop)),
            Act::Freeze(id, false) => (id, Wish::Thaw),
        };
        let node = *self.numbers.get(&id).ok_or("that node is not one of this run")?;
        let busy = |_| "the run is busy or ends; try again".to_owned();
        self.sights.try_send(Sight::Wish { node, wish }).map_err(busy)
    }
}

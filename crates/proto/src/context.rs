//! The parts of a node that a concern may use during one call.

use core::ops::Deref;

use crate::config::Config;
use crate::effects::Effects;
use crate::failure::FailureDetector;
use crate::identity::{Identity, PeerId};
use crate::links::Links;
use crate::membership::Membership;
use crate::overlay::Overlay;
use crate::time::{Time, WallTime};
use crate::timers::{PeerTimer, Timers};

/// The time and the other concerns of the peer, read-only.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) now: Time,
    pub(crate) wall_clock: WallTime,
    pub(crate) config: &'a Config,
    pub(crate) identity: &'a Identity,
    pub(crate) membership: &'a Membership,
    pub(crate) overlay: &'a Overlay,
    /// `None` in calls of the failure detector itself.
    pub(crate) failure: Option<&'a FailureDetector>,
}

impl<'a> View<'a> {
    /// The view at the time of the present call.
    pub(crate) fn new(
        fx: &Effects,
        config: &'a Config,
        identity: &'a Identity,
        membership: &'a Membership,
        overlay: &'a Overlay,
        failure: Option<&'a FailureDetector>,
    ) -> Self {
        let (now, wall_clock) = (fx.now(), fx.wall_clock());
        View { now, wall_clock, config, identity, membership, overlay, failure }
    }

    /// The id of this node.
    pub(crate) fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// Whether this peer is probing another one that gives no sign of life.
    pub(crate) fn is_suspect(&self, id: &PeerId) -> bool {
        self.failure.is_some_and(|f| f.is_suspect(id))
    }
}

/// The [`View`], the links, the timers, and the outputs. A concern changes only itself; its return
/// value says what another concern has to do, and [`Peer`](crate::Peer) passes that on.
pub(crate) struct Context<'a> {
    pub(crate) fx: &'a mut Effects,
    pub(crate) links: &'a mut Links,
    pub(crate) timers: &'a mut Timers<PeerTimer>,
    pub(crate) view: View<'a>,
}

impl<'a> Deref for Context<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

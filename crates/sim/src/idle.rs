//! The idle adversary: a process that registers at the seeds and never links with a peer.

use std::collections::{BTreeSet, VecDeque};

use rumormill_proto::{
    CloseReason, DialError, DialTarget, Input, LinkId, Output, Peer, PeerId, PeerSetup, Role,
    StateMachine, Time,
};

/// A real peer that talks to seeds only. Its dials to peers fail, and it closes the links that
/// peers open to it.
pub(crate) struct IdleRegistrant {
    peer: Peer,
    /// Links opened by peers, which are hidden from the wrapped peer.
    refused: BTreeSet<LinkId>,
    outputs: VecDeque<Output>,
    now: Time,
}

impl IdleRegistrant {
    pub(crate) fn new(setup: PeerSetup, now: Time) -> Self {
        let peer = Peer::new(setup, now);
        IdleRegistrant { peer, refused: BTreeSet::new(), outputs: VecDeque::new(), now }
    }
}

impl StateMachine for IdleRegistrant {
    fn id(&self) -> PeerId {
        self.peer.id()
    }

    fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        match &input {
            Input::LinkUp { link, info } if info.role == Role::Peer => {
                self.refused.insert(*link);
                self.outputs.push_back(Output::Close { link: *link, reason: CloseReason::Full });
            }
            Input::LinkDown { link, .. } if self.refused.remove(link) => {}
            Input::Frame { link, .. } if self.refused.contains(link) => {}
            _ => self.peer.handle(now, input),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        loop {
            match self.peer.poll_output()? {
                Output::Dial { dial, to: DialTarget::Peer { .. } } => {
                    let why = DialError::Refused;
                    self.peer.handle(self.now, Input::DialFailed { dial, why });
                }
                output => return Some(output),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.peer.poll_timeout()
    }
}

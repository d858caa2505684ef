//! Dispatch of frames at a seed.

use super::Seed;
use crate::io::{LinkId, Role};
use crate::wire::{Frame, Pong};

impl Seed {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may arrive while its link is being closed.
        let now = self.fx.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_heard = now;
        let (remote, role) = (link.remote, link.role);
        self.on_traffic(remote);
        if !self.admit(id, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => {
                self.on_seed_pong(id);
                self.on_pong(remote, f.nonce);
            }
            Frame::Register(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::Leave(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::GetPeerList if role == Role::Peer => self.on_get_list(id),
            Frame::Report(f) if role == Role::Peer => self.on_report(id, remote, f.report),
            Frame::Testify(f) if role == Role::Peer => self.on_testify(remote, f.testimony),
            Frame::Votes(f) if role == Role::Seed => self.on_votes(remote, *f),
            Frame::Entries(f) if role == Role::Seed => self.on_entries(id, remote, *f),
            Frame::Digest(f) if role == Role::Seed => self.on_digest(id, remote, &f),
            Frame::Unknown(_) => self.fx.counters.frames_unknown += 1,
            Frame::Close(_) => {}
            other => {
                // A seed serves membership only: gossip is refused as well.
                let why = format!("a seed does not take {} from a {role}", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }
}

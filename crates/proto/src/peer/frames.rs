//! What a peer does with each frame.

use super::Peer;
use super::links::Use;
use crate::event::CloseReason;
use crate::io::{LinkId, Role};
use crate::wire::{Frame, Pong};

impl Peer {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may cross with the closing of its link.
        let Some(link) = self.links.get(&id) else { return };
        let (remote, role, used) = (link.remote, link.role, link.used.clone());
        self.heard_from(remote);
        let from_seed = matches!(used, Use::Seed(_));
        if let Use::Seed(index) = used {
            self.heard_seed(index);
        }
        if let Use::Parting(_) = used {
            self.set_use(id, Use::Parting(self.fx.now()));
            match frame {
                Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
                Frame::Pong(_) => {}
                // Both leave: neither is a neighbour that would close the link.
                Frame::Leave(_) => {
                    self.close(id, CloseReason::Leaving);
                    self.review_leave();
                }
                _ => self.fx.count("frames_late"),
            }
            return;
        }
        if !self.admit(id, remote, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => self.on_pong(remote, &used, f.nonce),
            Frame::Registered(f) if from_seed => self.on_registered(id, &f),
            Frame::RegisterRefused(f) if from_seed => self.on_register_refused(id, &f),
            Frame::PeerList(f) if from_seed => self.on_peer_list(id, &f),
            Frame::MembersChanged(f) if from_seed => self.on_members_changed(id, &f),
            Frame::Accused(f) if from_seed => self.on_accused(&f),
            Frame::Appoint(f) if from_seed => self.on_appoint(&f),
            Frame::PeerRequest(f) if role == Role::Peer => self.on_peer_request(id, remote, *f),
            Frame::PeerReply(f) if used == Use::Request => self.on_peer_reply(id, remote, *f),
            Frame::Leave(f) if role == Role::Peer => self.on_leave(id, remote, &f.record),
            Frame::Permit(f) if used == Use::Neighbour => {
                let now = self.fx.now();
                if !self.overlay.permit(f.peer, remote, now) {
                    self.fx.count("permits_refused");
                }
            }
            Frame::Rewire(f) if used == Use::Neighbour => self.on_rewire(remote, &f),
            Frame::Neighbourhood(f) if used == Use::Neighbour => {
                self.on_neighbourhood(remote, *f);
            }
            Frame::Gossip(f) if used == Use::Neighbour => {
                self.on_gossip(remote, *f);
            }
            Frame::GetData(f) if role == Role::Peer => self.on_get_data(id, remote, f.id),
            Frame::Data(f) if role == Role::Peer => self.on_data(remote, *f),
            Frame::Summary(f) if used == Use::Neighbour => self.on_summary(id, remote, &f),
            Frame::Pull(f) if used == Use::Neighbour => self.on_pull(id, &f),
            Frame::Pulled(f) if used == Use::Neighbour => self.on_pulled(remote, &f),
            Frame::Confirm(f) if used == Use::Neighbour => self.on_confirm(id, remote, &f),
            Frame::Confirmed(f) if used == Use::Neighbour => self.on_confirmed(remote, *f),
            Frame::Announce(f) if used == Use::Neighbour => self.on_announce(remote, &f),
            Frame::Ack(f) if used == Use::Neighbour => self.on_ack(remote, &f),
            Frame::Census(f) if used == Use::Neighbour => self.on_census(remote, *f),
            Frame::Graft(f) if used == Use::Neighbour => self.on_graft(id, remote, &f),
            Frame::Prune(f) if used == Use::Neighbour => self.on_prune(remote, &f),
            Frame::ProbeRequest(f) if role == Role::Peer => {
                self.on_probe_request(id, f.subject);
            }
            Frame::ProbeReply(f) if role == Role::Peer => {
                self.on_probe_reply(id, remote, &used, &f);
            }
            // Links change their use while frames are on their way: what an honest neighbour sent
            // just before is late, not hostile.
            Frame::Permit(_)
            | Frame::Rewire(_)
            | Frame::Neighbourhood(_)
            | Frame::Gossip(_)
            | Frame::Summary(_)
            | Frame::Announce(_)
            | Frame::Ack(_)
            | Frame::Census(_)
            | Frame::Graft(_)
            | Frame::Prune(_)
            | Frame::Pull(_)
            | Frame::Pulled(_)
            | Frame::Confirm(_)
            | Frame::Confirmed(_)
            | Frame::PeerReply(_)
                if role == Role::Peer =>
            {
                self.fx.count("frames_late");
            }
            Frame::Unknown(_) => self.fx.count("frames_unknown"),
            Frame::Close(_) => {}
            other => {
                let why = format!("{} does not belong on this link", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }
}

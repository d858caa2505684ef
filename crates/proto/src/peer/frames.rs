//! Dispatch of frames at a peer.

use super::Peer;
use crate::event::CloseReason;
use crate::identity::PeerId;
use crate::io::{LinkId, Role};
use crate::links::LinkPurpose;
use crate::wire::{Frame, Graft, Pong, Summary};

impl Peer {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may arrive while its link is being closed.
        let Some(link) = self.links.open.get(&id) else { return };
        let (remote, role, purpose) = (link.remote, link.role, link.purpose.clone());
        self.on_traffic(remote);
        let from_seed = matches!(purpose, LinkPurpose::Seed(_));
        if let LinkPurpose::Seed(index) = purpose {
            self.with_membership(|m, cx| m.heard_seed(cx, index));
        }
        if let LinkPurpose::Leaving(_) = purpose {
            self.set_purpose(id, LinkPurpose::Leaving(self.fx.now()));
            match frame {
                Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
                Frame::Pong(_) => {}
                // Both leave: neither is a neighbour that would close the link.
                Frame::Leave(_) => {
                    self.close(id, CloseReason::Leaving);
                    self.review_leave();
                }
                _ => self.fx.counters.frames_late += 1,
            }
            return;
        }
        if !self.admit(id, remote, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => self.on_pong(remote, &purpose, f.nonce),
            Frame::RegisterAck(f) if from_seed => self.on_register_ack(id, &f),
            Frame::RegisterReject(f) if from_seed => self.on_register_reject(id, &f),
            Frame::PeerList(f) if from_seed => self.on_peer_list(id, &f),
            Frame::MembershipUpdate(f) if from_seed => self.on_membership_update(id, &f),
            Frame::Accusation(f) if from_seed => self.on_accusation(&f),
            Frame::Appoint(f) if from_seed => self.on_appoint(&f),
            Frame::PeerRequest(f) if role == Role::Peer => self.on_peer_request(id, remote, *f),
            Frame::PeerReply(f) if purpose == LinkPurpose::Request => {
                self.on_peer_reply(id, remote, *f);
            }
            Frame::Leave(f) if role == Role::Peer => self.on_leave(id, remote, &f.record),
            Frame::Permit(f) if purpose == LinkPurpose::Neighbour => {
                let now = self.fx.now();
                if !self.overlay.permit(f.peer, remote, now) {
                    self.fx.counters.permits_refused += 1;
                }
            }
            Frame::Redirect(f) if purpose == LinkPurpose::Neighbour => {
                self.with_overlay(|o, cx| o.on_redirect(cx, remote, &f));
            }
            Frame::Neighbourhood(f) if purpose == LinkPurpose::Neighbour => {
                self.overlay.on_neighbourhood(remote, *f);
            }
            Frame::GetData(_) | Frame::Data(_) if role == Role::Peer => {
                self.with_broadcast(|b, cx| b.on_frame(cx, id, remote, frame));
            }
            Frame::Gossip(_)
            | Frame::Announce(_)
            | Frame::PullEnd(_)
            | Frame::Ack(_)
            | Frame::Census(_)
            | Frame::Prune(_)
            | Frame::Confirm(_)
                if purpose == LinkPurpose::Neighbour =>
            {
                self.with_broadcast(|b, cx| b.on_frame(cx, id, remote, frame));
            }
            Frame::ConfirmReply(f) if purpose == LinkPurpose::Neighbour => {
                if self.with_broadcast(|b, cx| b.on_confirmed(cx, remote, *f)) {
                    self.review_leave();
                }
            }
            Frame::Summary(f) if purpose == LinkPurpose::Neighbour => {
                self.on_summary(id, remote, &f);
            }
            Frame::Graft(f) if purpose == LinkPurpose::Neighbour => self.on_graft(id, remote, &f),
            Frame::Pull(f) if purpose == LinkPurpose::Neighbour => {
                let bytes = self.with_broadcast(|b, cx| b.on_pull(cx, id, &f));
                self.record_answer(id, bytes);
            }
            Frame::ProbeRequest(f) if role == Role::Peer => {
                self.with_failure(|d, cx| d.on_probe_request(cx, id, f.subject));
            }
            Frame::ProbeReply(f) if role == Role::Peer => {
                self.on_probe_reply(id, remote, &purpose, &f);
            }
            // The purpose of a link can change while frames are in flight: a frame that an honest
            // neighbour sent just before is late, not hostile.
            Frame::Permit(_)
            | Frame::Redirect(_)
            | Frame::Neighbourhood(_)
            | Frame::Gossip(_)
            | Frame::Summary(_)
            | Frame::Announce(_)
            | Frame::Ack(_)
            | Frame::Census(_)
            | Frame::Graft(_)
            | Frame::Prune(_)
            | Frame::Pull(_)
            | Frame::PullEnd(_)
            | Frame::Confirm(_)
            | Frame::ConfirmReply(_)
            | Frame::PeerReply(_)
                if role == Role::Peer =>
            {
                self.fx.counters.frames_late += 1;
            }
            Frame::Unknown(_) => self.fx.counters.frames_unknown += 1,
            Frame::Close(_) => {}
            other => {
                let why = format!("{} does not belong on this link", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }

    pub(super) fn on_summary(&mut self, link: LinkId, remote: PeerId, f: &Summary) {
        if let Some(purpose) = self.broadcast.compare_own_stream(f) {
            self.on_number_used(purpose);
        }
        self.with_broadcast(|b, cx| b.on_summary(cx, link, remote, f));
    }

    fn on_graft(&mut self, link: LinkId, remote: PeerId, f: &Graft) {
        // Above the quota, missing ranges are pulled instead.
        let serves = !f.have.is_empty() && self.admit_request(link, remote, "Graft", true);
        let bytes = self.with_broadcast(|b, cx| b.on_graft(cx, link, remote, f, serves));
        if serves {
            self.record_answer(link, bytes);
        }
    }
}

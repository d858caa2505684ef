//! Dispatch of frames at a seed.

use super::Seed;
use crate::identity::PeerId;
use crate::io::{LinkId, Role};
use crate::record::SignedRecord;
use crate::registry::Entry;
use crate::wire::{Entries, Frame, Pong};

impl Seed {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may arrive while its link is being closed.
        let now = self.fx.now();
        let Some(link) = self.links.open.get_mut(&id) else { return };
        link.last_heard = now;
        let (remote, role) = (link.remote, link.role);
        self.on_traffic(remote);
        if !self.admit(id, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => self.on_pong(id, remote, f.nonce),
            Frame::Register(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::Leave(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::GetPeerList if role == Role::Peer => {
                self.with_registry(|r, cx| r.on_get_list(cx, id));
            }
            Frame::Report(f) if role == Role::Peer => {
                let subject = self.with_cases(|c, cx| c.on_report(cx, id, remote, f.report));
                self.review_cases(subject);
            }
            Frame::Testify(f) if role == Role::Peer => {
                let subject = self.with_cases(|c, cx| c.on_testify(cx, remote, f.testimony));
                self.review_cases(subject);
            }
            Frame::Votes(f) if role == Role::Seed => {
                let subjects = self.with_cases(|c, cx| c.on_votes(cx, remote, *f));
                self.review_cases(subjects);
            }
            Frame::Entries(f) if role == Role::Seed => self.on_entries(id, remote, *f),
            Frame::Digest(f) if role == Role::Seed => {
                self.with_registry(|r, cx| r.on_digest(cx, id, remote, &f));
            }
            Frame::Unknown(_) => self.fx.counters.frames_unknown += 1,
            Frame::Close(_) => {}
            other => {
                // A seed serves membership only: gossip is refused as well.
                let why = format!("a seed does not take {} from a {role}", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }

    fn on_pong(&mut self, id: LinkId, remote: PeerId, nonce: u64) {
        self.with_registry(|r, _| r.on_seed_pong(id));
        let waiting = self.with_cases(|cases, cx| cases.on_reach_pong(cx, remote, nonce));
        self.review_cases(waiting);
        self.with_cases(|cases, cx| cases.on_probe_pong(cx, remote, nonce));
    }

    fn on_register(&mut self, link: LinkId, remote: PeerId, record: SignedRecord) {
        let answer = self.with_registry(|r, cx| r.accept_record(cx, link, remote, &record));
        if let Some(answer) = answer {
            let outcome = self.merge_entry(Entry::new(record));
            self.with_registry(|r, cx| r.answer(cx, answer, remote, outcome));
        }
    }

    fn on_entries(&mut self, link: LinkId, remote: PeerId, mut f: Entries) {
        let accepted = self.with_registry(|r, cx| r.accept_entries(cx, link, remote, &mut f));
        let Some(entries) = accepted else { return };
        for entry in entries {
            self.merge_entry(entry);
        }
        self.with_registry(|r, cx| r.answer_entries(cx, link, remote, &f));
    }
}

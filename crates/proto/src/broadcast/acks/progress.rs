//! One stream's way through this peer: who is behind it, how far they are, and when that is told.

use core::time::Duration;
use std::collections::VecDeque;

use super::AckContext;
use super::summed::{Summed, UNHEARD, Waited};
use crate::identity::PeerId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::ack_token;

/// Who has been behind for so long does not pace the publisher any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The same where many are behind.
pub(super) const LONG_PATIENCE: Duration = Duration::from_secs(10);
/// A neighbour that has told nothing is taken for more than one: others may be behind it.
const UNKNOWN: u32 = 2;
/// How often one's own progress is noted for that.
const EARLIER_MARK_EVERY: Duration = Duration::from_secs(2);
/// How often one's own progress is noted, to tell who is behind for long.
pub(super) const MARK_EVERY: Duration = Duration::from_millis(250);
/// Bytes received after which an acknowledgement is due soon.
const SOON_BYTES: u64 = 32 * 1024;
/// Bytes received after which it is due at once.
const NOW_BYTES: u64 = 128 * 1024;
/// How long it is gathered otherwise.
pub(super) const SOON: Duration = Duration::from_millis(5);
/// How long it may wait if little came, where nobody is behind. Who has others behind it tells of them and
/// itself when all of them have told: one acknowledgement goes over each link, from the leaves up.
pub(super) const LATER: Duration = Duration::from_secs(1);
/// How long it waits for those behind it: a leaf's time, and some for the way.
pub(super) const LATEST: Duration = Duration::from_millis(1500);

/// What a neighbour on the tree told of the part behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) told: Summed,
    /// This peer has not told of it yet.
    pub(super) fresh: bool,
}

/// One stream's way through this peer.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whose it is.
    pub(super) publisher: PeerId,
    pub(super) behind: VecMap<PeerId, Part>,
    /// One's own progress at some times of the last [`PATIENCE`], oldest first.
    pub(super) marks: VecDeque<(Time, u64)>,
    /// The same over [`LONG_PATIENCE`], at longer intervals.
    pub(super) earlier_marks: VecDeque<(Time, u64)>,
    /// What was told last, and to whom.
    pub(super) told: Option<(PeerId, Summed)>,
    pub(super) unacknowledged: u64,
    pub(super) due: Option<Time>,
    /// When so much came at a time that it mattered how soon this was told.
    pub(super) hurried: Option<Time>,
    /// Somebody waits for a receipt up to this number.
    pub(super) wanted: u64,
    /// A queue behind this peer fills: told along once.
    pub(super) congested: bool,
    /// The publisher's last census, and when it came.
    pub(super) census: u64,
    pub(super) census_at: Time,
    pub(super) touched: u64,
}

impl Progress {
    pub(super) const fn new(publisher: PeerId) -> Self {
        Progress {
            publisher,
            behind: VecMap::new(),
            marks: VecDeque::new(),
            earlier_marks: VecDeque::new(),
            told: None,
            unacknowledged: 0,
            due: None,
            hurried: None,
            wanted: 0,
            congested: false,
            census: 0,
            census_at: Time::ZERO,
            touched: 0,
        }
    }

    /// What is known of each neighbour that gets the stream through this peer.
    fn parts(&self, with: &impl AckContext) -> impl Iterator<Item = Option<Part>> {
        let children = with.children(&self.publisher).into_iter();
        children.map(|c| self.behind.get(&c).copied())
    }

    /// Until when it waits to be told.
    pub(super) fn wait(&mut self, now: Time, with: &impl AckContext) -> Time {
        let awaited = self.wanted > 0 && self.told.is_none_or(|(_, s)| s.held < self.wanted);
        if self.unacknowledged >= SOON_BYTES {
            self.hurried = Some(now);
        }
        let wait = if awaited || self.unacknowledged >= NOW_BYTES {
            Duration::ZERO
        } else if self.unacknowledged >= SOON_BYTES {
            SOON
        } else {
            self.unhurried(with)
        };
        now + wait
    }

    /// How long it waits if there is no hurry.
    fn unhurried(&self, with: &impl AckContext) -> Duration {
        let (mut all, mut fresh) = (0, 0);
        for part in self.parts(with) {
            all += 1;
            fresh += usize::from(part.is_some_and(|p| p.fresh));
        }
        if all == 0 {
            LATER
        } else if fresh == all {
            SOON
        } else {
            LATEST
        }
    }

    /// Notes one's own progress.
    pub(super) fn mark(&mut self, now: Time, high_water: u64) {
        let mark = (now, high_water);
        note(&mut self.marks, mark, MARK_EVERY, PATIENCE);
        note(&mut self.earlier_marks, mark, EARLIER_MARK_EVERY, LONG_PATIENCE);
    }

    pub(super) fn summed(&self, own: u64, now: Time, with: &impl AckContext) -> Summed {
        let had = |marks: &VecDeque<(Time, u64)>, ago| {
            let old = marks.iter().rev().find(|(at, _)| now.since(*at) >= ago);
            old.map_or(0, |(_, high_water)| *high_water)
        };
        let mut paced = Waited::new(had(&self.marks, PATIENCE));
        let mut patient = Waited::new(had(&self.earlier_marks, LONG_PATIENCE));
        let (mut left, mut held, mut peers, mut sum) = (0u32, own, 1u32, ack_token(&with.me()));
        let mut parts = 0;
        for part in self.parts(with) {
            let heard = part.map(|part| part.told);
            let b = heard.unwrap_or(UNHEARD);
            held = held.min(b.held);
            peers = peers.saturating_add(b.peers);
            parts += 1;
            sum = sum.wrapping_add(b.sum);
            let counts = paced.part(b.paced, heard.is_some());
            let all = if heard.is_some() { b.peers } else { UNKNOWN };
            left = left.saturating_add(if counts { b.left } else { all });
            patient.part(b.patient, heard.is_some());
        }
        // Where nobody who gets it from the publisher has said anything, the tree is changing, and nothing is known of
        // anybody. Where nobody gets it, what is published could be had from nowhere else, however long that lasts.
        let lost = self.publisher == with.me() && paced.fastest.is_none() && !with.is_alone();
        let own = match lost {
            true if parts == 0 => 0,
            true => patient.mark,
            false => own,
        };
        let (paced, patient) = (paced.least(own), patient.least(own));
        Summed { paced, left, patient, held, peers, sum }
    }
}

/// Notes one's own progress at a time, in intervals of `every`, as far back as `over`.
fn note(
    marks: &mut VecDeque<(Time, u64)>,
    (now, high_water): (Time, u64),
    every: Duration,
    over: Duration,
) {
    if marks.back().is_none_or(|(at, _)| now.since(*at) >= every) {
        marks.push_back((now, high_water));
    }
    while marks.get(1).is_some_and(|(at, _)| now.since(*at) >= over) {
        marks.pop_front();
    }
}

//! The failure detector of a peer: it watches the neighbours and probes suspects.

use std::sync::Arc;

use super::report::OpenReport;
use super::watch::Due;
use super::{Adjacency, Appointment, DeathReport, Health, Probe, Watch};
use crate::context::{Context, View};
use crate::event::{CloseReason, Event};
use crate::identity::PeerId;
use crate::io::{DialId, LinkId};
use crate::links::{DialFor, Use};
use crate::random::RngStream;
use crate::record::{Address, SignedRecord};
use crate::signed::Signed;
use crate::small::{VecMap, VecSet};
use crate::time::Time;
use crate::wire::{Ping, ProbeReply, ProbeRequest, Verdict};

/// From so many neighbours with late answers on, this node doubts itself first.
const MANY_LATE: usize = 2;

/// A neighbour, or former neighbour, that shows no sign of life.
#[derive(Debug)]
pub(crate) struct Suspect {
    probe: Probe,
    pub(crate) record: SignedRecord,
    /// Its neighbours, as it last told.
    pub(crate) around: Arc<[(PeerId, Address)]>,
    dial: Option<DialId>,
    pub(crate) role: ReporterRole,
    /// Probes of it before this one that ended in a report without a verdict.
    pub(crate) repeated: u32,
}

/// Why this peer may report a suspect.
#[derive(Debug, Clone)]
pub(crate) enum ReporterRole {
    /// It is a neighbour, by the suspect's own signature.
    Neighbour(Signed<Adjacency>),
    /// A seed appointed it.
    Witness(Signed<Appointment>),
}

/// What speaks for the life of a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// It answered this probe, or has just shaken hands.
    Answer,
    /// Something came from it.
    Traffic,
    /// Another neighbour of the suspect vouches for it.
    Hearsay(PeerId),
}

/// What follows when a suspect turns out to live.
#[derive(Debug)]
pub(crate) enum AfterClearing {
    /// Nothing else.
    Stays,
    /// Only the connection broke: ask for the edge again.
    Reconnect(Vec<Address>),
    /// It lives, but the path from this peer to it is broken: give the edge up.
    Disconnect,
}

/// Where the probe of a suspect is.
#[derive(Debug)]
pub(crate) enum AfterProbe {
    /// It goes on.
    Waits,
    /// It goes on, because this peer doubts itself: see whether the seeds answer.
    SelfDoubt,
    /// It ended without a sign of life.
    Silent(Box<Suspect>),
}

/// The failure detector of one peer.
#[derive(Debug)]
pub(crate) struct FailureDetector {
    /// One for each neighbour.
    watches: VecMap<PeerId, Watch>,
    pub(super) suspects: VecMap<PeerId, Suspect>,
    pub(super) reports: VecMap<PeerId, OpenReport>,
    /// How far this peer trusts its own view of others.
    health: Health,
    /// It was stopped or starved, and what came meanwhile is not all read.
    pub(crate) is_behind: bool,
    rng: RngStream,
}

impl FailureDetector {
    pub(crate) fn new(rng: RngStream, now: Time) -> Self {
        FailureDetector {
            watches: VecMap::new(),
            suspects: VecMap::new(),
            reports: VecMap::new(),
            health: Health::new(now),
            is_behind: false,
            rng,
        }
    }

    /// A fresh nonce for a probe.
    pub(crate) fn nonce(&mut self) -> u64 {
        self.rng.u64()
    }

    // ---- neighbours ------------------------------------------------------------------------

    /// An edge is made.
    pub(crate) fn neighbour_up(&mut self, view: &View<'_>, id: PeerId) {
        let jitter = self.rng.scaled(view.config.ping_interval(), 0.0, 1.0);
        let asks_second = view.id() > id;
        let mut watch = Watch::new(view.now, jitter, asks_second);
        if view.overlay.prefers_near() {
            watch.measure(view.now);
        }
        self.watches.insert(id, watch);
    }

    /// An edge is gone.
    pub(crate) fn neighbour_down(&mut self, id: &PeerId) -> Option<Watch> {
        self.watches.remove(id)
    }

    /// What is known of a neighbour.
    pub(crate) fn watch(&self, neighbour: &PeerId) -> Option<&Watch> {
        self.watches.get(neighbour)
    }

    /// A node asks on this link whether a neighbour lives. `false` if it is no neighbour, or too many ask.
    pub(crate) fn question(&mut self, neighbour: &PeerId, now: Time, link: LinkId) -> bool {
        self.watches.get_mut(neighbour).is_some_and(|w| w.question(now, link))
    }

    /// Any traffic from a neighbour is a sign of life to this peer, if the peer reads it as it comes.
    /// It is no evidence for other nodes, which may have asked after the frames were sent.
    pub(crate) fn heard_from(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
    ) -> Option<AfterClearing> {
        if self.is_behind {
            return None;
        }
        if let Some(watch) = self.watches.get_mut(&remote) {
            watch.heard(cx.now);
        }
        let is_own = |s: &Suspect| matches!(s.role, ReporterRole::Neighbour(_));
        if !self.suspects.get(&remote).is_some_and(is_own) {
            return None;
        }
        self.clear(cx, remote, Evidence::Traffic)
    }

    pub(crate) fn on_pong(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
        nonce: u64,
    ) -> Option<AfterClearing> {
        if let Some(watch) = self.watches.get_mut(&remote) {
            let answered = watch.pong(cx.now, nonce, cx.config);
            if answered.is_timely {
                self.health.answered_in_time();
            }
            answer_questions(cx, &answered.questioners, remote, Verdict::Alive);
        }
        if !self.suspects.get(&remote).is_some_and(|s| s.probe.nonce == nonce) {
            return None;
        }
        self.clear(cx, remote, Evidence::Answer)
    }

    /// A handshake with a suspect: it has just proved its key.
    pub(crate) fn on_handshake(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
    ) -> Option<AfterClearing> {
        if !self.suspects.contains_key(&remote) {
            return None;
        }
        self.clear(cx, remote, Evidence::Answer)
    }

    /// Probes the neighbours that have been silent for an interval. Says which are to be suspected.
    pub(crate) fn watch_neighbours(&mut self, cx: &mut Context<'_>) -> Vec<PeerId> {
        self.review_health(cx);
        let patience = self.health.patience();
        let mut silent = Vec::new();
        for (id, watch) in &mut self.watches {
            if self.suspects.contains_key(id) {
                continue;
            }
            match watch.due(cx.now, cx.config, patience) {
                Due::Ping => {
                    let nonce = self.rng.u64();
                    watch.pinged(cx.now, nonce, cx.config);
                    if let Some(n) = cx.view.overlay.neighbours.get(id) {
                        cx.fx.send(n.link, Ping { nonce });
                    }
                }
                Due::Suspect => silent.push(*id),
                Due::Nothing => {}
            }
        }
        silent
    }

    /// Neighbours whose answers are late all at once say more about this node than about them.
    fn review_health(&mut self, cx: &mut Context<'_>) {
        let late = self.watches.values().filter(|w| w.is_late(cx.now, cx.config)).count();
        if late >= MANY_LATE && late * 2 > self.watches.len() {
            self.suffer(cx);
        } else {
            self.health.recover(cx.now, cx.config.ping_interval());
        }
    }

    /// This peer itself, or its own link, is late.
    pub(crate) fn suffer(&mut self, cx: &mut Context<'_>) {
        if self.health.suffer(cx.now, cx.config.ping_interval()) {
            cx.fx.count("local_health_lowered");
        }
    }

    // ---- suspects --------------------------------------------------------------------------

    pub(crate) fn is_suspect(&self, id: &PeerId) -> bool {
        self.suspects.contains_key(id)
    }

    pub(crate) fn suspect(&self, id: &PeerId) -> Option<&Suspect> {
        self.suspects.get(id)
    }

    /// The suspects, by id.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &PeerId> {
        self.suspects.keys()
    }

    /// The peers that this one has reported, by id.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &PeerId> {
        self.reports.keys()
    }

    /// Reports without a verdict, for a seed that may not have heard them.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &Signed<DeathReport>> {
        self.reports.values().map(|r| &r.statement)
    }

    /// Begins to probe a suspect. `false` if it is dead, or is probed already.
    pub(crate) fn begin_probe(
        &mut self,
        cx: &mut Context<'_>,
        record: SignedRecord,
        role: ReporterRole,
        around: Arc<[(PeerId, Address)]>,
        repeated: u32,
    ) -> bool {
        let id = record.id;
        let is_dead = cx.membership.members.is_dead(&id, record.incarnation);
        if is_dead || self.suspects.contains_key(&id) {
            return false;
        }
        cx.fx.count("suspicions");
        let (name, incarnation) = (record.name.clone(), record.incarnation);
        cx.fx.event(Event::Suspected { id, name, incarnation });
        let configured = cx.config.probe_burst();
        // Where answers take long on the path, more of them are worth waiting for.
        let path = self.watches.get(&id).map(|w| w.expected_delay() * 2);
        let length = (configured * self.health.burst_patience())
            .max(path.unwrap_or_default().min(configured * Health::MOST_BURST_PATIENCE));
        let length = match role {
            ReporterRole::Neighbour(_) => length,
            // It knows nothing of the subject yet, and has to connect first.
            ReporterRole::Witness(_) => length + length / 2,
        };
        let mut probe = Probe::new(cx.now, self.rng.u64(), length, cx.config);
        if let Some(watch) = self.watches.get_mut(&id) {
            probe.questioners = watch.take_questioners();
        }
        let suspect = Suspect { probe, record, around, dial: None, role, repeated };
        self.suspects.insert(id, suspect);
        self.probe_indirectly(cx, id);
        true
    }

    /// Asks a few of the suspect's other neighbours.
    fn probe_indirectly(&mut self, cx: &mut Context<'_>, subject: PeerId) {
        let me = cx.id();
        let Some(s) = self.suspects.get(&subject) else { return };
        let incarnation = s.record.incarnation;
        let others: Vec<(PeerId, Address)> =
            s.around.iter().filter(|(id, _)| *id != me && *id != subject).copied().collect();
        for (helper, address) in self.rng.sample(others, Probe::HELPERS) {
            if let Some(s) = self.suspects.get_mut(&subject) {
                s.probe.asked.insert(helper);
            }
            let asked = cx.links.open.iter().find(|(_, l)| {
                l.remote == helper && matches!(&l.used, Use::Ask(of) if **of == subject)
            });
            let linked = cx.overlay.neighbours.get(&helper).map(|n| n.link);
            match linked.or(asked.map(|(link, _)| *link)) {
                Some(link) => cx.fx.send(link, ProbeRequest { subject, incarnation }),
                None => {
                    let purpose = DialFor::Ask { helper, subject };
                    cx.links.dial_peer(cx.fx, helper, vec![address], purpose);
                }
            }
        }
    }

    /// Questions about a neighbour whose connection broke: the probe answers them, if there is one.
    pub(crate) fn hand_over_questions(
        &mut self,
        cx: &mut Context<'_>,
        id: PeerId,
        waiting: &VecSet<LinkId>,
    ) {
        match self.suspects.get_mut(&id) {
            Some(s) => waiting.iter().for_each(|link| {
                s.probe.questioners.insert(*link);
            }),
            None => answer_questions(cx, waiting, id, Verdict::Unknown),
        }
    }

    /// The dial of a probe has ended.
    pub(crate) fn probe_dial_ended(&mut self, id: &PeerId) {
        if let Some(s) = self.suspects.get_mut(id) {
            s.dial = None;
        }
    }

    /// Goes on with the probe of a suspect.
    pub(crate) fn run_probe(&mut self, cx: &mut Context<'_>, id: PeerId) -> AfterProbe {
        let Some(s) = self.suspects.get_mut(&id) else { return AfterProbe::Waits };
        if s.probe.is_over(cx.now) {
            return self.end_probe(cx, id);
        }
        if !s.probe.retry_due(cx.now, cx.config) {
            return AfterProbe::Waits;
        }
        match cx.overlay.neighbours.get(&id).map(|n| n.link) {
            Some(link) => cx.fx.send(link, Ping { nonce: s.probe.nonce }),
            None if s.dial.is_none() => {
                let addresses = s.record.addresses.clone();
                s.dial = Some(cx.links.dial_peer(cx.fx, id, addresses, DialFor::Probe(id)));
            }
            None => {}
        }
        AfterProbe::Waits
    }

    fn end_probe(&mut self, cx: &mut Context<'_>, id: PeerId) -> AfterProbe {
        if self.doubts_itself(cx, id) {
            if let Some(s) = self.suspects.get_mut(&id) {
                s.probe.extend(cx.now, cx.config);
            }
            return AfterProbe::SelfDoubt;
        }
        let Some(s) = self.suspects.remove(&id) else { return AfterProbe::Waits };
        answer_questions(cx, &s.probe.questioners, id, Verdict::Silent);
        AfterProbe::Silent(Box::new(s))
    }

    /// More than half of the links failing together says more about this node than about the
    /// others: unless a seed or another peer has been heard of since, it doubts itself.
    fn doubts_itself(&self, cx: &mut Context<'_>, id: PeerId) -> bool {
        let Some(s) = self.suspects.get(&id) else { return false };
        let failing = self.suspects.len() - self.appointed().count();
        let sound = self.watches.keys().filter(|n| !self.suspects.contains_key(n)).count();
        let started = s.probe.started;
        let seeds = &cx.membership.registrations.slots;
        let has_heard =
            self.watches.iter().any(|(id, w)| !self.is_suspect(id) && w.last_heard > started)
                || s.probe.verdicts.values().any(|v| *v == Verdict::Silent)
                || seeds.iter().any(|s| s.link.is_some() && s.last_heard > started);
        if failing <= sound || has_heard {
            return false;
        }
        if s.probe.extended == 0 {
            cx.fx.count("self_doubts");
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let (failing, links) = (count(failing), count(failing + sound));
            cx.fx.event(Event::SelfDoubt { failing, links });
        }
        true
    }

    /// The suspect lives.
    fn clear(
        &mut self,
        cx: &mut Context<'_>,
        id: PeerId,
        evidence: Evidence,
    ) -> Option<AfterClearing> {
        let s = self.suspects.remove(&id)?;
        cx.fx.count("suspicions_cleared");
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.resume(cx.now);
        }
        let by = if let Evidence::Hearsay(helper) = evidence { helper } else { id };
        cx.fx.event(Event::SuspicionCleared { id, by });
        if matches!(s.role, ReporterRole::Witness(_)) {
            return Some(AfterClearing::Stays); // it was probed for a seed only
        }
        let waiting = &s.probe.questioners;
        match (evidence, self.watches.get_mut(&id)) {
            (Evidence::Answer, _) => answer_questions(cx, waiting, id, Verdict::Alive),
            // Those that asked have to wait for an answer to a request of after their question.
            (Evidence::Traffic, Some(watch)) => {
                let refused = waiting.iter().filter(|l| !watch.question(cx.now, **l)).count();
                cx.fx.add("questions_refused", refused as u64);
            }
            // What another neighbour has found may be older than the question.
            _ => answer_questions(cx, waiting, id, Verdict::Unknown),
        }
        if by != id {
            return Some(AfterClearing::Disconnect);
        }
        if cx.overlay.neighbours.contains_key(&id) {
            return Some(AfterClearing::Stays);
        }
        Some(AfterClearing::Reconnect(s.record.addresses.clone()))
    }

    /// A member is dead or has left. Gives its neighbours, if it was probed.
    pub(crate) fn member_ended(&mut self, id: &PeerId) -> Option<Arc<[(PeerId, Address)]>> {
        self.reports.remove(id);
        self.suspects.remove(id).map(|s| s.around)
    }

    /// This peer stops as a duplicate.
    pub(crate) fn forget_suspects(&mut self) {
        self.suspects.clear();
    }

    /// This peer has sent Leave.
    pub(crate) fn stop(&mut self) {
        self.suspects.clear();
        self.reports.clear();
        self.watches = VecMap::new();
    }

    // ---- questions of other nodes ----------------------------------------------------------

    /// A node asks about one of this peer's neighbours.
    pub(crate) fn on_probe_request(&mut self, cx: &mut Context<'_>, link: LinkId, subject: PeerId) {
        if let Some(s) = self.suspects.get_mut(&subject)
            && s.probe.question(cx.now, link)
        {
            return;
        }
        let verdict = match self.watches.get_mut(&subject) {
            // Silent just a moment ago and reported: this peer agrees.
            None if self.reports.contains_key(&subject) => Verdict::Silent,
            None => Verdict::Unknown,
            Some(watch) => {
                // The answer follows when there is something to tell: a sign of life, or the end of a probe.
                if watch.question(cx.now, link) {
                    return;
                }
                cx.fx.count("questions_refused");
                Verdict::Unknown
            }
        };
        cx.fx.send(link, ProbeReply { subject, verdict });
    }

    pub(crate) fn on_probe_reply(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        used: &Use,
        f: &ProbeReply,
    ) -> Option<AfterClearing> {
        if matches!(used, Use::Ask(of) if **of == f.subject) {
            cx.links.close(cx.fx, link, CloseReason::Done);
        }
        let s = self.suspects.get_mut(&f.subject)?;
        // Only the neighbours that were asked have a say.
        if !s.probe.asked.contains(&remote) {
            cx.fx.count("probe_replies_unasked");
            return None;
        }
        s.probe.verdicts.insert(remote, f.verdict);
        if f.verdict != Verdict::Alive {
            return None;
        }
        self.clear(cx, f.subject, Evidence::Hearsay(remote))
    }

    // ---- time ------------------------------------------------------------------------------

    /// When the watch of a neighbour has something to do.
    pub(crate) fn watch_deadline(&self, view: &View<'_>, id: &PeerId) -> Option<Time> {
        let patience = self.health.patience();
        self.watches.get(id).map(|w| w.deadline(view.config, patience))
    }

    /// The first moment at which something is due.
    pub(crate) fn deadline(&self, view: &View<'_>) -> Option<Time> {
        let patience = self.health.patience();
        let watches = self.watches.iter().filter(|(id, _)| !self.suspects.contains_key(id));
        let watches = watches.map(|(_, w)| w.deadline(view.config, patience));
        let probes = self.suspects.values().map(|s| s.probe.deadline());
        watches.chain(probes).chain(self.reports.values().map(|r| r.until)).min()
    }

    /// This peer was stopped or starved for so long: what it waits for gets as much more time.
    pub(crate) fn postpone(&mut self, late: core::time::Duration) {
        self.watches.values_mut().for_each(|w| w.postpone(late));
        self.suspects.values_mut().for_each(|s| s.probe.postpone(late));
    }
}

fn answer_questions(cx: &mut Context<'_>, to: &VecSet<LinkId>, subject: PeerId, verdict: Verdict) {
    for link in to.iter().filter(|l| cx.links.open.contains_key(l)) {
        cx.fx.send(*link, ProbeReply { subject, verdict });
    }
}

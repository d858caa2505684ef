//! The failure detector of a peer: it watches the neighbours and probes suspects.

use std::sync::Arc;

use super::report::PendingReport;
use super::watch::WatchAction;
use super::{Adjacency, Appointment, Health, Probe, Watch};
use crate::context::{Context, View};
use crate::event::{CloseReason, Event};
use crate::identity::PeerId;
use crate::io::{DialId, LinkId};
use crate::links::{DialPurpose, Link, LinkPurpose};
use crate::random::RngStream;
use crate::record::{Address, SignedRecord};
use crate::signed::Signed;
use crate::small::{VecMap, VecSet};
use crate::time::Time;
use crate::timers::PeerTimer;
use crate::wire::{Ping, ProbeReply, ProbeRequest, Verdict};

/// From this number of late neighbours on, this node looks for the reason at itself first.
const SELF_DOUBT_MIN_LATE: usize = 2;

/// A neighbour, or former neighbour, that gives no sign of life.
#[derive(Debug)]
pub(crate) struct Suspect {
    probe: Probe,
    pub(crate) record: SignedRecord,
    /// Its neighbours, as it last reported them.
    pub(crate) neighbourhood: Arc<[(PeerId, Address)]>,
    dial: Option<DialId>,
    pub(crate) role: ReporterRole,
    /// Earlier probes of it that ended in a report without a verdict.
    pub(crate) earlier_reports: u32,
}

/// Why this peer may report a suspect.
#[derive(Debug, Clone)]
pub(crate) enum ReporterRole {
    /// It is a neighbour, as the suspect itself has signed.
    Neighbour(Signed<Adjacency>),
    /// A seed appointed it.
    Witness(Signed<Appointment>),
}

/// The evidence that a suspect is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// It answered this probe, or completed a handshake just now.
    Answer,
    /// A frame of it arrived.
    Traffic,
    /// Another neighbour of the suspect vouches for it.
    Vouched(PeerId),
}

/// The action after a suspect turned out to be alive.
#[derive(Debug)]
pub(crate) enum ClearOutcome {
    /// Nothing.
    Stays,
    /// Only the connection broke: request the edge again.
    Reconnect(Vec<Address>),
    /// It is alive, but unreachable from this peer: end the edge.
    Disconnect,
}

/// The state of a probe.
#[derive(Debug)]
pub(crate) enum ProbeOutcome {
    /// It continues.
    Pending,
    /// It continues, because this peer doubts its own view: check whether the seeds answer.
    SelfDoubt,
    /// It ended without a sign of life.
    Silent(Box<Suspect>),
}

/// The failure detector of one peer.
#[derive(Debug)]
pub(crate) struct FailureDetector {
    /// One for each neighbour.
    pub(crate) watches: VecMap<PeerId, Watch>,
    pub(crate) suspects: VecMap<PeerId, Suspect>,
    /// Reports without a verdict so far.
    pub(crate) reports: VecMap<PeerId, PendingReport>,
    /// How far this peer trusts its own view.
    health: Health,
    /// This peer was paused or starved, and has not read everything that arrived meanwhile.
    pub(crate) is_behind: bool,
    /// Where the nonces of probes come from.
    pub(crate) rng: RngStream,
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

    // ---- neighbours ------------------------------------------------------------------------

    /// Starts to watch a new neighbour.
    pub(crate) fn neighbour_up(&mut self, view: &View<'_>, id: PeerId) {
        let jitter = self.rng.scaled(view.config.ping_interval(), 0.0, 1.0);
        let asks_second = view.id() > id;
        let mut watch = Watch::new(view.now, jitter, asks_second);
        if view.overlay.prefers_short_links() {
            watch.request_measurement(view.now);
        }
        self.watches.insert(id, watch);
    }

    /// Any traffic from a neighbour is a sign of life to this peer, if the peer reads it without
    /// delay. It is no evidence for other nodes, which may have asked after the frames were sent.
    pub(crate) fn on_traffic(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
    ) -> Option<ClearOutcome> {
        if self.is_behind {
            return None;
        }
        if let Some(watch) = self.watches.get_mut(&remote) {
            watch.on_traffic(cx.now);
        }
        let is_neighbour = |s: &Suspect| matches!(s.role, ReporterRole::Neighbour(_));
        if !self.suspects.get(&remote).is_some_and(is_neighbour) {
            return None;
        }
        self.clear(cx, remote, Evidence::Traffic)
    }

    pub(crate) fn on_pong(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
        nonce: u64,
    ) -> Option<ClearOutcome> {
        if let Some(watch) = self.watches.get_mut(&remote) {
            let answered = watch.on_pong(cx.now, nonce, cx.config);
            if answered.is_timely {
                self.health.record_timely_answer();
            }
            answer_indirect_probes(cx, &answered.requesters, remote, Verdict::Alive);
        }
        if self.suspects.get(&remote).is_none_or(|s| s.probe.nonce != nonce) {
            return None;
        }
        self.clear(cx, remote, Evidence::Answer)
    }

    /// Handles a handshake: a suspect has just proved its key.
    pub(crate) fn on_handshake(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
    ) -> Option<ClearOutcome> {
        self.clear(cx, remote, Evidence::Answer)
    }

    /// Pings the neighbours that have been silent for an interval. Returns the ones to suspect.
    pub(crate) fn watch_neighbours(&mut self, cx: &mut Context<'_>) -> Vec<PeerId> {
        self.review_health(cx);
        let factor = self.health.timeout_factor();
        let mut silent = Vec::new();
        for (id, watch) in &mut self.watches {
            if self.suspects.contains_key(id) {
                continue;
            }
            match watch.due(cx.now, cx.config, factor) {
                WatchAction::Ping => {
                    let nonce = self.rng.u64();
                    watch.record_ping(cx.now, nonce, cx.config);
                    if let Some(n) = cx.view.overlay.neighbours.get(id) {
                        cx.fx.send(n.link, Ping { nonce });
                    }
                }
                WatchAction::Suspect => silent.push(*id),
                WatchAction::None => {}
            }
        }
        silent
    }

    /// Late answers of many neighbours at once are a sign that this node is late, not they.
    fn review_health(&mut self, cx: &mut Context<'_>) {
        let late = self.watches.values().filter(|w| w.is_late(cx.now, cx.config)).count();
        if late >= SELF_DOUBT_MIN_LATE && late * 2 > self.watches.len() {
            self.record_trouble(cx);
        } else {
            self.health.recover(cx.now, cx.config.ping_interval());
        }
    }

    /// Records that this peer itself, or its own link, is late.
    pub(crate) fn record_trouble(&mut self, cx: &mut Context<'_>) {
        if self.health.record_trouble(cx.now, cx.config.ping_interval()) {
            cx.fx.counters.local_health_lowered += 1;
        }
    }

    // ---- suspects --------------------------------------------------------------------------

    pub(crate) fn is_suspect(&self, id: &PeerId) -> bool {
        self.suspects.contains_key(id)
    }

    /// Begins to probe a suspect. Returns `false` if it is dead, or is probed already.
    pub(crate) fn begin_probe(
        &mut self,
        cx: &mut Context<'_>,
        record: SignedRecord,
        role: ReporterRole,
        neighbourhood: Arc<[(PeerId, Address)]>,
        earlier_reports: u32,
    ) -> bool {
        let id = record.id;
        let is_dead = cx.membership.members.is_dead(&id, record.incarnation);
        if is_dead || self.suspects.contains_key(&id) {
            return false;
        }
        cx.fx.counters.suspicions += 1;
        let (name, incarnation) = (record.name.clone(), record.incarnation);
        cx.fx.event(Event::Suspected { id, name, incarnation });
        let configured = cx.config.probe_burst();
        // On a path with slow answers, several of them are worth waiting for.
        let path = self.watches.get(&id).map(|w| w.expected_delay() * 2);
        let length = (configured * self.health.burst_factor())
            .max(path.unwrap_or_default().min(configured * Health::MAX_BURST_FACTOR));
        let length = match role {
            ReporterRole::Neighbour(_) => length,
            // A witness has to connect to the subject first.
            ReporterRole::Witness(_) => length + length / 2,
        };
        let mut probe = Probe::new(cx.now, self.rng.u64(), length, cx.config);
        if let Some(watch) = self.watches.get_mut(&id) {
            probe.requesters = watch.take_requesters();
        }
        let suspect = Suspect { probe, record, neighbourhood, dial: None, role, earlier_reports };
        self.suspects.insert(id, suspect);
        self.probe_indirectly(cx, id);
        true
    }

    /// Starts indirect probes through a few of the suspect's other neighbours.
    fn probe_indirectly(&mut self, cx: &mut Context<'_>, subject: PeerId) {
        let me = cx.id();
        let Some(s) = self.suspects.get_mut(&subject) else { return };
        let incarnation = s.record.incarnation;
        let others: Vec<(PeerId, Address)> =
            s.neighbourhood.iter().filter(|(id, _)| *id != me && *id != subject).copied().collect();
        for (helper, address) in self.rng.sample(others, Probe::HELPERS) {
            s.probe.helpers.insert(helper);
            let asked = cx.links.open.iter().find(|(_, l)| {
                l.remote == helper
                    && matches!(&l.purpose, LinkPurpose::IndirectProbe(of) if **of == subject)
            });
            let linked = cx.overlay.neighbours.get(&helper).map(|n| n.link);
            match linked.or(asked.map(|(link, _)| *link)) {
                Some(link) => cx.fx.send(link, ProbeRequest { subject, incarnation }),
                None => {
                    let purpose = DialPurpose::IndirectProbe { helper, subject };
                    cx.links.dial_peer(cx.fx, helper, vec![address], purpose);
                }
            }
        }
    }

    /// Transfers questions about a neighbour whose connection broke to its probe, if there is one.
    pub(crate) fn transfer_indirect_probes(
        &mut self,
        cx: &mut Context<'_>,
        id: PeerId,
        requesters: &VecSet<LinkId>,
    ) {
        match self.suspects.get_mut(&id) {
            Some(s) => requesters.iter().for_each(|link| {
                s.probe.requesters.insert(*link);
            }),
            None => answer_indirect_probes(cx, requesters, id, Verdict::Unknown),
        }
    }

    /// Moves indirect probes through a peer that becomes a neighbour to its new link.
    pub(crate) fn move_indirect_probes(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        helper: PeerId,
    ) {
        let asks = |(at, l): (&LinkId, &Link)| match &l.purpose {
            LinkPurpose::IndirectProbe(subject) if l.remote == helper => Some((*at, **subject)),
            _ => None,
        };
        let asking = cx.links.open.iter().filter_map(asks).filter(|(at, _)| *at != link);
        for (at, subject) in asking.collect::<Vec<_>>() {
            cx.links.close(cx.fx, at, CloseReason::Done);
            if let Some(s) = self.suspects.get(&subject) {
                let incarnation = s.record.incarnation;
                cx.fx.send(link, ProbeRequest { subject, incarnation });
            }
        }
    }

    /// Records that the dial of a probe has ended.
    pub(crate) fn probe_dial_ended(&mut self, id: &PeerId) {
        if let Some(s) = self.suspects.get_mut(id) {
            s.dial = None;
        }
    }

    /// Continues the probe of a suspect.
    pub(crate) fn run_probe(&mut self, cx: &mut Context<'_>, id: PeerId) -> ProbeOutcome {
        let Some(s) = self.suspects.get_mut(&id) else { return ProbeOutcome::Pending };
        if s.probe.is_finished(cx.now) {
            return self.end_probe(cx, id);
        }
        if !s.probe.retry_due(cx.now, cx.config) {
            return ProbeOutcome::Pending;
        }
        match cx.overlay.neighbours.get(&id).map(|n| n.link) {
            Some(link) => cx.fx.send(link, Ping { nonce: s.probe.nonce }),
            None if s.dial.is_none() => {
                let addresses = s.record.addresses.clone();
                s.dial = Some(cx.links.dial_peer(cx.fx, id, addresses, DialPurpose::Probe(id)));
            }
            None => {}
        }
        ProbeOutcome::Pending
    }

    fn end_probe(&mut self, cx: &mut Context<'_>, id: PeerId) -> ProbeOutcome {
        if self.is_in_doubt(cx, id) {
            if let Some(s) = self.suspects.get_mut(&id) {
                s.probe.extend(cx.now, cx.config);
            }
            return ProbeOutcome::SelfDoubt;
        }
        let Some(s) = self.suspects.remove(&id) else { return ProbeOutcome::Pending };
        answer_indirect_probes(cx, &s.probe.requesters, id, Verdict::Silent);
        ProbeOutcome::Silent(Box::new(s))
    }

    /// Many failing links at once are a sign of a problem at this node: unless it has heard from a
    /// seed or another peer since, this node doubts its own view if more than half of its links
    /// fail.
    fn is_in_doubt(&self, cx: &mut Context<'_>, id: PeerId) -> bool {
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
        if s.probe.extensions == 0 {
            cx.fx.counters.self_doubts += 1;
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let (failing, links) = (count(failing), count(failing + sound));
            cx.fx.event(Event::SelfDoubt { failing, links });
        }
        true
    }

    /// Clears a suspicion.
    fn clear(
        &mut self,
        cx: &mut Context<'_>,
        id: PeerId,
        evidence: Evidence,
    ) -> Option<ClearOutcome> {
        let s = self.suspects.remove(&id)?;
        cx.fx.counters.suspicions_cleared += 1;
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.resume(cx.now);
        }
        let by = if let Evidence::Vouched(helper) = evidence { helper } else { id };
        cx.fx.event(Event::SuspicionCleared { id, by });
        if matches!(s.role, ReporterRole::Witness(_)) {
            return Some(ClearOutcome::Stays); // it was probed only for a seed
        }
        let requesters = &s.probe.requesters;
        match (evidence, self.watches.get_mut(&id)) {
            (Evidence::Answer, _) => answer_indirect_probes(cx, requesters, id, Verdict::Alive),
            // The requesters have to wait for the answer to a request sent after their question.
            (Evidence::Traffic, Some(watch)) => {
                let refused =
                    requesters.iter().filter(|l| !watch.add_indirect_probe(cx.now, **l)).count();
                cx.fx.counters.questions_refused += refused as u64;
            }
            // The finding of another neighbour may be older than the question.
            _ => answer_indirect_probes(cx, requesters, id, Verdict::Unknown),
        }
        if by != id {
            return Some(ClearOutcome::Disconnect);
        }
        if cx.overlay.neighbours.contains_key(&id) {
            return Some(ClearOutcome::Stays);
        }
        Some(ClearOutcome::Reconnect(s.record.addresses.clone()))
    }

    /// Forgets a member that is dead or has left. Returns its neighbours, if it was probed.
    pub(crate) fn member_ended(&mut self, id: &PeerId) -> Option<Arc<[(PeerId, Address)]>> {
        self.reports.remove(id);
        self.suspects.remove(id).map(|s| s.neighbourhood)
    }

    /// Stops detection, because this peer has sent Leave.
    pub(crate) fn stop(&mut self) {
        self.suspects.clear();
        self.reports.clear();
        self.watches = VecMap::new();
    }

    // ---- questions of other nodes ----------------------------------------------------------

    /// Handles the question of a node about one of this peer's neighbours.
    pub(crate) fn on_probe_request(&mut self, cx: &mut Context<'_>, link: LinkId, subject: PeerId) {
        if let Some(s) = self.suspects.get_mut(&subject)
            && s.probe.add_indirect_probe(cx.now, link)
        {
            return;
        }
        let verdict = match self.watches.get_mut(&subject) {
            // Silent until a moment ago and reported: this peer agrees.
            None if self.reports.contains_key(&subject) => Verdict::Silent,
            None => Verdict::Unknown,
            Some(watch) => {
                // The answer follows a sign of life, or the end of a probe.
                if watch.add_indirect_probe(cx.now, link) {
                    return;
                }
                cx.fx.counters.questions_refused += 1;
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
        purpose: &LinkPurpose,
        f: &ProbeReply,
    ) -> Option<ClearOutcome> {
        if matches!(purpose, LinkPurpose::IndirectProbe(of) if **of == f.subject) {
            cx.links.close(cx.fx, link, CloseReason::Done);
        }
        let s = self.suspects.get_mut(&f.subject)?;
        // Only the neighbours that were asked count.
        if !s.probe.helpers.contains(&remote) {
            cx.fx.counters.probe_replies_unasked += 1;
            return None;
        }
        s.probe.verdicts.insert(remote, f.verdict);
        if f.verdict != Verdict::Alive {
            return None;
        }
        self.clear(cx, f.subject, Evidence::Vouched(remote))
    }

    // ---- time ------------------------------------------------------------------------------

    /// Sets the timers of the failure detector.
    pub(crate) fn set_timers(&self, cx: &mut Context<'_>) {
        let (config, factor) = (cx.config, self.health.timeout_factor());
        let watches = self.watches.iter().filter(|(id, _)| !self.suspects.contains_key(id));
        let watch = watches.map(|(_, w)| w.deadline(config, factor)).min();
        cx.timers.set(PeerTimer::Watch, watch);
        cx.timers.set(PeerTimer::Probe, self.suspects.values().map(|s| s.probe.deadline()).min());
        cx.timers.set(PeerTimer::Report, self.reports.values().map(|r| r.until).min());
    }

    /// This peer was paused or starved for `late`: its pending requests get as much more time.
    pub(crate) fn postpone(&mut self, late: core::time::Duration) {
        self.watches.values_mut().for_each(|w| w.postpone(late));
        self.suspects.values_mut().for_each(|s| s.probe.postpone(late));
    }
}

fn answer_indirect_probes(
    cx: &mut Context<'_>,
    to: &VecSet<LinkId>,
    subject: PeerId,
    verdict: Verdict,
) {
    for link in to.iter().filter(|l| cx.links.open.contains_key(l)) {
        cx.fx.send(*link, ProbeReply { subject, verdict });
    }
}

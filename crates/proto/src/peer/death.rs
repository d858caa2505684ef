//! Suspicion, questions to the suspect's other neighbours, and the report to the seeds: the first
//! of the two levels of a death.

use std::sync::Arc;

use super::Peer;
use super::links::{DialFor, Use};
use crate::death::{Adjacency, Appointment, DeathReport, Testimony};
use crate::event::{CloseReason, Event, LinkDown};
use crate::identity::PeerId;
use crate::io::{DialId, LinkId};
use crate::liveness::{Burst, Due, Health};
use crate::overlay::{Neighbour, heal_partner};
use crate::record::{Address, SignedRecord};
use crate::signed::Signed;
use crate::small::VecSet;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Appoint, Ping, ProbeReply, ProbeRequest, Report, Testify, Verdict, Want};

/// A neighbour, or former neighbour, that shows no sign of life.
#[derive(Debug)]
pub(crate) struct Suspect {
    pub(super) burst: Burst,
    pub(super) record: SignedRecord,
    pub(super) around: Arc<[(PeerId, Address)]>,
    pub(super) dial: Option<DialId>,
    standing: Standing,
    /// Bursts about it before this one that ended in a report without a verdict.
    repeated: u32,
}

/// Why this peer has a say in the matter.
#[derive(Debug, Clone)]
enum Standing {
    /// It is a neighbour, by the suspect's own word.
    Neighbour(Signed<Adjacency>),
    /// A seed appointed it.
    Witness(Signed<Appointment>),
}

/// Reports of the same suspect without a verdict, after which this peer lets it be.
const MAX_REPEATED: u32 = 8;
/// The pause between two reports doubles so many times.
const REPORT_DOUBLINGS: u32 = 5;
/// Reports without a verdict at once.
const MAX_OPEN_REPORTS: usize = 256;
/// Suspects that this peer looks after for the seeds at once.
const MAX_APPOINTED: usize = 64;

/// What speaks for the life of a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// It answered a probe of this burst, or has just shaken hands.
    Answer,
    /// Something came from it.
    Traffic,
    /// Another neighbour of the suspect says so.
    Hearsay(PeerId),
}

/// Neighbours whose answers are late at once, from which on this node is the first to be doubted.
const MANY_LATE: usize = 2;

/// A report to the seeds that has not led to anything yet.
#[derive(Debug)]
pub(super) struct OpenReport {
    pub(super) statement: Signed<DeathReport>,
    until: Time,
    suspect: Suspect,
}

impl Peer {
    /// Any traffic from a neighbour is a sign of life to this peer, if the peer reads it as it comes.
    /// It is no evidence for others, who asked after the frames were sent perhaps.
    pub(super) fn heard_from(&mut self, remote: PeerId) {
        if self.is_behind {
            return;
        }
        let now = self.fx.now();
        if let Some(n) = self.overlay.neighbours.get_mut(&remote) {
            n.watch.heard(now);
        }
        let own = |s: &Suspect| matches!(s.standing, Standing::Neighbour(_));
        if self.suspects.get(&remote).is_some_and(own) {
            self.clear_suspicion(remote, Evidence::Traffic);
        }
    }

    pub(super) fn on_pong(&mut self, remote: PeerId, used: &Use, nonce: u64) {
        if let Use::Seed(index) = used {
            return self.on_seed_pong(*index, nonce);
        }
        let now = self.fx.now();
        if let Some(n) = self.overlay.neighbours.get_mut(&remote) {
            let answered = n.watch.pong(now, nonce, &self.config);
            if answered.is_timely {
                self.health.answered_in_time();
            }
            self.answer_questions(&answered.questioners, remote, Verdict::Alive);
        }
        if self.suspects.get(&remote).is_some_and(|s| s.burst.nonce == nonce) {
            self.clear_suspicion(remote, Evidence::Answer);
        }
    }

    /// A handshake with a suspect: it has just proved its key.
    pub(super) fn on_handshake(&mut self, remote: PeerId) {
        if self.suspects.contains_key(&remote) {
            self.clear_suspicion(remote, Evidence::Answer);
        }
        if self.reports.remove(&remote).is_some()
            && let Some(m) = self.membership.members.get_mut(&remote)
        {
            m.suspect = false;
        }
    }

    /// Looks after every neighbour.
    pub(super) fn watch_neighbours(&mut self) {
        let now = self.fx.now();
        self.review_health();
        let patience = self.health.patience();
        let mut suspect = Vec::new();
        for (id, n) in &mut self.overlay.neighbours {
            if self.suspects.contains_key(id) {
                continue;
            }
            match n.watch.due(now, &self.config, patience) {
                Due::Ping => {
                    let nonce = self.rng.liveness.u64();
                    n.watch.pinged(now, nonce, &self.config);
                    self.fx.send(n.link, Ping { nonce });
                }
                Due::Suspect => suspect.push(*id),
                Due::Nothing => {}
            }
        }
        for id in suspect {
            let Some(n) = self.overlay.neighbours.get(&id) else { continue };
            let standing = Standing::Neighbour(n.adjacency.clone());
            let (record, around) = (n.record.clone(), n.around.clone());
            self.with_broadcast(|b, cx| b.tree_suspect(cx, id));
            self.begin_burst(record, standing, around, 0);
        }
    }

    /// Neighbours whose answers are late all at once say more about this node than about them.
    fn review_health(&mut self) {
        let (now, interval) = (self.fx.now(), self.config.ping_interval());
        let late = |n: &&Neighbour| n.watch.is_late(now, &self.config);
        let late = self.overlay.neighbours.values().filter(late).count();
        if late >= MANY_LATE && late * 2 > self.overlay.neighbours.len() {
            self.suffer();
        } else {
            self.health.recover(now, interval);
        }
    }

    /// This peer itself, or its own link, is late.
    pub(super) fn suffer(&mut self) {
        if self.health.suffer(self.fx.now(), self.config.ping_interval()) {
            self.fx.count("local_health_lowered");
        }
    }

    /// The connection to a neighbour broke.
    pub(super) fn suspect_lost(&mut self, mut n: Neighbour) {
        let id = n.record.id;
        let waiting = n.watch.take_questioners();
        if !self.is_leaving() {
            self.begin_burst(n.record, Standing::Neighbour(n.adjacency), n.around, 0);
        }
        match self.suspects.get_mut(&id) {
            Some(s) => waiting.iter().for_each(|link| {
                s.burst.questioners.insert(*link);
            }),
            None => self.answer_questions(&waiting, id, Verdict::Unknown),
        }
    }

    fn begin_burst(
        &mut self,
        record: SignedRecord,
        standing: Standing,
        around: Arc<[(PeerId, Address)]>,
        repeated: u32,
    ) {
        let id = record.id;
        if self.membership.members.is_dead(&id, record.incarnation)
            || self.suspects.contains_key(&id)
        {
            return;
        }
        let now = self.fx.now();
        self.fx.count("suspicions");
        let (name, incarnation) = (record.name.clone(), record.incarnation);
        self.fx.event(Event::Suspected { id, name, incarnation });
        let burst = self.config.probe_burst();
        // Where answers take long on the way, more of them are worth waiting for.
        let path = self.overlay.neighbours.get(&id).map(|n| n.watch.expected_delay() * 2);
        let burst = (burst * self.health.burst_patience())
            .max(path.unwrap_or_default().min(burst * Health::MOST_BURST_PATIENCE));
        let length = match standing {
            Standing::Neighbour(_) => burst,
            // It knows nothing of the subject yet, and has to connect first.
            Standing::Witness(_) => burst + burst / 2,
        };
        let mut burst = Burst::new(now, self.rng.liveness.u64(), length, &self.config);
        if let Some(n) = self.overlay.neighbours.get_mut(&id) {
            burst.questioners = n.watch.take_questioners();
        }
        let suspect = Suspect { burst, record, around, dial: None, standing, repeated };
        self.suspects.insert(id, suspect);
        self.ask_helpers(id);
        self.run_bursts();
    }

    /// Asks a few of the suspect's other neighbours.
    fn ask_helpers(&mut self, subject: PeerId) {
        let me = self.id();
        let Some(s) = self.suspects.get(&subject) else { return };
        let incarnation = s.record.incarnation;
        let others: Vec<(PeerId, Address)> =
            s.around.iter().filter(|(id, _)| *id != me && *id != subject).copied().collect();
        for (helper, address) in self.rng.liveness.sample(others, Burst::HELPERS) {
            if let Some(s) = self.suspects.get_mut(&subject) {
                s.burst.asked.insert(helper);
            }
            let asked = self.links.iter().find(|(_, l)| {
                l.remote == helper && matches!(&l.used, Use::Ask(of) if **of == subject)
            });
            let linked = self.overlay.neighbours.get(&helper).map(|n| n.link);
            match linked.or(asked.map(|(link, _)| *link)) {
                Some(link) => self.fx.send(link, ProbeRequest { subject, incarnation }),
                None => {
                    let purpose = DialFor::Ask { helper, subject };
                    self.dial_peer(helper, vec![address], purpose);
                }
            }
        }
    }

    /// Goes on with every burst under way.
    pub(super) fn run_bursts(&mut self) {
        let now = self.fx.now();
        let ids: Vec<PeerId> = self.suspects.keys().copied().collect();
        for id in ids {
            let Some(s) = self.suspects.get_mut(&id) else { continue };
            if s.burst.is_over(now) {
                self.end_burst(id);
                continue;
            }
            if !s.burst.retry_due(now, &self.config) {
                continue;
            }
            match self.overlay.neighbours.get(&id).map(|n| n.link) {
                Some(link) => self.fx.send(link, Ping { nonce: s.burst.nonce }),
                None if s.dial.is_none() => {
                    let addresses = s.record.addresses.clone();
                    let dial = self.dial_peer(id, addresses, DialFor::Probe(id));
                    if let Some(s) = self.suspects.get_mut(&id) {
                        s.dial = Some(dial);
                    }
                }
                None => {}
            }
        }
    }

    fn end_burst(&mut self, id: PeerId) {
        let now = self.fx.now();
        if self.doubts_itself(id) {
            if let Some(s) = self.suspects.get_mut(&id) {
                s.burst.extend(now, &self.config);
            }
            self.ping_seeds();
            return;
        }
        let Some(s) = self.suspects.remove(&id) else { return };
        self.answer_questions(&s.burst.questioners, id, Verdict::Silent);
        // A witness tells the seeds what it found, and has no report of its own that would end the doubt.
        if matches!(s.standing, Standing::Neighbour(_))
            && let Some(m) = self.membership.members.get_mut(&id)
        {
            m.suspect = true;
        }
        let why = LinkDown::Local(CloseReason::NoSignOfLife);
        if let Some(n) = self.drop_neighbour(id, why) {
            self.close(n.link, CloseReason::NoSignOfLife);
        }
        if s.repeated == 0 {
            self.heal(id, &s.around);
        }
        match s.standing.clone() {
            Standing::Neighbour(adjacency) => self.report(s, adjacency),
            Standing::Witness(appointment) => self.testify(appointment),
        }
    }

    /// A seed asks this peer to look after another.
    pub(super) fn on_appoint(&mut self, f: &Appoint) {
        let a = f.appointment.body();
        let proper = a.witness == self.id()
            && a.subject == f.record.id
            && a.incarnation == f.record.incarnation
            && self.membership.registrations.is_seed(&a.seed);
        let full = self.appointed().count() >= MAX_APPOINTED;
        if !proper || full || self.is_leaving() {
            return self.fx.count("appointments_refused");
        }
        // A neighbour has its own say, and watches anyway.
        if a.subject != self.id() && !self.overlay.neighbours.contains_key(&a.subject) {
            let standing = Standing::Witness(f.appointment.clone());
            self.begin_burst(f.record.clone(), standing, Arc::default(), 0);
        }
    }

    /// Those that this peer looks after for a seed.
    fn appointed(&self) -> impl Iterator<Item = &Suspect> {
        self.suspects.values().filter(|s| matches!(s.standing, Standing::Witness(_)))
    }

    /// Tells the seeds what it found where they had it look.
    fn testify(&mut self, appointment: Signed<Appointment>) {
        let testimony = Testimony { witness: self.id(), appointment };
        let testimony = Signed::sign(testimony, &self.identity);
        self.fx.count("testimonies");
        let links: Vec<LinkId> = self.membership.registrations.links().collect();
        for link in links {
            self.fx.send(link, Testify { testimony: testimony.clone() });
        }
    }

    /// More than half of the links failing together says more about this node than about the
    /// others: unless a seed or another peer has been heard of since, it doubts itself.
    fn doubts_itself(&mut self, id: PeerId) -> bool {
        let Some(s) = self.suspects.get(&id) else { return false };
        let failing = self.suspects.len() - self.appointed().count();
        let sound =
            self.overlay.neighbours.keys().filter(|n| !self.suspects.contains_key(n)).count();
        let started = s.burst.started;
        let fresh = self
            .overlay
            .neighbours
            .iter()
            .any(|(id, n)| !self.suspects.contains_key(id) && n.watch.last_heard > started)
            || s.burst.verdicts.values().any(|v| *v == Verdict::Silent)
            || self
                .membership
                .registrations
                .slots
                .iter()
                .any(|s| s.link.is_some() && s.last_heard > started);
        if failing <= sound || fresh {
            return false;
        }
        if s.burst.extended == 0 {
            self.fx.count("self_doubts");
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let (failing, links) = (count(failing), count(failing + sound));
            self.fx.event(Event::SelfDoubt { failing, links });
        }
        true
    }

    /// Tells the seeds.
    fn report(&mut self, suspect: Suspect, adjacency: Signed<Adjacency>) {
        let (id, incarnation) = (suspect.record.id, suspect.record.incarnation);
        let report = DeathReport { reporter: self.id(), subject: id, incarnation, adjacency };
        let statement = Signed::sign(report, &self.identity);
        self.fx.count("reports");
        let name = suspect.record.name.clone();
        self.fx.event(Event::Reported { id, name, incarnation });
        let links: Vec<LinkId> = self.membership.registrations.links().collect();
        for link in links {
            self.fx.send(link, Report { report: statement.clone() });
        }
        let pause = self.config.report_window() * (1 << suspect.repeated.min(REPORT_DOUBLINGS));
        let until = self.fx.now() + pause;
        if self.reports.len() >= MAX_OPEN_REPORTS && !self.reports.contains_key(&id) {
            let first = self.reports.iter().min_by_key(|(_, r)| r.until).map(|(id, _)| *id);
            if let Some(first) = first {
                self.reports.remove(&first);
                self.fx.count("reports_forgotten");
            }
        }
        self.reports.insert(id, OpenReport { statement, until, suspect });
        // It goes out when the link is up.
        self.membership.registrations.unpark(self.fx.now());
    }

    /// Looks again where a report led to no verdict, and lets it be in the end.
    pub(super) fn expire_reports(&mut self) {
        let now = self.fx.now();
        let over = |r: &OpenReport| r.until <= now;
        let expired: Vec<PeerId> =
            self.reports.iter().filter(|(_, r)| over(r)).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(OpenReport { suspect, .. }) = self.reports.remove(&id) else { continue };
            let current =
                self.membership.members.get(&id).is_none_or(|m| {
                    m.suspect && m.record.incarnation == suspect.record.incarnation
                });
            // Where no majority of the seeds hears it there can be no verdict: that is no answer.
            let heard = self.membership.own.state == PeerState::Joined;
            if current && suspect.repeated < MAX_REPEATED {
                let Suspect { record, standing, around, repeated, .. } = suspect;
                let repeated = if heard { repeated + 1 } else { repeated.max(1) };
                self.begin_burst(record, standing, around, repeated);
            } else if let Some(m) = self.membership.members.get_mut(&id) {
                // Perhaps it was only this path. It may be asked again.
                m.suspect = false;
            }
        }
    }

    pub(super) fn reports_deadline(&self) -> Option<Time> {
        self.reports.values().map(|r| r.until).min()
    }

    /// The suspect lives.
    fn clear_suspicion(&mut self, id: PeerId, evidence: Evidence) {
        let now = self.fx.now();
        let Some(s) = self.suspects.remove(&id) else { return };
        self.fx.count("suspicions_cleared");
        if let Some(n) = self.overlay.neighbours.get_mut(&id) {
            n.watch.resume(now);
        }
        let by = if let Evidence::Hearsay(helper) = evidence { helper } else { id };
        self.fx.event(Event::SuspicionCleared { id, by });
        if let Some(m) = self.membership.members.get_mut(&id) {
            m.suspect = false;
        }
        if matches!(s.standing, Standing::Witness(_)) {
            return; // it was looked after for a seed only
        }
        let waiting = &s.burst.questioners;
        match (evidence, self.overlay.neighbours.get_mut(&id)) {
            (Evidence::Answer, _) => self.answer_questions(waiting, id, Verdict::Alive),
            // Those that asked have to wait for an answer to a request of after their question.
            (Evidence::Traffic, Some(n)) => {
                let refused: Vec<LinkId> =
                    waiting.iter().copied().filter(|l| !n.watch.question(now, *l)).collect();
                self.fx.add("questions_refused", refused.len() as u64);
            }
            // What another one has found may be older than the question.
            _ => self.answer_questions(waiting, id, Verdict::Unknown),
        }
        if by == id {
            if !self.overlay.neighbours.contains_key(&id) {
                // The process lives and only the connection broke: ask for the edge again.
                self.request(id, s.record.addresses.clone(), Want::Place, None);
            }
            return;
        }
        // It lives, but not for this peer: the path between the two is broken. Nobody dies of that.
        if let Some(m) = self.membership.members.get_mut(&id) {
            m.avoid_until = now + self.config.report_window().max(self.config.ping_interval() * 8);
        }
        if let Some(n) = self.drop_neighbour(id, LinkDown::Local(CloseReason::NoSignOfLife)) {
            self.close(n.link, CloseReason::NoSignOfLife);
        }
    }

    fn answer_questions(&mut self, to: &VecSet<LinkId>, subject: PeerId, verdict: Verdict) {
        for link in to.iter().filter(|l| self.links.contains_key(l)) {
            self.fx.send(*link, ProbeReply { subject, verdict });
        }
    }

    /// Somebody asks about one of this peer's neighbours.
    pub(super) fn on_probe_request(&mut self, link: LinkId, subject: PeerId) {
        let now = self.fx.now();
        if let Some(s) = self.suspects.get_mut(&subject)
            && s.burst.question(now, link)
        {
            return;
        }
        let verdict = match self.overlay.neighbours.get_mut(&subject) {
            // Silent just a moment ago and reported: this peer agrees.
            None if self.reports.contains_key(&subject) => Verdict::Silent,
            None => Verdict::Unknown,
            Some(n) => {
                // The answer follows when there is something to tell: a sign of life, or the end of a burst.
                if n.watch.question(now, link) {
                    return;
                }
                self.fx.count("questions_refused");
                Verdict::Unknown
            }
        };
        self.fx.send(link, ProbeReply { subject, verdict });
    }

    pub(super) fn on_probe_reply(
        &mut self,
        link: LinkId,
        remote: PeerId,
        used: &Use,
        f: &ProbeReply,
    ) {
        if matches!(used, Use::Ask(of) if **of == f.subject) {
            self.close(link, CloseReason::Done);
        }
        let Some(s) = self.suspects.get_mut(&f.subject) else { return };
        // Only those who were asked have a say.
        if !s.burst.asked.contains(&remote) {
            return self.fx.count("probe_replies_unasked");
        }
        s.burst.verdicts.insert(remote, f.verdict);
        if f.verdict == Verdict::Alive {
            self.clear_suspicion(f.subject, Evidence::Hearsay(remote));
        }
    }

    /// Closes the hole that a dead neighbour leaves.
    pub(super) fn heal(&mut self, dead: PeerId, around: &[(PeerId, Address)]) {
        if self.is_leaving() || self.overlay.deficit() == 0 {
            return;
        }
        if let Some((partner, address)) = heal_partner(self.id(), dead, around) {
            self.request(partner, vec![address], Want::Place, None);
        }
    }
}

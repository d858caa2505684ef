//! Frames that a hostile remote with a valid key may send.

use minicbor::bytes::ByteArray;
use rumormill_proto::failure::{Adjacency, Appointment, Certificate, DeathReport, Testimony};
use rumormill_proto::record::{Presence, Record};
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    Accept, Accusation, Ack, AckEntry, Announce, Appoint, Census, CensusBody, Close, Confirm,
    ConfirmReply, Data, Digest, Entries, Frame, GetData, Gossip, Graft, Holder, Leave, LostPeer,
    MembershipUpdate, Neighbourhood, PeerList, PeerReply, PeerRequest, PeerRequestKind, Permit,
    Ping, Pong, ProbeReply, ProbeRequest, Prune, Pull, PullEnd, Range, Redirect, Register,
    RegisterAck, RegisterReject, Reject, Report, SeedName, StreamMark, Summary, SummaryEntry,
    Testify, Verdict, Votes, ack_token,
};
use rumormill_proto::{
    Batch, CloseReason, Identity, MessageId, Name, PeerId, RefuseReason, Role, SignedRecord,
};

use super::rig::{Node, PEERS, Remote, Rig, SEEDS, VICTIM, seed_addresses};
use super::script::Script;
use super::statements::{
    address, adjacency, appointment, batch, certificate, first_of, identity, message,
    message_after, report, signed_record, testimony, vote,
};

/// The number of any identity in the rig.
fn any_number(s: &mut Script<'_>) -> u8 {
    let all: Vec<u8> = PEERS.chain(SEEDS).chain([VICTIM]).collect();
    s.pick(&all).copied().unwrap_or(1)
}

/// An identity whose key is hostile: any one except that of the node under test.
fn accomplice(s: &mut Script<'_>) -> Identity {
    match any_number(s) {
        VICTIM => identity(1),
        n => identity(n),
    }
}

fn id(s: &mut Script<'_>) -> PeerId {
    identity(any_number(s)).id()
}

/// Any record, mostly one of the remote itself.
fn record(s: &mut Script<'_>, rig: &Rig, remote: Remote) -> SignedRecord {
    let owner = match s.byte() % 8 {
        0 => {
            if let Some(r) = s.pick(&rig.stolen_records) {
                return r.clone();
            }
            accomplice(s)
        }
        1 => accomplice(s),
        _ if remote.number == VICTIM => accomplice(s),
        _ => identity(remote.number),
    };
    let presence = if s.once_in(6) { Presence::Left } else { Presence::Alive };
    let r = Record {
        id: owner.id(),
        name: Name::new("mallory").unwrap(),
        addresses: (0..s.below(5)).map(|_| address(s.u16())).collect(),
        incarnation: s.incarnation(),
        sequence: s.number(),
        presence,
        degree: s.u16() % 2049,
        target: u16::from(s.byte()) * if s.once_in(8) { 4 } else { 0 },
        process: s.number(),
        // Also the process of the node under test, as a copy of its key could sign it.
        other_process: match s.below(4) {
            0 => Some(s.number()),
            1 => rig.stolen_records.last().map(|r| r.process),
            _ => None,
        },
        participates: s.once_in(2),
    };
    Signed::sign(r, &owner)
}

fn any_adjacency(s: &mut Script<'_>, rig: &Rig, remote: Remote) -> Signed<Adjacency> {
    if s.once_in(8)
        && let Some(a) = s.pick(&rig.stolen_adjacencies)
    {
        return a.clone();
    }
    let subject = if remote.number == VICTIM { identity(1) } else { identity(remote.number) };
    let neighbour = if s.once_in(8) { id(s) } else { identity(VICTIM).id() };
    adjacency(&subject, neighbour, s.incarnation())
}

fn any_certificate(s: &mut Script<'_>) -> Certificate {
    let seeds: Vec<Identity> = SEEDS.take(1 + s.below(3)).map(identity).collect();
    certificate(&seeds, id(s), s.incarnation(), &[id(s)])
}

/// A death report, sometimes about the node under test with an adjacency that it has signed.
fn any_report(s: &mut Script<'_>, rig: &Rig) -> Signed<DeathReport> {
    let reporter = accomplice(s);
    if s.once_in(3)
        && let Some(a) = rig.stolen_adjacencies.iter().find(|a| a.neighbour == reporter.id())
    {
        let report = DeathReport {
            reporter: reporter.id(),
            subject: identity(VICTIM).id(),
            incarnation: s.incarnation().max(a.incarnation),
            adjacency: a.clone(),
        };
        return Signed::sign(report, &reporter);
    }
    let subject = accomplice(s);
    report(&reporter, &subject, s.incarnation())
}

/// An appointment, mostly of the node under test.
fn any_appointment(s: &mut Script<'_>) -> Signed<Appointment> {
    let seed = identity(11 + s.byte() % 3);
    let witness = if s.once_in(4) { id(s) } else { identity(VICTIM).id() };
    appointment(&seed, witness, id(s), s.incarnation())
}

fn any_testimony(s: &mut Script<'_>) -> Signed<Testimony> {
    let (witness, seed) = (accomplice(s), identity(11 + s.byte() % 3));
    testimony(&witness, &seed, id(s), s.incarnation())
}

fn reason(s: &mut Script<'_>) -> RefuseReason {
    minicbor::decode(&[s.byte() % 11]).unwrap()
}

fn request_kind(s: &mut Script<'_>) -> PeerRequestKind {
    match s.byte() % 7 {
        0 => PeerRequestKind::FreeSlot,
        1 => PeerRequestKind::Overflow,
        2 => PeerRequestKind::EdgeTransfer,
        3 => PeerRequestKind::SurplusEdge,
        4 => PeerRequestKind::Replacement(id(s)),
        5 => PeerRequestKind::SurplusPairing { give: id(s) },
        _ => PeerRequestKind::EdgeSwap { give: id(s) },
    }
}

fn several<T>(
    s: &mut Script<'_>,
    most: usize,
    mut make: impl FnMut(&mut Script<'_>) -> T,
) -> Vec<T> {
    (0..s.below(most + 1)).map(|_| make(s)).collect()
}

fn message_id(s: &mut Script<'_>) -> MessageId {
    MessageId { publisher: id(s), epoch: s.incarnation(), sequence: s.number() }
}

fn summary_entries(s: &mut Script<'_>) -> Vec<SummaryEntry> {
    let mut entries = several(s, 6, |s| {
        let mut ends: Vec<u64> = several(s, 8, |s| s.number());
        ends.sort_unstable();
        ends.dedup();
        if ends.len() % 2 == 1 {
            ends.pop();
        }
        let above = ends.last().copied().unwrap_or(0);
        let next = s.number().max(above.saturating_add(1));
        let gaps = ends.chunks_exact(2).map(|c| (c[0], c[1])).collect();
        let oldest_retained = s.number().min(ends.first().copied().unwrap_or(next));
        SummaryEntry { publisher: id(s), epoch: s.incarnation(), next, gaps, oldest_retained }
    });
    entries.sort_by_key(SummaryEntry::stream);
    entries.dedup_by_key(|e| e.stream());
    entries
}

fn summary(s: &mut Script<'_>) -> Summary {
    let entries = summary_entries(s);
    Summary { hash: s.number(), entries: (!s.once_in(4)).then_some(entries) }
}

fn any_entry(s: &mut Script<'_>, rig: &Rig, remote: Remote) -> Entry {
    let record = record(s, rig, remote);
    let certificate = s.once_in(2).then(|| any_certificate(s));
    Entry { record, certificate }
}

/// The kinds of frames that the node accepts of a remote in this role; others close the link.
fn accepted_kinds(node: &Node, role: Role) -> &'static [u8] {
    match (node, role) {
        (Node::Peer(_), Role::Seed) => &[1, 2, 5, 6, 8, 9, 26, 29, 29],
        (Node::Peer(_), Role::Peer) => &[
            1, 2, 4, 10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 18, 19, 20, 21, 21, 22, 23, 24, 32,
            32, 33, 34, 35, 36, 36, 37, 38, 39, 40, 41,
        ],
        (Node::Seed(_), Role::Peer) => &[1, 2, 3, 3, 3, 4, 7, 25, 25, 25, 30],
        (Node::Seed(_), Role::Seed) => &[1, 2, 27, 27, 28, 28, 31],
    }
}

/// Marks of a few streams, ascending.
fn marks(s: &mut Script<'_>) -> Vec<StreamMark> {
    let mut marks = several(s, 6, |s| {
        let r = range(s);
        StreamMark { publisher: r.publisher, epoch: r.epoch, next: r.to }
    });
    let key = |m: &StreamMark| (m.publisher, m.epoch);
    marks.sort_by_key(key);
    marks.dedup_by_key(|m| key(m));
    marks
}

/// Any frame, with any content that the remote can sign.
pub fn frame(s: &mut Script<'_>, rig: &Rig, remote: Remote) -> Frame {
    let kind = if s.once_in(16) {
        s.byte() % 42
    } else {
        s.pick(accepted_kinds(&rig.node, remote.role)).copied().unwrap_or(1)
    };
    match kind {
        0 => Close { reason: CloseReason::Done }.into(),
        1 => Ping { nonce: s.number() }.into(),
        2 => Pong { nonce: s.number() }.into(),
        3 => Register { record: record(s, rig, remote) }.into(),
        4 => Leave { record: record(s, rig, remote) }.into(),
        5 => registered(s).into(),
        6 => RegisterReject {
            reason: reason(s),
            record: s.once_in(2).then(|| record(s, rig, remote)),
            certificate: s.once_in(2).then(|| any_certificate(s)),
            nonce: ByteArray::from([s.byte(); 16]),
        }
        .into(),
        7 => Frame::GetPeerList,
        8 => PeerList {
            records: several(s, 4, |s| record(s, rig, remote)),
            alive: s.number() as u32,
            participating: s.number() as u32,
            synced: s.once_in(2),
            last: s.once_in(2),
        }
        .into(),
        9 => MembershipUpdate {
            joined: several(s, 3, |s| record(s, rig, remote)),
            left: several(s, 3, |s| record(s, rig, remote)),
            dead: several(s, 3, any_certificate),
            alive: s.number() as u32,
            participating: s.number() as u32,
        }
        .into(),
        10 | 11 => PeerRequest {
            record: record(s, rig, remote),
            kind: request_kind(s),
            neighbours: several(s, 4, id),
            adjacency: any_adjacency(s, rig, remote),
        }
        .into(),
        12 => PeerReply::Accept(Accept {
            record: record(s, rig, remote),
            adjacency: any_adjacency(s, rig, remote),
            transfer: s.once_in(2).then(|| record(s, rig, remote)),
        })
        .into(),
        13 => PeerReply::Reject(Reject {
            reason: reason(s),
            record: record(s, rig, remote),
            transfer: s.once_in(2).then(|| record(s, rig, remote)),
        })
        .into(),
        14 => Permit { peer: id(s) }.into(),
        15 => Redirect { to: record(s, rig, remote), in_place_of: id(s) }.into(),
        16 => Neighbourhood {
            neighbours: several(s, 6, |s| (id(s), address(s.u16()))).into(),
            degree: s.u16(),
            target: s.u16(),
        }
        .into(),
        17 | 18 => {
            let flags = s.byte();
            Gossip {
                hops: s.u16(),
                explores: flags & 1 != 0,
                receipt: flags & 2 != 0,
                pulled: flags & 4 != 0,
                age_ms: if flags & 8 != 0 { u32::MAX } else { 0 },
                batch: any_batch(s),
            }
            .into()
        }
        19 => GetData { id: message_id(s) }.into(),
        20 => {
            let batch = any_batch(s);
            let id = if s.once_in(4) { message_id(s) } else { first_of(&batch) };
            let age_ms = s.once_in(2).then_some(u32::MAX);
            Data { id, batch: (!s.once_in(4)).then_some(batch), age_ms }.into()
        }
        21 => summary(s).into(),
        22 => Pull { ranges: several(s, 6, range), nonce: 0 }.into(),
        23 => ProbeRequest { subject: id(s), incarnation: s.number() }.into(),
        24 => ProbeReply { subject: id(s), verdict: verdict(s) }.into(),
        25 => Report { report: any_report(s, rig) }.into(),
        26 => Accusation {
            incarnation: s.number(),
            certificate: s.once_in(2).then(|| any_certificate(s)),
        }
        .into(),
        27 => Votes {
            reports: several(s, 3, |s| any_report(s, rig)),
            vote: s.once_in(2).then(|| {
                let seed = identity(11 + s.byte() % 3);
                vote(&seed, id(s), s.incarnation(), vec![id(s)])
            }),
            testimonies: several(s, 3, any_testimony),
            withdrawn: s.once_in(4).then(|| id(s)),
            lost: s.once_in(4).then(|| LostPeer { subject: id(s), incarnation: s.incarnation() }),
        }
        .into(),
        28 => Entries {
            entries: several(s, 4, |s| any_entry(s, rig, remote)),
            requested_buckets: several(s, 4, |s| s.byte()),
            nonce: ByteArray::from([s.byte(); 16]),
            compared: s.once_in(2),
            synced: s.once_in(2),
        }
        .into(),
        29 => {
            let appointment = any_appointment(s);
            Appoint { appointment, record: record(s, rig, remote) }.into()
        }
        30 => Testify { testimony: any_testimony(s) }.into(),
        32 | 33 => Graft { publishers: publishers(s), have: summary_entries(s) }.into(),
        34 | 35 => Prune { publishers: publishers(s) }.into(),
        36 => Announce { ranges: several(s, 6, range) }.into(),
        37 => Ack { entries: several(s, 6, ack), congested: s.once_in(4) }.into(),
        38 => Census { body: census(s) }.into(),
        39 => PullEnd { batches: s.number() as u32, refused: s.byte().is_multiple_of(4), nonce: 0 }
            .into(),
        40 => {
            let mut streams = several(s, 6, range);
            streams.sort_by_key(Range::stream);
            streams.dedup_by_key(|r| r.stream());
            Confirm { streams }.into()
        }
        41 => ConfirmReply { streams: marks(s), leaving: s.once_in(4) }.into(),
        _ => Digest {
            buckets: vec![s.number(); 256],
            nonce: ByteArray::from([s.byte(); 16]),
            synced: s.once_in(2),
        }
        .into(),
    }
}

/// A batch of a few messages, often overlapping earlier ones with another content.
fn any_batch(s: &mut Script<'_>) -> Batch {
    let publisher = accomplice(s);
    let payload = [s.byte()];
    let n = if s.once_in(16) { 200 } else { 1 + s.below(4) };
    let first = s.number().min(u64::MAX - 1 - n as u64);
    let epoch = s.incarnation();
    if first == 0 && epoch > 0 && s.once_in(2) {
        let previous = (s.incarnation().min(epoch - 1), s.number().min(u64::MAX - 1));
        return message_after(&publisher, epoch, previous);
    }
    batch(&publisher, epoch, first, &vec![payload.as_slice(); n])
}

/// A batch that holds the requested message.
fn answer_batch(publisher: PeerId, epoch: u64, sequence: u64) -> Option<Batch> {
    let publisher = PEERS.map(identity).find(|i| i.id() == publisher)?;
    Some(message(&publisher, epoch, sequence.min(u64::MAX - 2), b"x"))
}

fn range(s: &mut Script<'_>) -> Range {
    let (a, b) = (s.number(), s.number());
    let from = a.min(b).min(u64::MAX - 1);
    let to = a.max(b).max(from + 1);
    Range { publisher: id(s), epoch: s.incarnation(), from, to }
}

/// Tokens of identities in the rig, and of unknown ones.
fn publishers(s: &mut Script<'_>) -> Vec<u64> {
    several(s, 6, |s| if s.once_in(8) { s.number() } else { ack_token(&id(s)) })
}

fn census(s: &mut Script<'_>) -> Signed<CensusBody> {
    let publisher = accomplice(s);
    let body = CensusBody {
        publisher: publisher.id(),
        epoch: s.incarnation(),
        round: s.number(),
        until: s.number(),
        wants_names: s.once_in(2),
    };
    Signed::sign(body, &publisher)
}

/// An acknowledgement of any publisher, the node itself included.
fn ack(s: &mut Script<'_>) -> AckEntry {
    AckEntry {
        publisher: id(s),
        epoch: s.incarnation(),
        paced: s.number(),
        lagging_peers: s.number() as u32,
        long_paced: s.number(),
        held: s.number(),
        peers: s.number() as u32,
        sum: s.number(),
        holders: s.once_in(2).then(|| {
            let tokens = (0..s.byte()).map(|_| ack_token(&id(s)));
            tokens
                .collect::<Vec<_>>()
                .into_iter()
                .map(|t| Holder { token: t, held: s.number() })
                .collect()
        }),
    }
}

fn verdict(s: &mut Script<'_>) -> Verdict {
    match s.byte() % 3 {
        0 => Verdict::Alive,
        1 => Verdict::Silent,
        _ => Verdict::Unknown,
    }
}

fn registered(s: &mut Script<'_>) -> RegisterAck {
    let seeds = several(s, 4, |s| {
        let host_port = s.pick(&seed_addresses()).map(|a| a.host_port.clone());
        SeedName { host_port: host_port.unwrap_or_default(), id: id(s) }
    });
    RegisterAck {
        incarnation: s.incarnation(),
        sequence: s.number(),
        alive: s.number() as u32,
        participating: s.number() as u32,
        nonce: ByteArray::from([s.byte(); 16]),
        seeds,
        synced: s.once_in(2),
    }
}

/// The answer of an honest remote, if the frame is a request.
pub fn honest_answer(s: &mut Script<'_>, remote: Remote, frame: &Frame) -> Option<Frame> {
    if remote.number == VICTIM {
        return None;
    }
    let me = identity(remote.number);
    let victim = identity(VICTIM).id();
    Some(match frame {
        Frame::Register(f) => RegisterAck {
            incarnation: f.record.incarnation,
            sequence: f.record.sequence,
            alive: 7,
            participating: 7,
            nonce: ByteArray::from([5; 16]),
            seeds: Vec::new(),
            synced: true,
        }
        .into(),
        Frame::GetPeerList => PeerList {
            records: PEERS.map(|n| signed_record(&identity(n), 1, 0)).collect(),
            alive: 7,
            participating: 7,
            synced: true,
            last: true,
        }
        .into(),
        Frame::PeerRequest(_) => PeerReply::Accept(Accept {
            record: signed_record(&me, 1, 1),
            adjacency: adjacency(&me, victim, 1),
            transfer: s.once_in(3).then(|| signed_record(&accomplice(s), 1, 0)),
        })
        .into(),
        Frame::Ping(f) => Pong { nonce: f.nonce }.into(),
        Frame::Summary(_) => summary(s).into(),
        Frame::Pull(f) => {
            if s.once_in(3) {
                let (batches, nonce) = (u32::from(s.byte() % 2), f.nonce);
                return Some(PullEnd { batches, refused: false, nonce }.into());
            }
            let r = f.ranges.first()?;
            let batch = answer_batch(r.publisher, r.epoch, r.from)?;
            Gossip { hops: 3, explores: false, receipt: false, pulled: true, age_ms: 0, batch }
                .into()
        }
        Frame::Confirm(f) => {
            let mark =
                |r: &Range| StreamMark { publisher: r.publisher, epoch: r.epoch, next: r.to };
            let mut streams: Vec<StreamMark> = f.streams.iter().map(mark).collect();
            streams.retain(|_| s.once_in(2));
            ConfirmReply { streams, leaving: s.once_in(3) }.into()
        }
        Frame::GetData(f) => {
            let batch = answer_batch(f.id.publisher, f.id.epoch, f.id.sequence)?;
            Data { id: f.id, batch: Some(batch), age_ms: Some(5) }.into()
        }
        // The publisher is orphaned at the remote as well, or the remote has a parent.
        Frame::Graft(f) if s.once_in(2) => {
            Graft { publishers: f.publishers.clone(), have: summary_entries(s) }.into()
        }
        Frame::Graft(f) => Prune { publishers: f.publishers.clone() }.into(),
        Frame::ProbeRequest(f) => ProbeReply { subject: f.subject, verdict: verdict(s) }.into(),
        Frame::Digest(_) => Entries {
            entries: PEERS.map(|n| Entry::new(signed_record(&identity(n), 1, 0))).collect(),
            requested_buckets: vec![0, 255],
            nonce: ByteArray::from([5; 16]),
            compared: true,
            synced: true,
        }
        .into(),
        _ => return None,
    })
}

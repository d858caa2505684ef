//! Strategies for valid frames, one for every type.

use minicbor::bytes::ByteArray;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use rumormill_proto::failure::{Certificate, DeathReport, Testimony, Vote};
use rumormill_proto::record::{Presence, Record};
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::{Signed, Statement};
use rumormill_proto::wire::{
    Accept, Accusation, Ack, AckEntry, Announce, Appoint, Census, CensusBody, Close, Confirm,
    ConfirmReply, Data, Digest, Entries, Frame, GetData, Gossip, Graft, Hello, Holder, Leave,
    LostPeer, MembershipUpdate, Neighbourhood, PeerList, PeerReply, PeerRequest, PeerRequestKind,
    Permit, Ping, Pong, Position, PositionAck, ProbeReply, ProbeRequest, Prune, Pull, PullEnd,
    Range, Redirect, Register, RegisterAck, RegisterReject, Reject, Report, SeedName, StreamMark,
    Summary, SummaryEntry, Testify, Verdict, Votes,
};
use rumormill_proto::{
    Address, Batch, CloseReason, Identity, MessageId, Name, PeerId, RefuseReason, Role,
    SignedRecord,
};

use super::statements;

/// Numbers, often at an edge where arithmetic overflows.
pub fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        4 => 0u64..300,
        2 => any::<u64>(),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        1 => Just(1u64 << 32),
    ]
}

fn identity() -> impl Strategy<Value = Identity> + Clone {
    (1u8..9).prop_map(statements::identity)
}

fn peer_id() -> impl Strategy<Value = PeerId> + Clone {
    prop_oneof![identity().prop_map(|i| i.id()), any::<[u8; 32]>().prop_map(PeerId::from_bytes),]
}

fn address() -> impl Strategy<Value = Address> + Clone {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| Address((ip, port).into())),
        any::<([u8; 16], u16)>().prop_map(|(ip, port)| Address((ip, port).into())),
    ]
}

fn name() -> impl Strategy<Value = Name> + Clone {
    prop_oneof![
        "[a-z]{1,12}-[0-9]{1,3}".prop_map(|s| Name::new(s).unwrap()),
        Just(Name::new("北京 7").unwrap()),
        Just(Name::new("x".repeat(64)).unwrap()),
    ]
}

pub fn record() -> impl Strategy<Value = SignedRecord> + Clone {
    let presence = prop_oneof![Just(Presence::Alive), Just(Presence::Left)];
    let processes = (number(), option::of(number()));
    let numbers = (number(), number(), 0u16..=2048, 0u16..=1024, (processes, any::<bool>()));
    (identity(), name(), vec(address(), 0..=4), presence, numbers).prop_map(
        |(owner, name, addresses, presence, numbers)| {
            let (incarnation, sequence, degree, target, ((process, other_process), participates)) =
                numbers;
            let r = Record {
                id: owner.id(),
                name,
                addresses,
                incarnation,
                sequence,
                presence,
                degree,
                target,
                process,
                other_process,
                participates,
            };
            Signed::sign(r, &owner)
        },
    )
}

pub fn batch() -> impl Strategy<Value = Batch> + Clone {
    let payload = prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => vec(any::<u8>(), 5000..5001)];
    let messages = vec((number(), "[ -~]{0,128}", payload), 1..5);
    let numbers = (number(), number().prop_map(|n| n.min(u64::MAX - 9)));
    (identity(), numbers, messages).prop_map(|(publisher, (epoch, sequence), messages)| {
        let first = MessageId { publisher: publisher.id(), epoch, sequence };
        let count = u32::try_from(messages.len()).unwrap();
        let messages: Vec<(u64, &str, &[u8])> =
            messages.iter().map(|(after, t, p)| (*after, t.as_str(), p.as_slice())).collect();
        // Some batches are the first of their stream, and name the stream before it.
        let sequence = if epoch % 4 == 3 { 0 } else { sequence };
        let first = MessageId { sequence, ..first };
        let previous = (epoch % 4 == 3).then_some((epoch / 2, epoch / 3));
        let content = statements::content(&messages);
        let body = statements::body_after(&first, previous, count, &content);
        if sequence % 2 == 1 {
            // One of two batches under one signature.
            let [one, _] = statements::group_wire(&publisher, [&body, b"another"]);
            return Batch::from_wire(one.into()).unwrap();
        }
        let wire = statements::sign_as(statements::BATCH, &body, &publisher);
        Batch::from_wire(wire.into()).unwrap()
    })
}

fn gossip() -> impl Strategy<Value = Gossip> {
    (batch(), any::<(u16, bool, bool, bool, u32)>()).prop_map(
        |(batch, (hops, explores, receipt, pulled, age_ms))| Gossip {
            hops,
            explores,
            receipt,
            pulled,
            age_ms,
            batch,
        },
    )
}

fn data() -> impl Strategy<Value = Data> {
    (message_id(), option::of(batch()), option::of(any::<u32>()))
        .prop_map(|(id, batch, age_ms)| Data { id, batch, age_ms })
}

fn tokens() -> impl Strategy<Value = Vec<u64>> + Clone {
    vec(any::<u64>(), 0..6)
}

fn census() -> impl Strategy<Value = Census> {
    (identity(), number(), number(), number(), any::<bool>()).prop_map(
        |(publisher, epoch, round, until, wants_names)| {
            let id = publisher.id();
            let body = CensusBody { publisher: id, epoch, round, until, wants_names };
            Census { body: Signed::sign(body, &publisher) }
        },
    )
}

fn ack() -> impl Strategy<Value = Ack> {
    let names = (any::<u64>(), number()).prop_map(|(token, held)| Holder { token, held });
    let names = proptest::option::of(vec(names, 0..4));
    let counts = any::<(u32, u32, u64)>();
    let entry = (peer_id(), number(), [number(), number(), number()], counts, names).prop_map(
        |(publisher, epoch, [paced, long_paced, held], (lagging_peers, peers, sum), holders)| {
            AckEntry {
                publisher,
                epoch,
                paced,
                lagging_peers,
                long_paced,
                held,
                peers,
                sum,
                holders,
            }
        },
    );
    (vec(entry, 0..6), any::<bool>()).prop_map(|(entries, congested)| Ack { entries, congested })
}

fn report() -> impl Strategy<Value = Signed<DeathReport>> + Clone {
    (1u8..9, 1u8..8, number()).prop_map(|(reporter, step, incarnation)| {
        // A report about its own reporter is malformed.
        let subject = (reporter - 1 + step) % 8 + 1;
        let [reporter, subject] = [reporter, subject].map(statements::identity);
        statements::report(&reporter, &subject, incarnation)
    })
}

/// A seed, a witness and a subject, as identity numbers.
fn three_numbers() -> impl Strategy<Value = [u8; 3]> + Clone {
    (1u8..9, 1u8..9, 1u8..8)
        .prop_map(|(seed, witness, step)| [seed, witness, (witness - 1 + step) % 8 + 1])
}

fn appoint() -> impl Strategy<Value = Appoint> {
    (three_numbers(), number(), record()).prop_map(
        |([seed, witness, subject], incarnation, record)| {
            let [seed, witness, subject] = [seed, witness, subject].map(statements::identity);
            let appointment =
                statements::appointment(&seed, witness.id(), subject.id(), incarnation);
            Appoint { appointment, record }
        },
    )
}

fn testimony() -> impl Strategy<Value = Signed<Testimony>> + Clone {
    (three_numbers(), number()).prop_map(|([seed, witness, subject], incarnation)| {
        let [seed, witness, subject] = [seed, witness, subject].map(statements::identity);
        statements::testimony(&witness, &seed, subject.id(), incarnation)
    })
}

fn vote() -> impl Strategy<Value = Signed<Vote>> + Clone {
    (identity(), peer_id(), number(), vec(peer_id(), 1..4)).prop_map(
        |(seed, subject, inc, witnesses)| statements::vote(&seed, subject, inc, witnesses),
    )
}

pub fn certificate() -> impl Strategy<Value = Certificate> + Clone {
    (vec(identity(), 1..5), peer_id(), number(), vec(peer_id(), 1..4)).prop_map(
        |(seeds, subject, incarnation, witnesses)| {
            statements::certificate(&seeds, subject, incarnation, &witnesses)
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> + Clone {
    (record(), option::of(certificate()))
        .prop_map(|(record, certificate)| Entry { record, certificate })
}

fn message_id() -> impl Strategy<Value = MessageId> + Clone {
    (peer_id(), number(), number()).prop_map(|(publisher, epoch, sequence)| MessageId {
        publisher,
        epoch,
        sequence,
    })
}

fn close_reason() -> impl Strategy<Value = CloseReason> + Clone {
    (0u8..12).prop_map(|n| minicbor::decode(&[n]).unwrap())
}

pub fn refuse_reason() -> impl Strategy<Value = RefuseReason> + Clone {
    (0u8..11).prop_map(|n| minicbor::decode(&[n]).unwrap())
}

fn request_kind() -> impl Strategy<Value = PeerRequestKind> + Clone {
    prop_oneof![
        Just(PeerRequestKind::FreeSlot),
        Just(PeerRequestKind::Overflow),
        Just(PeerRequestKind::EdgeTransfer),
        Just(PeerRequestKind::SurplusEdge),
        peer_id().prop_map(PeerRequestKind::Replacement),
        peer_id().prop_map(|give| PeerRequestKind::EdgeSwap { give }),
        peer_id().prop_map(|give| PeerRequestKind::SurplusPairing { give }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let role = prop_oneof![Just(Role::Peer), Just(Role::Seed)];
    let proof = option::of(any::<[u8; 32]>().prop_map(ByteArray::from));
    (any::<u16>(), role, option::of(address()), proof, number()).prop_map(
        |(version, role, observed, network_proof, process)| Hello {
            version,
            role,
            observed,
            network_proof,
            process,
        },
    )
}

fn registered() -> impl Strategy<Value = RegisterAck> {
    let seed =
        ("[a-z]{1,9}:[0-9]{1,5}", peer_id()).prop_map(|(host_port, id)| SeedName { host_port, id });
    (number(), number(), any::<(u32, [u8; 16], bool)>(), vec(seed, 0..5)).prop_map(
        |(incarnation, sequence, (alive, nonce, synced), seeds)| {
            let nonce = ByteArray::from(nonce);
            let participating = alive / 2;
            RegisterAck { incarnation, sequence, alive, nonce, seeds, synced, participating }
        },
    )
}

fn register_refused() -> impl Strategy<Value = RegisterReject> {
    (refuse_reason(), option::of(record()), option::of(certificate()), any::<[u8; 16]>()).prop_map(
        |(reason, record, certificate, nonce)| {
            let nonce = ByteArray::from(nonce);
            RegisterReject { reason, record, certificate, nonce }
        },
    )
}

fn peer_list() -> impl Strategy<Value = PeerList> {
    (vec(record(), 0..5), any::<(u32, bool, bool)>()).prop_map(
        |(records, (alive, synced, last))| {
            let participating = alive / 2;
            PeerList { records, alive, synced, last, participating }
        },
    )
}

fn members_changed() -> impl Strategy<Value = MembershipUpdate> {
    (vec(record(), 0..4), vec(record(), 0..4), vec(certificate(), 0..3), any::<u32>()).prop_map(
        |(joined, left, dead, alive)| {
            let participating = alive / 2;
            MembershipUpdate { joined, left, dead, alive, participating }
        },
    )
}

fn peer_request() -> impl Strategy<Value = PeerRequest> {
    (record(), request_kind(), vec(peer_id(), 0..9), (identity(), peer_id(), number())).prop_map(
        |(record, kind, neighbours, (subject, neighbour, incarnation))| {
            let adjacency = statements::adjacency(&subject, neighbour, incarnation);
            PeerRequest { record, kind, neighbours, adjacency }
        },
    )
}

fn peer_reply() -> impl Strategy<Value = PeerReply> {
    let accept = (record(), identity(), peer_id(), number(), option::of(record())).prop_map(
        |(record, subject, neighbour, incarnation, transfer)| {
            let adjacency = statements::adjacency(&subject, neighbour, incarnation);
            PeerReply::Accept(Accept { record, adjacency, transfer })
        },
    );
    let reject =
        (refuse_reason(), record(), option::of(record())).prop_map(|(reason, record, transfer)| {
            PeerReply::Reject(Reject { reason, record, transfer })
        });
    prop_oneof![accept, reject]
}

fn neighbourhood() -> impl Strategy<Value = Neighbourhood> {
    (vec((peer_id(), address()), 0..9), any::<(u16, u16)>()).prop_map(
        |(neighbours, (degree, target))| Neighbourhood {
            neighbours: neighbours.into(),
            degree,
            target,
        },
    )
}

/// Marks of streams, ascending.
fn marks() -> impl Strategy<Value = Vec<StreamMark>> {
    btree_map((peer_id(), number()), number(), 0..9).prop_map(|marks| {
        let mark = |((publisher, epoch), next)| StreamMark { publisher, epoch, next };
        marks.into_iter().map(mark).collect()
    })
}

/// Ranges of streams, ascending.
fn one_range_per_stream() -> impl Strategy<Value = Vec<Range>> {
    btree_map((peer_id(), number()), (0u64..1000, 1u64..1000), 0..9).prop_map(|ranges| {
        let range = |((publisher, epoch), (from, count))| Range {
            publisher,
            epoch,
            from,
            to: from + count,
        };
        ranges.into_iter().map(range).collect()
    })
}

/// Ascending gaps, and the number after the highest received one.
fn gaps() -> impl Strategy<Value = (Vec<(u64, u64)>, u64)> {
    vec(1u64..1000, 1..13).prop_map(|steps| {
        let mut ends: Vec<u64> = steps
            .iter()
            .scan(0, |at, s| {
                *at += s;
                Some(*at)
            })
            .collect();
        let next = ends.pop().unwrap_or(0);
        (ends.chunks_exact(2).map(|c| (c[0], c[1])).collect(), next)
    })
}

/// Entries of a Summary, ascending by publisher.
fn summary_entries() -> impl Strategy<Value = Vec<SummaryEntry>> {
    let entry = (peer_id(), number(), gaps(), any::<Index>()).prop_map(
        |(publisher, epoch, (gaps, next), oldest_retained)| {
            let highest = gaps.first().map_or(next, |g| g.0);
            let oldest_retained =
                oldest_retained.index(usize::try_from(highest).unwrap() + 1) as u64;
            SummaryEntry { publisher, epoch, next, gaps, oldest_retained }
        },
    );
    vec(entry, 0..6).prop_map(|mut entries| {
        entries.sort_by_key(SummaryEntry::stream);
        entries.dedup_by_key(|e| e.stream());
        entries
    })
}

fn summary() -> impl Strategy<Value = Summary> {
    (any::<u64>(), option::of(summary_entries()))
        .prop_map(|(hash, entries)| Summary { hash, entries })
}

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    let range = (peer_id(), number(), number(), number()).prop_map(|(publisher, inc, a, b)| {
        let from = a.min(b).min(u64::MAX - 1);
        Range { publisher, epoch: inc, from, to: a.max(b).max(from + 1) }
    });
    vec(range, 0..6)
}

fn probe_reply() -> impl Strategy<Value = ProbeReply> {
    let verdict = prop_oneof![Just(Verdict::Alive), Just(Verdict::Silent), Just(Verdict::Unknown)];
    (peer_id(), verdict).prop_map(|(subject, verdict)| ProbeReply { subject, verdict })
}

fn accused() -> impl Strategy<Value = Accusation> {
    (number(), option::of(certificate()))
        .prop_map(|(incarnation, certificate)| Accusation { incarnation, certificate })
}

fn entries() -> impl Strategy<Value = Entries> {
    (vec(entry(), 0..4), vec(any::<u8>(), 0..9), any::<([u8; 16], bool, bool)>()).prop_map(
        |(entries, requested_buckets, (nonce, compared, synced))| Entries {
            entries,
            requested_buckets,
            nonce: ByteArray::from(nonce),
            compared,
            synced,
        },
    )
}

fn digest() -> impl Strategy<Value = Digest> {
    (vec(any::<u64>(), 256), any::<([u8; 16], bool)>()).prop_map(|(buckets, (nonce, synced))| {
        Digest { buckets, nonce: ByteArray::from(nonce), synced }
    })
}

fn boxed<T: Into<Frame> + std::fmt::Debug + 'static>(
    s: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Frame> {
    s.prop_map(Into::into).boxed()
}

/// The strategy of every frame type, by its number.
pub fn all() -> Vec<(u16, BoxedStrategy<Frame>)> {
    let number = number();
    vec![
        (0, boxed(hello())),
        (1, boxed(close_reason().prop_map(|reason| Close { reason }))),
        (2, boxed(number.clone().prop_map(|nonce| Ping { nonce }))),
        (3, boxed(number.clone().prop_map(|nonce| Pong { nonce }))),
        (4, boxed(number.clone().prop_map(|bytes| Position { bytes }))),
        (5, boxed(number.clone().prop_map(|bytes| PositionAck { bytes }))),
        (10, boxed(record().prop_map(|record| Register { record }))),
        (11, boxed(registered())),
        (12, boxed(register_refused())),
        (13, Just(Frame::GetPeerList).boxed()),
        (14, boxed(peer_list())),
        (15, boxed(members_changed())),
        (16, boxed(record().prop_map(|record| Leave { record }))),
        (20, boxed(peer_request())),
        (21, boxed(peer_reply())),
        (22, boxed(peer_id().prop_map(|peer| Permit { peer }))),
        (
            23,
            boxed((record(), peer_id()).prop_map(|(to, in_place_of)| Redirect { to, in_place_of })),
        ),
        (24, boxed(neighbourhood())),
        (30, boxed(gossip())),
        (31, boxed(message_id().prop_map(|id| GetData { id }))),
        (32, boxed(data())),
        (
            33,
            boxed(
                (tokens(), summary_entries())
                    .prop_map(|(publishers, have)| Graft { publishers, have }),
            ),
        ),
        (34, boxed(tokens().prop_map(|publishers| Prune { publishers }))),
        (35, boxed(ranges().prop_map(|ranges| Announce { ranges }))),
        (36, boxed(ack())),
        (37, boxed(census())),
        (40, boxed(summary())),
        (41, boxed((ranges(), any::<u64>()).prop_map(|(ranges, nonce)| Pull { ranges, nonce }))),
        (
            42,
            boxed(any::<(u32, bool, u64)>().prop_map(|(batches, refused, nonce)| PullEnd {
                batches,
                refused,
                nonce,
            })),
        ),
        (43, boxed(one_range_per_stream().prop_map(|streams| Confirm { streams }))),
        (
            44,
            boxed(
                (marks(), any::<bool>())
                    .prop_map(|(streams, leaving)| ConfirmReply { streams, leaving }),
            ),
        ),
        (
            50,
            boxed(
                (peer_id(), number)
                    .prop_map(|(subject, incarnation)| ProbeRequest { subject, incarnation }),
            ),
        ),
        (51, boxed(probe_reply())),
        (52, boxed(report().prop_map(|report| Report { report }))),
        (53, boxed(accused())),
        (54, boxed(appoint())),
        (55, boxed(testimony().prop_map(|testimony| Testify { testimony }))),
        (
            60,
            boxed(
                (
                    vec(report(), 0..4),
                    option::of(vote()),
                    vec(testimony(), 0..4),
                    option::of(peer_id()),
                    option::of((peer_id(), any::<u64>())),
                )
                    .prop_map(|(reports, vote, testimonies, withdrawn, lost)| {
                        Votes {
                            reports,
                            vote,
                            testimonies,
                            withdrawn,
                            lost: lost
                                .map(|(subject, incarnation)| LostPeer { subject, incarnation }),
                        }
                    }),
            ),
        ),
        (61, boxed(entries())),
        (62, boxed(digest())),
    ]
}

/// A valid frame of any type.
pub fn any_frame() -> BoxedStrategy<Frame> {
    proptest::strategy::Union::new(all().into_iter().map(|(_, s)| s)).boxed()
}

/// Every signed statement in a frame, as the bytes of its body and of its signature.
pub fn signed_parts(frame: &Frame) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Parts::default();
    match frame {
        Frame::Register(f) => out.one(&f.record),
        Frame::Leave(f) => out.one(&f.record),
        Frame::RegisterReject(f) => {
            out.all(&f.record);
            out.certificates(&f.certificate);
        }
        Frame::PeerList(f) => out.all(&f.records),
        Frame::MembershipUpdate(f) => {
            out.all(f.joined.iter().chain(&f.left));
            out.certificates(&f.dead);
        }
        Frame::PeerRequest(f) => {
            out.one(&f.record);
            out.one(&f.adjacency);
        }
        Frame::PeerReply(f) => match &**f {
            PeerReply::Accept(a) => {
                out.one(&a.adjacency);
                out.all([&a.record].into_iter().chain(&a.transfer));
            }
            PeerReply::Reject(r) => out.all([&r.record].into_iter().chain(&r.transfer)),
        },
        Frame::Redirect(f) => out.one(&f.to),
        Frame::Gossip(f) => out.batches([&f.batch]),
        Frame::Data(f) => out.batches(&f.batch),
        Frame::Census(f) => out.one(&f.body),
        Frame::Report(f) => {
            out.one(&f.report);
            out.one(&f.report.adjacency);
        }
        Frame::Accusation(f) => out.certificates(&f.certificate),
        Frame::Votes(f) => {
            out.all(&f.reports);
            out.all(f.reports.iter().map(|r| &r.adjacency));
            out.all(&f.vote);
            out.testimonies(&f.testimonies);
        }
        Frame::Appoint(f) => {
            out.one(&f.appointment);
            out.one(&f.record);
        }
        Frame::Testify(f) => out.testimonies([&f.testimony]),
        Frame::Entries(f) => {
            out.all(f.entries.iter().map(|e| &e.record));
            out.certificates(f.entries.iter().filter_map(|e| e.certificate.as_ref()));
        }
        _ => {}
    }
    out.0
}

#[derive(Default)]
struct Parts(Vec<(Vec<u8>, Vec<u8>)>);

impl Parts {
    fn one<T: Statement>(&mut self, s: &Signed<T>) {
        self.0.push((s.body_bytes().to_vec(), s.signature().as_bytes().to_vec()));
    }

    fn all<'a, T: Statement + 'a>(&mut self, list: impl IntoIterator<Item = &'a Signed<T>>) {
        list.into_iter().for_each(|s| self.one(s));
    }

    fn batches<'a>(&mut self, list: impl IntoIterator<Item = &'a Batch>) {
        for b in list {
            let body: &minicbor::bytes::ByteSlice =
                minicbor::Decoder::new(&b.wire()[1..]).decode().unwrap();
            self.0.push((body.to_vec(), b.signature().as_bytes().to_vec()));
        }
    }

    fn testimonies<'a>(&mut self, list: impl IntoIterator<Item = &'a Signed<Testimony>>) {
        for t in list {
            self.one(t);
            self.one(&t.appointment);
        }
    }

    fn certificates<'a>(&mut self, list: impl IntoIterator<Item = &'a Certificate>) {
        list.into_iter().for_each(|c| self.all(c.votes()));
    }
}

//! The limits of a decoded frame, written a second time and independently of the decoder, so that a
//! limit that is removed there fails a test.

use rumormill_proto::failure::{Certificate, DeathReport, Testimony, Vote};
use rumormill_proto::limits::{
    MAX_ACK_STREAMS, MAX_ADDRESSES, MAX_BATCH, MAX_BATCH_MESSAGES, MAX_GAPS, MAX_GRAFT_PUBLISHERS,
    MAX_HOST_PORT, MAX_NAME, MAX_NEIGHBOURHOOD, MAX_PAYLOAD, MAX_PULL_RANGES,
    MAX_RECORDS_PER_FRAME, MAX_REPORTS, MAX_REQUEST_NEIGHBOURS, MAX_SEEDS, MAX_SUMMARY_STREAMS,
    MAX_TARGET, MAX_TOPIC,
};
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{Frame, PeerReply, Range, SummaryEntry};
use rumormill_proto::{Batch, SignedRecord};

fn at_most(n: usize, limit: usize, what: &str) {
    assert!(n <= limit, "{n} {what}, at most {limit} are allowed");
}

fn record(r: &SignedRecord) {
    at_most(r.name.as_str().len(), MAX_NAME, "bytes in a name");
    at_most(r.addresses.len(), MAX_ADDRESSES, "addresses");
    at_most(usize::from(r.target), usize::from(MAX_TARGET), "target");
    at_most(usize::from(r.degree), 2 * usize::from(MAX_TARGET), "degree");
}

fn batch(b: &Batch) {
    at_most(b.len(), MAX_BATCH_MESSAGES, "messages in a batch");
    assert!(b.len() > 0 && b.end() > b.first() && b.end() < u64::MAX);
    let mut bytes = 0;
    let mut next = b.first();
    for m in b.messages() {
        at_most(m.payload().len(), MAX_PAYLOAD, "bytes in a payload");
        at_most(m.topic().len(), MAX_TOPIC, "bytes in a topic");
        assert_eq!((m.id().publisher, m.id().epoch), (b.publisher(), b.epoch()));
        assert_eq!(m.id().sequence, next);
        assert_eq!(b.message(next).as_ref(), Some(&m));
        next += 1;
        bytes += m.payload().len() + m.topic().len();
    }
    assert_eq!(next, b.end(), "a batch has as many messages as it says");
    assert_eq!((b.message(next), b.message(u64::MAX)), (None, None));
    assert!(b.len() == 1 || bytes <= MAX_BATCH, "{bytes} bytes in {} messages", b.len());
}

fn entries(entries: &[SummaryEntry]) {
    at_most(entries.len(), MAX_SUMMARY_STREAMS, "publishers");
    assert!(entries.is_sorted_by(|a, b| a.stream() < b.stream()), "publishers ascend");
    for e in entries {
        at_most(e.gaps.len(), MAX_GAPS, "gaps");
        let ends: Vec<u64> = e.gaps.iter().flat_map(|g| [g.0, g.1]).collect();
        assert!(ends.is_sorted_by(|a, b| a < b), "gaps ascend and do not touch");
        assert!(ends.last().is_none_or(|&end| end < e.next));
        assert!(
            ends.first().is_none_or(|&start| start >= e.oldest_retained)
                && e.oldest_retained <= e.next
        );
    }
}

fn ranges(ranges: &[Range]) {
    at_most(ranges.len(), MAX_PULL_RANGES, "ranges");
    assert!(ranges.iter().all(|r| r.from < r.to));
}

fn vote(v: &Signed<Vote>) {
    at_most(v.witnesses.len(), MAX_REPORTS, "witnesses");
    assert!(!v.witnesses.is_empty());
    assert!(v.witnesses.is_sorted_by(|a, b| a < b));
}

fn report(r: &Signed<DeathReport>) {
    assert_eq!((r.adjacency.subject, r.adjacency.neighbour), (r.subject, r.reporter));
    assert!(r.adjacency.incarnation <= r.incarnation && r.subject != r.reporter);
}

fn testimony(t: &Signed<Testimony>) {
    assert_eq!(t.appointment.witness, t.witness);
    assert_ne!(t.appointment.subject, t.witness);
}

fn certificate(c: &Certificate) {
    // The verifier checks the number of votes in a certificate.
    c.votes().iter().for_each(vote);
}

fn entry(e: &Entry) {
    record(&e.record);
    e.certificate.iter().for_each(certificate);
}

/// Panics if a decoded frame exceeds a limit.
pub fn assert_within(frame: &Frame) {
    match frame {
        Frame::Register(f) => record(&f.record),
        Frame::Leave(f) => record(&f.record),
        Frame::RegisterAck(f) => {
            at_most(f.seeds.len(), MAX_SEEDS, "seeds");
            f.seeds.iter().for_each(|s| at_most(s.host_port.len(), MAX_HOST_PORT, "bytes"));
        }
        Frame::RegisterReject(f) => {
            f.record.iter().for_each(record);
            f.certificate.iter().for_each(certificate);
        }
        Frame::PeerList(f) => {
            at_most(f.records.len(), MAX_RECORDS_PER_FRAME, "records");
            f.records.iter().for_each(record);
        }
        Frame::MembershipUpdate(f) => {
            at_most(f.joined.len(), MAX_RECORDS_PER_FRAME, "joined");
            at_most(f.left.len(), MAX_RECORDS_PER_FRAME, "left");
            at_most(f.dead.len(), MAX_RECORDS_PER_FRAME, "dead");
            f.joined.iter().chain(&f.left).for_each(record);
            f.dead.iter().for_each(certificate);
        }
        Frame::PeerRequest(f) => {
            record(&f.record);
            at_most(f.neighbours.len(), MAX_REQUEST_NEIGHBOURS, "neighbours");
        }
        Frame::PeerReply(f) => match &**f {
            PeerReply::Accept(a) => [Some(&a.record), a.transfer.as_ref()],
            PeerReply::Reject(r) => [Some(&r.record), r.transfer.as_ref()],
        }
        .into_iter()
        .flatten()
        .for_each(record),
        Frame::Redirect(f) => record(&f.to),
        Frame::Neighbourhood(f) => at_most(f.neighbours.len(), MAX_NEIGHBOURHOOD, "neighbours"),
        Frame::Gossip(f) => batch(&f.batch),
        Frame::Data(f) => f.batch.iter().for_each(batch),
        Frame::Graft(f) => {
            at_most(f.publishers.len(), MAX_GRAFT_PUBLISHERS, "publishers named");
            entries(&f.have);
        }
        Frame::Prune(f) => at_most(f.publishers.len(), MAX_GRAFT_PUBLISHERS, "publishers named"),
        Frame::Announce(f) => ranges(&f.ranges),
        Frame::Ack(f) => at_most(f.entries.len(), MAX_ACK_STREAMS, "acknowledgements"),
        Frame::Summary(f) => entries(f.entries.as_deref().unwrap_or_default()),
        Frame::Pull(f) => ranges(&f.ranges),
        Frame::Report(f) => report(&f.report),
        Frame::Accusation(f) => f.certificate.iter().for_each(certificate),
        Frame::Appoint(f) => record(&f.record),
        Frame::Testify(f) => testimony(&f.testimony),
        Frame::Votes(f) => {
            at_most(f.reports.len(), MAX_REPORTS, "reports");
            at_most(f.testimonies.len(), MAX_REPORTS, "testimonies");
            f.reports.iter().for_each(report);
            f.testimonies.iter().for_each(testimony);
            f.vote.iter().for_each(vote);
        }
        Frame::Entries(f) => {
            at_most(f.entries.len(), MAX_RECORDS_PER_FRAME, "entries");
            at_most(f.requested_buckets.len(), 256, "buckets");
            f.entries.iter().for_each(entry);
        }
        Frame::Digest(f) => assert_eq!(f.buckets.len(), 256),
        _ => {}
    }
}

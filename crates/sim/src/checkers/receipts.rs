//! G3: delivery receipts are correct.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::snapshot::PeerSnapshot;
use rumormill_proto::{MessageId, Time};

use super::Violation;
use crate::ledger::{GapReport, ReceiptUpdate};
use crate::node::NodeId;
use crate::observation::Observation;

/// How long after its request a receipt may be open in an undisturbed network: three censuses and
/// some network delay.
const COMPLETION_LIMIT: Duration = Duration::from_secs(15);

/// Finds receipts that count more members as holders than have the message. A complete receipt
/// counts all members; a receipt that names missing members counts all others.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let mut gaps: BTreeMap<NodeId, Vec<&GapReport>> = BTreeMap::new();
    for g in &observation.ledger.gaps {
        gaps.entry(g.node).or_default().push(g);
    }
    observation.ledger.receipts.iter().flat_map(|r| check_receipt(observation, r, &gaps)).collect()
}

fn check_receipt(
    observation: &Observation,
    update: &ReceiptUpdate,
    gaps: &BTreeMap<NodeId, Vec<&GapReport>>,
) -> Vec<Violation> {
    let r = &update.receipt;
    let mut found = Vec::new();
    let mut violation = |what: String, nodes: Vec<NodeId>| {
        let what = format!("receipt of {} at {}, at {}: {what}", r.id, update.node, update.at);
        found.push(Violation::new("G3", what).about(nodes));
    };
    let missing = r.missing();
    if r.held > r.live || (r.complete && r.held < r.live) {
        violation(format!("held {}, live {}, complete {}", r.held, r.live, r.complete), vec![]);
    }
    if missing.as_ref().is_some_and(|m| m.len() != (r.live.saturating_sub(r.held)) as usize) {
        violation(format!("held {} of {}, missing {missing:?}", r.held, r.live), vec![]);
    }
    let has_gap = |n: NodeId| gaps.get(&n).is_some_and(|g| g.iter().any(|g| g.covers(&r.id)));
    let lacks = |n: &NodeId| !update.holders.contains(n) && !has_gap(*n);
    let lacking: Vec<NodeId> = update.owed.iter().copied().filter(lacks).collect();
    let Some(missing) = missing.or_else(|| r.complete.then(Vec::new)) else {
        // The publisher may have learned of some members only after the receipt was counted.
        let all = (r.live as usize).max(update.owed.len() + 1);
        if lacking.len() + r.held as usize > all {
            let what = format!("held {} of {}, but {} lack it", r.held, r.live, lacking.len());
            violation(what, lacking);
        }
        return found;
    };
    let uncounted: Vec<NodeId> = lacking
        .into_iter()
        .filter(|n| !observation.nodes.iter().any(|o| o.node == *n && missing.contains(&o.id)))
        .collect();
    if !uncounted.is_empty() {
        let names: Vec<String> = uncounted.iter().map(ToString::to_string).collect();
        violation(format!("{} lack it and are not named as missing", names.join(", ")), uncounted);
    }
    found
}

/// Finds receipts that stay open: at rest all live members hold every message, so every receipt
/// completes.
#[must_use]
pub fn open_receipts(observation: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<MessageId, (&ReceiptUpdate, Time)> = BTreeMap::new();
    for update in &observation.ledger.receipts {
        last.entry(update.receipt.id).or_insert((update, update.at)).0 = update;
    }
    let mut found = Vec::new();
    for (id, (update, since)) in last {
        // A new process does not wait for receipts of the process before it.
        let same_epoch = |p: &PeerSnapshot| p.epoch == id.epoch;
        let is_waiting = observation.live_peers().any(|n| {
            n.node == update.node
                && n.started_at <= since
                && n.peer.as_ref().is_some_and(same_epoch)
        });
        let is_late = observation.now.since(since) >= COMPLETION_LIMIT + observation.settle;
        if is_waiting && is_late && !update.receipt.complete {
            let r = &update.receipt;
            let counts = format!("held {} of {}, missing {:?}", r.held, r.live, r.missing());
            let what =
                format!("receipt of {id} at {} is open since {since}: {counts}", update.node);
            found.push(Violation::new("G3", what).about([update.node]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rumormill_proto::Name;
    use rumormill_proto::snapshot::{MemberState, MissingMember, Receipt};

    use super::*;
    use crate::checkers::planted;

    /// The valid observation with a receipt of the message of n3, which all three peers hold.
    fn with_receipt(missing: Option<&[u32]>) -> Observation {
        let mut observation = planted::valid();
        let id = observation.ledger.publications[0].id;
        let nodes = [3, 4, 5].map(NodeId).to_vec();
        let member = |n: &u32| MissingMember {
            id: observation.nodes[*n as usize].id,
            name: Name::new("p").unwrap(),
            state: MemberState::Alive,
            suspected_since: None,
        };
        let missing = missing.map(|m| m.iter().map(member).collect::<Arc<[_]>>());
        let held = 3 - missing.as_ref().map_or(0, |m| m.len() as u32);
        let complete = held == 3;
        let receipt = Receipt { id, held, live: 3, complete, missing, departed: Vec::new() };
        let (at, node) = (observation.ledger.publications[0].at, NodeId(3));
        let (holders, live, owed) = (nodes.clone(), nodes.clone(), nodes[1..].to_vec());
        observation.ledger.receipts.push(ReceiptUpdate { at, node, receipt, holders, live, owed });
        observation
    }

    #[test]
    fn correct_receipts_pass() {
        assert_eq!(check(&with_receipt(Some(&[]))), []);
        assert_eq!(check(&with_receipt(Some(&[4, 5]))), []);
    }

    #[test]
    fn receipt_that_counts_a_peer_without_the_message_is_found() {
        for missing in [Some(&[] as &[u32]), Some(&[4])] {
            let mut observation = with_receipt(missing);
            observation.ledger.receipts[0].holders.pop();
            let found = check(&observation);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].what.contains("n5"), "{found:?}");
        }
    }

    #[test]
    fn unnamed_receipt_with_too_high_a_count_is_found() {
        let mut observation = with_receipt(Some(&[5]));
        let receipt = &mut observation.ledger.receipts[0];
        (receipt.receipt.missing, receipt.holders) = (None, vec![NodeId(3), NodeId(4)]);
        assert_eq!(check(&observation), []);
        observation.ledger.receipts[0].holders.pop();
        assert_eq!(check(&observation).len(), 1, "held 2 of 3, and two lack it");
    }

    #[test]
    fn missing_member_that_lacks_the_message_passes() {
        let mut observation = with_receipt(Some(&[5]));
        observation.ledger.receipts[0].holders.pop();
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn member_that_reported_a_gap_need_not_hold_the_message() {
        let mut observation = with_receipt(Some(&[]));
        observation.ledger.receipts[0].holders.pop();
        planted::gap(&mut observation, 5, 0, 1);
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn contradictory_counts_are_found() {
        let mut observation = with_receipt(Some(&[4]));
        observation.ledger.receipts[0].receipt.held = 3;
        assert!(!check(&observation).is_empty());
        let mut observation = with_receipt(Some(&[4]));
        observation.ledger.receipts[0].receipt.complete = true;
        assert!(!check(&observation).is_empty());
    }

    #[test]
    fn receipt_that_stays_open_is_found() {
        let mut observation = with_receipt(Some(&[4]));
        assert_eq!(open_receipts(&observation).len(), 1);
        observation.nodes[3].started_at = observation.now;
        assert_eq!(
            open_receipts(&observation),
            [],
            "the new process does not wait for earlier receipts"
        );
        assert_eq!(open_receipts(&with_receipt(Some(&[]))), []);
    }
}

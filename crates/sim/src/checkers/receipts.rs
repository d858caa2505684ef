//! G3: delivery receipts tell the truth.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::snapshot::PeerSnapshot;
use rumormill_proto::{MessageId, Time};

use super::Violation;
use crate::ledger::{GapTold, ReceiptTold};
use crate::node::NodeId;
use crate::observation::Observation;

/// How long after it was asked for a receipt may be open that nothing stands in the way of: three
/// censuses, and some way.
const CENSUSES: Duration = Duration::from_secs(15);

/// No receipt counts more members as holders than have the message: a complete one counts all, and one that
/// names missing members counts all others.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let mut gaps: BTreeMap<NodeId, Vec<&GapTold>> = BTreeMap::new();
    for g in &seen.ledger.gaps {
        gaps.entry(g.node).or_default().push(g);
    }
    seen.ledger.receipts.iter().flat_map(|told| judge(seen, told, &gaps)).collect()
}

fn judge(
    seen: &Observation,
    told: &ReceiptTold,
    gaps: &BTreeMap<NodeId, Vec<&GapTold>>,
) -> Vec<Violation> {
    let r = &told.receipt;
    let mut found = Vec::new();
    let mut violation = |what: String, nodes: Vec<NodeId>| {
        let what = format!("receipt of {} at {}, told at {}: {what}", r.id, told.node, told.at);
        found.push(Violation::new("G3", what).about(nodes));
    };
    let missing = r.missing();
    if r.held > r.live || (r.complete && r.held < r.live) {
        violation(format!("held {}, live {}, complete {}", r.held, r.live, r.complete), vec![]);
    }
    if missing.as_ref().is_some_and(|m| m.len() != (r.live.saturating_sub(r.held)) as usize) {
        violation(format!("held {} of {}, missing {missing:?}", r.held, r.live), vec![]);
    }
    let given_up = |n: NodeId| gaps.get(&n).is_some_and(|g| g.iter().any(|g| g.covers(&r.id)));
    let lacks = |n: &NodeId| !told.holders.contains(n) && !given_up(*n);
    let lacking: Vec<NodeId> = told.owed.iter().copied().filter(lacks).collect();
    let Some(missing) = missing.or_else(|| r.complete.then(Vec::new)) else {
        // Some may have become known only after it was counted.
        let all = (r.live as usize).max(told.owed.len() + 1);
        if lacking.len() + r.held as usize > all {
            let what = format!("held {} of {}, and {} lack it", r.held, r.live, lacking.len());
            violation(what, lacking);
        }
        return found;
    };
    let uncounted: Vec<NodeId> = lacking
        .into_iter()
        .filter(|n| !seen.nodes.iter().any(|o| o.node == *n && missing.contains(&o.id)))
        .collect();
    if !uncounted.is_empty() {
        let names: Vec<String> = uncounted.iter().map(ToString::to_string).collect();
        violation(format!("{} lack it and are not missing", names.join(", ")), uncounted);
    }
    found
}

/// At rest no receipt is open for long: all live members hold what was published.
#[must_use]
pub fn settled(seen: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<MessageId, (&ReceiptTold, Time)> = BTreeMap::new();
    for told in &seen.ledger.receipts {
        last.entry(told.receipt.id).or_insert((told, told.at)).0 = told;
    }
    let mut found = Vec::new();
    for (id, (told, since)) in last {
        // A process that was started again waits for nothing of before.
        let is_present = |p: &PeerSnapshot| p.epoch == id.epoch;
        let waits = seen.live_peers().any(|n| {
            n.node == told.node && n.life_since <= since && n.peer.as_ref().is_some_and(is_present)
        });
        let is_late = seen.now.since(since) >= CENSUSES + seen.settle;
        if waits && is_late && !told.receipt.complete {
            let r = &told.receipt;
            let counts = format!("held {} of {}, missing {:?}", r.held, r.live, r.missing());
            let what = format!("receipt of {id} at {} is open since {since}: {counts}", told.node);
            found.push(Violation::new("G3", what).about([told.node]));
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

    /// All three peers of the sound world hold the message of n3.
    fn told(missing: Option<&[u32]>) -> Observation {
        let mut seen = planted::sound();
        let id = seen.ledger.publications[0].id;
        let nodes = [3, 4, 5].map(NodeId).to_vec();
        let member = |n: &u32| MissingMember {
            id: seen.nodes[*n as usize].id,
            name: Name::new("p").unwrap(),
            state: MemberState::Alive,
            suspected_since: None,
        };
        let missing = missing.map(|m| m.iter().map(member).collect::<Arc<[_]>>());
        let held = 3 - missing.as_ref().map_or(0, |m| m.len() as u32);
        let complete = held == 3;
        let receipt = Receipt { id, held, live: 3, complete, missing, departed: Vec::new() };
        let (at, node) = (seen.ledger.publications[0].at, NodeId(3));
        let (holders, live, owed) = (nodes.clone(), nodes.clone(), nodes[1..].to_vec());
        seen.ledger.receipts.push(ReceiptTold { at, node, receipt, holders, live, owed });
        seen
    }

    #[test]
    fn true_receipts_are_accepted() {
        assert_eq!(check(&told(Some(&[]))), []);
        assert_eq!(check(&told(Some(&[4, 5]))), []);
    }

    #[test]
    fn complete_receipt_without_a_holder_is_found() {
        for missing in [Some(&[] as &[u32]), Some(&[4])] {
            let mut seen = told(missing);
            seen.ledger.receipts[0].holders.pop();
            let found = check(&seen);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].what.contains("n5"), "{found:?}");
        }
    }

    #[test]
    fn receipt_that_counts_one_too_many_is_found() {
        let mut seen = told(Some(&[5]));
        let receipt = &mut seen.ledger.receipts[0];
        (receipt.receipt.missing, receipt.holders) = (None, vec![NodeId(3), NodeId(4)]);
        assert_eq!(check(&seen), []);
        seen.ledger.receipts[0].holders.pop();
        assert_eq!(check(&seen).len(), 1, "held 2 of 3, and two lack it");
    }

    #[test]
    fn missing_member_that_lacks_the_message_is_accepted() {
        let mut seen = told(Some(&[5]));
        seen.ledger.receipts[0].holders.pop();
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn member_that_was_told_a_gap_is_not_owed_the_message() {
        let mut seen = told(Some(&[]));
        seen.ledger.receipts[0].holders.pop();
        planted::gap(&mut seen, 5, 0, 1);
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn counts_that_contradict_each_other_are_found() {
        let mut seen = told(Some(&[4]));
        seen.ledger.receipts[0].receipt.held = 3;
        assert!(!check(&seen).is_empty());
        let mut seen = told(Some(&[4]));
        seen.ledger.receipts[0].receipt.complete = true;
        assert!(!check(&seen).is_empty());
    }

    #[test]
    fn receipt_that_stays_open_is_found() {
        let mut seen = told(Some(&[4]));
        assert_eq!(settled(&seen).len(), 1);
        seen.nodes[3].life_since = seen.now;
        assert_eq!(settled(&seen), [], "its process waits for nothing of before");
        assert_eq!(settled(&told(Some(&[]))), []);
    }
}

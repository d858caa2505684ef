//! The last beacon of a tree, and who brought it.

use core::time::Duration;

use super::near::Near;
use crate::signed::Signed;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::BeaconBody;

/// Beacons missed after which a root is taken to be gone.
const MISSED: u32 = 3;

/// Beacons of one root that come faster are not followed.
pub(super) const SHORTEST_ROUND: Duration = Duration::from_millis(50);
/// How long after the last change of root an older beacon may still be on its way somewhere.
pub(super) const UNDERWAY: Duration = Duration::from_secs(20);
/// What the way over one link counts for in the age of a beacon, at least (InfTransDelay of OSPF, RFC
/// 2328, section 9.3).
pub(super) const TRANSIT: Duration = Duration::from_millis(10);
/// How often in a round a peer says that it has lost the way, or found one. On lines that are minutes
/// behind, both come when things have changed, and make others say more: without a bound they fill the
/// lines for ever.
pub(super) const MOST_LOST: u8 = 3;
/// Answers in a round to those who tell of another root, for each neighbour.
pub(super) const ANSWERS: usize = 4;
/// Roots remembered after they were given up.
pub(super) const PAST_ROOTS: usize = 16;

/// The last beacon.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) body: Signed<BeaconBody>,
    /// Links between the root and this peer, as this peer told others.
    pub(super) depth: u16,
    pub(super) heard: Time,
    /// When the root counts as gone without further word.
    pub(super) expires: Time,
    /// Who brought it first.
    pub(super) first: Option<Near>,
    /// Who brought it, and how far from the root they are.
    pub(super) offers: VecMap<Near, u16>,
    /// When the first one becomes the parent, if the present one has not brought it by then.
    pub(super) settle_at: Option<Time>,
    /// The root is known to be dead or to have left.
    pub(super) gone: bool,
    /// How often the way to the root was lost since.
    pub(super) lost: u8,
    /// How often somebody was told of it who told of another root.
    pub(super) answers: u16,
}

impl Round {
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        !self.gone && now < self.expires
    }

    /// How old its beacon is.
    pub(super) fn age(&self, now: Time) -> Duration {
        lifetime(&self.body).saturating_sub(self.expires.since(now))
    }
}

/// How long a beacon counts, from its root on.
pub(super) fn lifetime(b: &BeaconBody) -> Duration {
    Duration::from_millis(u64::from(b.interval_ms)) * MISSED
}

/// Whether a beacon is young enough to hear of a tree by it. Those who know the tree remember it for
/// longer: nobody forgets a tree and then hears of it again.
pub(super) fn is_news(b: &BeaconBody, age: Duration) -> bool {
    age < Duration::from_millis(u64::from(b.interval_ms)) * (MISSED - 1)
}

/// Which of two beacons of one root is newer.
pub(super) fn order(b: &BeaconBody) -> (u64, u64) {
    (b.incarnation, b.sequence)
}

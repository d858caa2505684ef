//! Healing after a death: the neighbours of a dead peer pair up among themselves.
//!
//! All of them know the same list (the dead peer sent it while it was alive) and order it by the
//! same hash, so they agree on the pairs without messages, and each of them regains the degree that
//! it lost.

use crate::identity::PeerId;
use crate::record::Address;

/// The peer to ask for an edge after the death of `dead`, if this peer is the one of its pair that
/// asks.
pub(crate) fn partner(
    me: PeerId,
    dead: PeerId,
    neighbourhood: &[(PeerId, Address)],
) -> Option<(PeerId, Address)> {
    let mut order: Vec<([u8; 32], (PeerId, Address))> = neighbourhood
        .iter()
        .filter(|(id, _)| *id != dead)
        .map(|n| {
            let mut h = blake3::Hasher::new();
            h.update(b"rumor/1 heal\0").update(dead.as_bytes()).update(n.0.as_bytes());
            (*h.finalize().as_bytes(), *n)
        })
        .collect();
    order.sort_unstable();
    order.dedup_by_key(|(_, (id, _))| *id);
    let mine = order.iter().position(|(_, (id, _))| *id == me)?;
    // The even position of a pair asks, the odd one is asked.
    if mine % 2 == 0 { order.get(mine + 1).map(|(_, n)| *n) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn each_neighbour_is_in_at_most_one_pair_and_one_end_asks() {
        for n in 0..9u8 {
            let neighbourhood: Vec<(PeerId, Address)> = (0..n)
                .map(|i| (id(i), Address(([127, 0, 0, 1], 1000 + u16::from(i)).into())))
                .collect();
            let pairs: Vec<(PeerId, PeerId)> = neighbourhood
                .iter()
                .filter_map(|(me, _)| partner(*me, id(99), &neighbourhood).map(|(p, _)| (*me, p)))
                .collect();
            assert_eq!(pairs.len(), usize::from(n / 2));
            let mut all: Vec<PeerId> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 2 * pairs.len());
        }
    }

    #[test]
    fn peer_outside_the_list_asks_for_no_edge() {
        let neighbourhood = [(id(1), Address(([127, 0, 0, 1], 1).into()))];
        assert_eq!(partner(id(7), id(99), &neighbourhood), None);
    }
}

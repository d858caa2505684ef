//! Numbers for neighbours, used in the trees.
//!
//! Each tree has sets of neighbours, and a key takes 256 times as much memory as a bit.

use crate::identity::PeerId;

/// The number of a neighbour in [`NeighbourIndex`]. It is reused after the neighbour is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeighbourSlot(u16);

/// A set of neighbours, as bits: nearly all peers have fewer than 64.
#[derive(Debug, Clone, Default)]
pub(super) struct SlotSet {
    low: u64,
    /// The words from slot 64 on.
    #[expect(
        clippy::box_collection,
        reason = "there are three for each publisher, nearly all of them empty"
    )]
    high: Option<Box<Vec<u64>>>,
}

impl SlotSet {
    fn word_and_bit(slot: NeighbourSlot) -> (usize, u64) {
        (usize::from(slot.0 / 64), 1 << (slot.0 % 64))
    }

    pub(super) fn insert(&mut self, slot: NeighbourSlot) {
        match Self::word_and_bit(slot) {
            (0, bit) => self.low |= bit,
            (word, bit) => {
                let high = self.high.get_or_insert_default();
                high.resize(high.len().max(word), 0);
                if let Some(w) = high.get_mut(word - 1) {
                    *w |= bit;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, slot: NeighbourSlot) {
        match Self::word_and_bit(slot) {
            (0, bit) => self.low &= !bit,
            (word, bit) => {
                if let Some(w) = self.high.as_mut().and_then(|h| h.get_mut(word - 1)) {
                    *w &= !bit;
                }
            }
        }
    }

    pub(super) fn contains(&self, slot: NeighbourSlot) -> bool {
        match Self::word_and_bit(slot) {
            (0, bit) => self.low & bit != 0,
            (word, bit) => {
                self.high.as_ref().and_then(|h| h.get(word - 1)).is_some_and(|w| w & bit != 0)
            }
        }
    }
}

/// The numbers of all neighbours.
#[derive(Debug, Default)]
pub(super) struct NeighbourIndex(Vec<Option<PeerId>>);

impl NeighbourIndex {
    /// The slot of a neighbour. There are few neighbours, so a scan is fast enough.
    pub(super) fn find(&self, id: &PeerId) -> Option<NeighbourSlot> {
        let at = self.0.iter().position(|n| n.is_some_and(|of| of == *id))?;
        u16::try_from(at).ok().map(NeighbourSlot)
    }

    pub(super) fn id(&self, slot: NeighbourSlot) -> Option<PeerId> {
        self.0.get(usize::from(slot.0)).copied().flatten()
    }

    /// The slots of all neighbours, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = NeighbourSlot> {
        let numbered = (0..=u16::MAX).map(NeighbourSlot).zip(&self.0);
        numbered.filter(|(_, n)| n.is_some()).map(|(slot, _)| slot)
    }

    /// Adds a neighbour. `None` if all slots are taken.
    pub(super) fn insert(&mut self, id: PeerId) -> Option<NeighbourSlot> {
        let place = self.find(&id).map(|slot| usize::from(slot.0));
        let place = place.or_else(|| self.0.iter().position(Option::is_none));
        let place = place.unwrap_or(self.0.len());
        let slot = u16::try_from(place).ok().map(NeighbourSlot)?;
        match self.0.get_mut(place) {
            Some(n) => *n = Some(id),
            None => {
                self.0.reserve_exact(self.0.len() / 4 + 1);
                self.0.push(Some(id));
            }
        }
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: NeighbourSlot) {
        if let Some(n) = self.0.get_mut(usize::from(slot.0)) {
            *n = None;
        }
        while self.0.last().is_some_and(Option::is_none) {
            self.0.pop();
        }
    }
}

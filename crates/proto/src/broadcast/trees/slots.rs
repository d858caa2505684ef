//! Numbers for neighbours, used in the trees.
//!
//! Each tree has sets of neighbours, and a key takes 256 times as much memory as a bit.

use crate::identity::PeerId;

/// The number of a neighbour in [`NeighbourIndex`]. It is reused after the neighbour is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeighbourSlot(u16);

impl NeighbourSlot {
    /// The word of a [`SlotSet`] with its bit.
    fn word(self) -> usize {
        usize::from(self.0 / 64)
    }

    const fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }
}

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
    /// The word with the bit of a slot, if there is one.
    fn word_mut(&mut self, slot: NeighbourSlot) -> Option<&mut u64> {
        match slot.word() {
            0 => Some(&mut self.low),
            word => self.high.as_mut()?.get_mut(word - 1),
        }
    }

    pub(super) fn insert(&mut self, slot: NeighbourSlot) {
        if slot.word() > 0 {
            let high = self.high.get_or_insert_default();
            high.resize(high.len().max(slot.word()), 0);
        }
        if let Some(word) = self.word_mut(slot) {
            *word |= slot.bit();
        }
    }

    pub(super) fn remove(&mut self, slot: NeighbourSlot) {
        if let Some(word) = self.word_mut(slot) {
            *word &= !slot.bit();
        }
    }

    pub(super) fn contains(&self, slot: NeighbourSlot) -> bool {
        let word = match slot.word() {
            0 => self.low,
            word => self.high.as_ref().and_then(|h| h.get(word - 1)).copied().unwrap_or_default(),
        };
        word & slot.bit() != 0
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

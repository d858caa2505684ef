//! The neighbours as the trees know them: by small numbers.
//!
//! Each tree has a set of neighbours, and a key takes 256 times as much memory as a bit.

use crate::identity::PeerId;

/// A neighbour, by its place in [`Nearby`]. When it is gone another one may get its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near(u16);

/// Some neighbours, as bits: nearly all peers have fewer than 64.
#[derive(Debug, Clone, Default)]
pub(super) struct NearSet {
    low: u64,
    /// From 64 on.
    #[expect(
        clippy::box_collection,
        reason = "there are three for each publisher, nearly all of them empty"
    )]
    high: Option<Box<Vec<u64>>>,
}

impl NearSet {
    fn place(near: Near) -> (usize, u64) {
        (usize::from(near.0 / 64), 1 << (near.0 % 64))
    }

    pub(super) fn insert(&mut self, near: Near) {
        match Self::place(near) {
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

    pub(super) fn remove(&mut self, near: Near) {
        match Self::place(near) {
            (0, bit) => self.low &= !bit,
            (word, bit) => {
                if let Some(w) = self.high.as_mut().and_then(|h| h.get_mut(word - 1)) {
                    *w &= !bit;
                }
            }
        }
    }

    pub(super) fn contains(&self, near: Near) -> bool {
        match Self::place(near) {
            (0, bit) => self.low & bit != 0,
            (word, bit) => {
                self.high.as_ref().and_then(|h| h.get(word - 1)).is_some_and(|w| w & bit != 0)
            }
        }
    }
}

/// All neighbours.
#[derive(Debug, Default)]
pub(super) struct Nearby(Vec<Option<PeerId>>);

impl Nearby {
    /// The number of a neighbour. There are few: they are looked through.
    pub(super) fn find(&self, id: &PeerId) -> Option<Near> {
        let at = self.0.iter().position(|n| n.is_some_and(|of| of == *id))?;
        u16::try_from(at).ok().map(Near)
    }

    pub(super) fn id(&self, near: Near) -> Option<PeerId> {
        self.0.get(usize::from(near.0)).copied().flatten()
    }

    /// All of them, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = Near> {
        let numbered = (0..=u16::MAX).map(Near).zip(&self.0);
        numbered.filter(|(_, n)| n.is_some()).map(|(near, _)| near)
    }

    /// Adds a neighbour. `None` if there are as many as numbers.
    pub(super) fn insert(&mut self, id: PeerId) -> Option<Near> {
        let place = self.find(&id).map(|near| usize::from(near.0));
        let place = place.or_else(|| self.0.iter().position(Option::is_none));
        let place = place.unwrap_or(self.0.len());
        let near = u16::try_from(place).ok().map(Near)?;
        match self.0.get_mut(place) {
            Some(n) => *n = Some(id),
            None => {
                self.0.reserve_exact(self.0.len() / 4 + 1);
                self.0.push(Some(id));
            }
        }
        Some(near)
    }

    pub(super) fn remove(&mut self, near: Near) {
        if let Some(n) = self.0.get_mut(usize::from(near.0)) {
            *n = None;
        }
        while self.0.last().is_some_and(Option::is_none) {
            self.0.pop();
        }
    }
}

//! The neighbours as the trees know them: by small numbers.
//!
//! Each tree has several lists of neighbours, and a key takes sixteen times as much memory as a
//! number.

use crate::identity::PeerId;

/// A neighbour, by its place in [`Nearby`]. When it is gone another one may get its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near(u16);

/// All neighbours, and whether they give signs of life.
#[derive(Debug, Default)]
pub(super) struct Nearby(Vec<Option<(PeerId, bool)>>);

impl Nearby {
    /// The number of a neighbour. There are few, and one look is at eight bytes.
    pub(super) fn find(&self, id: &PeerId) -> Option<Near> {
        let at = self.0.iter().position(|n| n.is_some_and(|(of, _)| of == *id))?;
        u16::try_from(at).ok().map(Near)
    }

    pub(super) fn id(&self, near: Near) -> Option<PeerId> {
        self.0.get(usize::from(near.0)).copied().flatten().map(|(id, _)| id)
    }

    pub(super) fn is_lively(&self, near: Near) -> bool {
        self.0.get(usize::from(near.0)).copied().flatten().is_some_and(|(_, lively)| lively)
    }

    /// All of them, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = Near> {
        let numbered = (0..=u16::MAX).map(Near).zip(&self.0);
        numbered.filter(|(_, n)| n.is_some()).map(|(near, _)| near)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.0.iter().flatten().map(|(id, _)| *id)
    }

    /// Adds a neighbour, or changes whether it is lively. `None` if there are as many as numbers.
    pub(super) fn set(&mut self, id: PeerId, lively: bool) -> Option<Near> {
        let place = self.find(&id).map(|near| usize::from(near.0));
        let place = place.or_else(|| self.0.iter().position(Option::is_none));
        let place = place.unwrap_or(self.0.len());
        let near = u16::try_from(place).ok().map(Near)?;
        match self.0.get_mut(place) {
            Some(n) => *n = Some((id, lively)),
            None => {
                self.0.reserve_exact(self.0.len() / 4 + 1);
                self.0.push(Some((id, lively)));
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

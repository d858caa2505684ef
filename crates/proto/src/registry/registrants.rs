//! The peers whose registration arrived on a link that is up.

use std::collections::BTreeMap;

use crate::identity::PeerId;
use crate::io::LinkId;
use crate::random::RngStream;

/// The registrants, in an order that allows drawing some of them.
#[derive(Debug, Default)]
pub(crate) struct Registrants {
    places: BTreeMap<PeerId, usize>,
    all: Vec<(PeerId, LinkId)>,
}

impl Registrants {
    /// The link on which a peer is registered.
    pub(crate) fn get(&self, id: &PeerId) -> Option<LinkId> {
        self.all.get(*self.places.get(id)?).map(|(_, link)| *link)
    }

    /// Records the link of a peer. Returns the previous one.
    pub(crate) fn insert(&mut self, id: PeerId, link: LinkId) -> Option<LinkId> {
        if let Some((_, old)) = self.places.get(&id).and_then(|&at| self.all.get_mut(at)) {
            return Some(core::mem::replace(old, link));
        }
        self.places.insert(id, self.all.len());
        self.all.push((id, link));
        None
    }

    pub(crate) fn remove(&mut self, id: &PeerId) -> Option<LinkId> {
        let at = self.places.remove(id).filter(|at| *at < self.all.len())?;
        let (_, link) = self.all.swap_remove(at);
        if let Some((moved, _)) = self.all.get(at) {
            self.places.insert(*moved, at);
        }
        Some(link)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(PeerId, LinkId)> {
        self.all.iter()
    }

    /// Up to `n` distinct ones of them, each with the same chance.
    pub(crate) fn sample(
        &self,
        n: usize,
        rng: &mut RngStream,
    ) -> impl Iterator<Item = &(PeerId, LinkId)> {
        rng.distinct(self.all.len(), n).into_iter().filter_map(|at| self.all.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_a_removed_registrant_is_reused() {
        let id = |n| PeerId::from_bytes([n; 32]);
        let mut r = Registrants::default();
        for n in 0..5 {
            assert_eq!(r.insert(id(n), LinkId(u64::from(n))), None);
        }
        assert_eq!(r.insert(id(1), LinkId(10)), Some(LinkId(1)));
        assert_eq!(r.remove(&id(0)), Some(LinkId(0)));
        assert_eq!(r.remove(&id(4)), Some(LinkId(4)));
        assert_eq!(r.remove(&id(4)), None);
        let links = [0, 1, 2, 3, 4].map(|n| r.get(&id(n)).map(|l| l.0));
        assert_eq!(links, [None, Some(10), Some(2), Some(3), None]);
        assert_eq!((r.len(), r.iter().count()), (3, 3));
        let mut rng = RngStream::new(&[1; 32], "t");
        assert_eq!(r.sample(9, &mut rng).count(), 3);
    }
}

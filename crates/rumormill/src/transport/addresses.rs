//! The number of inbound connections from each address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Inbound connections by address. An IPv6 host can choose from a whole /64, so a /64 counts as one
/// address.
#[derive(Debug)]
pub(crate) struct AddressLimits {
    counts: Mutex<BTreeMap<IpAddr, usize>>,
    max: usize,
    loopback_exempt: bool,
}

/// The slot of one connection; freed when dropped.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    of: Option<(Arc<AddressLimits>, IpAddr)>,
}

fn address_group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl AddressLimits {
    pub(crate) const fn new(max: usize, loopback_exempt: bool) -> Self {
        AddressLimits { counts: Mutex::new(BTreeMap::new()), max, loopback_exempt }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a connection from `ip`, if one is free.
    pub(crate) fn acquire(self: &Arc<Self>, ip: IpAddr) -> Option<AddressSlot> {
        if self.loopback_exempt && ip.to_canonical().is_loopback() {
            return Some(AddressSlot { of: None });
        }
        let group = address_group(ip);
        let mut counts = self.lock();
        let count = counts.entry(group).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(AddressSlot { of: Some((self.clone(), group)) })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let Some((addresses, group)) = self.of.take() else { return };
        let mut counts = addresses.lock();
        if let Some(count) = counts.get_mut(&group) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_per_address_and_freed_on_drop() {
        let a = Arc::new(AddressLimits::new(2, true));
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let (first, _second) = (a.acquire(ip).unwrap(), a.acquire(mapped).unwrap());
        assert!(a.acquire(ip).is_none());
        assert!(a.acquire("192.0.2.2".parse().unwrap()).is_some());
        drop(first);
        assert!(a.acquire(ip).is_some());
        assert_eq!(a.lock().len(), 1, "an address without connections is removed");
    }

    #[test]
    fn ipv6_prefix_counts_as_one_address_and_loopback_is_exempt() {
        let a = Arc::new(AddressLimits::new(1, true));
        let _one = a.acquire("2001:db8::1".parse().unwrap()).unwrap();
        assert!(a.acquire("2001:db8::2".parse().unwrap()).is_none());
        assert!(a.acquire("2001:db8:0:1::1".parse().unwrap()).is_some());
        let all: Vec<_> = (0..10).map(|_| a.acquire("127.0.0.1".parse().unwrap())).collect();
        assert!(all.iter().all(Option::is_some));
    }
}

//! The record in which a peer describes itself, signed by itself.

use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::Serialize;

use crate::identity::PeerId;
use crate::limits::{MAX_ADDRESSES, MAX_TARGET};
use crate::name::Name;
use crate::signed::{Signed, Statement};

/// An address that can be dialled. On the wire: 6 bytes (IPv4 and port) or 18 (IPv6 and port).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Address(pub SocketAddr);

impl Address {
    /// Whether it is a loopback address, so that only processes of the same host reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }

    /// Whether the IP address is unspecified: `0.0.0.0` or `::`.
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        self.0.ip().is_unspecified()
    }
}

/// An address in half of the memory if it is an IPv4 one: every link has two.
#[derive(Debug, Clone)]
pub(crate) enum CompactAddress {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl From<SocketAddr> for CompactAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => CompactAddress::V4(v4),
            SocketAddr::V6(v6) => CompactAddress::V6(Box::new(v6)),
        }
    }
}

impl CompactAddress {
    pub(crate) fn get(&self) -> Address {
        Address(match self {
            CompactAddress::V4(v4) => SocketAddr::V4(*v4),
            CompactAddress::V6(v6) => SocketAddr::V6(**v6),
        })
    }
}

impl<C> Encode<C> for Address {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut v = match self.0.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        v.extend_from_slice(&self.0.port().to_be_bytes());
        e.bytes(&v)?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Address {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?;
        let error = || decode::Error::message("an address has 6 or 18 bytes");
        let (ip, port) = bytes.split_at_checked(bytes.len().wrapping_sub(2)).ok_or_else(error)?;
        let ip: IpAddr = match ip.len() {
            4 => <[u8; 4]>::try_from(ip).map_err(|_| error())?.into(),
            16 => <[u8; 16]>::try_from(ip).map_err(|_| error())?.into(),
            _ => return Err(error()),
        };
        let port = u16::from_be_bytes(port.try_into().map_err(|_| error())?);
        Ok(Address(SocketAddr::new(ip, port)))
    }
}

/// Whether a peer is alive or has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is a member of the network.
    #[n(0)]
    Alive,
    /// It has left; this is its last record in this incarnation.
    #[n(1)]
    Left,
}

/// The description of a peer by itself.
///
/// Of two records of the same peer the one with the larger
/// (incarnation, presence, sequence) is the newer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Record {
    /// The peer, which must have signed the record.
    #[n(0)]
    pub id: PeerId,
    /// Its name, for people.
    #[n(1)]
    pub name: Name,
    /// The addresses it listens on, best first; at most [`MAX_ADDRESSES`].
    #[n(2)]
    pub addresses: Vec<Address>,
    /// The incarnation of the peer.
    #[n(3)]
    pub incarnation: u64,
    /// Counts the records of one incarnation.
    #[n(4)]
    pub sequence: u64,
    /// Alive or left.
    #[n(5)]
    pub presence: Presence,
    /// Its degree.
    #[n(6)]
    pub degree: u16,
    /// Its target degree.
    #[n(7)]
    pub target: u16,
    /// Whether the process has had a neighbour since it started: only such peers count for delivery
    /// receipts.
    #[n(8)]
    pub participates: bool,
    /// The number of the process that signed it: of two processes with one identity, the one that
    /// started later has the larger number.
    #[n(9)]
    pub process: u64,
    /// The number of another process with the same identity, if the signer knows of one. For a
    /// process that reads its own number here it proves that the other one runs: the same key
    /// signed it after both had started.
    #[n(10)]
    pub other_process: Option<u64>,
}

impl Statement for Record {
    const DOMAIN: &'static str = "rumor/1 record";

    fn signer(&self) -> PeerId {
        self.id
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.addresses.len() > MAX_ADDRESSES {
            return Err("too many addresses in a record");
        }
        if self.target > MAX_TARGET || self.degree > MAX_TARGET.saturating_mul(2) {
            return Err("a degree in a record is out of range");
        }
        Ok(())
    }
}

impl Record {
    /// The number of a process that started with the start number `started` (milliseconds, or one
    /// more than that of the last start): ordered by start, with 20 random bits that distinguish
    /// copies with the same start number.
    #[must_use]
    pub const fn process_number(started: u64, random: u64) -> u64 {
        const RANDOM_BITS: u32 = 20;
        const MOST: u64 = u64::MAX >> RANDOM_BITS;
        let started = if started > MOST { MOST } else { started };
        (started << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1))
    }

    /// Whether there are addresses, and all of them are loopback addresses.
    #[must_use]
    pub fn is_on_loopback(&self) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(Address::is_loopback)
    }

    /// The order of two records of the same peer.
    #[must_use]
    pub const fn version(&self) -> (u64, Presence, u64) {
        (self.incarnation, self.presence, self.sequence)
    }

    /// Number of free slots for further neighbours.
    #[must_use]
    pub const fn free_slots(&self) -> u16 {
        self.target.saturating_sub(self.degree)
    }
}

/// A record with its owner's signature.
pub type SignedRecord = Signed<Record>;

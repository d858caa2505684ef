//! The frames of the overlay: requests for edges, and what follows from them.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::event::RefuseReason;
use crate::failure::Adjacency;
use crate::identity::PeerId;
use crate::record::{Address, SignedRecord};
use crate::signed::Signed;

/// The kind of edge that a peer asks another one for (section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PeerRequestKind {
    /// An edge in a free slot.
    #[n(0)]
    FreeSlot,
    /// An edge above the target degree, because no other was found for a while.
    #[n(1)]
    Overflow,
    /// An edge, together with one of the asked peer's edges, which the requester takes over: u-v
    /// becomes u-i and i-v.
    #[n(2)]
    EdgeTransfer,
    /// One of the edges of a peer with surplus neighbours.
    #[n(3)]
    SurplusEdge,
    /// The place of the named neighbour of the asked peer, by that neighbour's permission.
    #[n(4)]
    Replacement(#[n(0)] PeerId),
    /// An edge swap: i-a and u-b become i-u and a-b.
    #[n(5)]
    EdgeSwap {
        /// The neighbour that the requester gives in exchange.
        #[n(0)]
        give: PeerId,
    },
    /// Both have a surplus neighbour: i-a and u-b become a-b.
    #[n(6)]
    SurplusPairing {
        /// The neighbour that the requester gives up.
        #[n(0)]
        give: PeerId,
    },
}

/// "Be my neighbour." (section 6.1)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerRequest {
    /// The requester.
    #[n(0)]
    pub record: SignedRecord,
    /// The kind of the request.
    #[n(1)]
    pub kind: PeerRequestKind,
    /// Its neighbours (at most 128), which are not offered to it.
    #[n(2)]
    pub neighbours: Vec<PeerId>,
    /// Its statement that the two are neighbours, valid if the answer is yes.
    #[n(3)]
    pub adjacency: Signed<Adjacency>,
}

/// Yes (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accept {
    /// The asked peer.
    #[n(0)]
    pub record: SignedRecord,
    /// Its statement that the two are neighbours.
    #[n(1)]
    pub adjacency: Signed<Adjacency>,
    /// For an edge transfer or an edge swap: the neighbour that is transferred.
    #[n(2)]
    pub transfer: Option<SignedRecord>,
}

/// No (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reject {
    /// Why.
    #[n(0)]
    pub reason: RefuseReason,
    /// The asked peer, with its present degree.
    #[n(1)]
    pub record: SignedRecord,
    /// For [`PeerRequestKind::SurplusEdge`], [`PeerRequestKind::EdgeTransfer`] and
    /// [`PeerRequestKind::SurplusPairing`]: the edge to take over, although the request is refused.
    #[n(2)]
    pub transfer: Option<SignedRecord>,
}

/// The answer to a [`PeerRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PeerReply {
    /// Yes.
    #[n(0)]
    Accept(#[n(0)] Accept),
    /// No.
    #[n(1)]
    Reject(#[n(0)] Reject),
}

/// To a neighbour: "the named peer may take my place at you" (section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Permit {
    /// The peer that may take it.
    #[n(0)]
    pub peer: PeerId,
}

/// To a neighbour: "link with this peer, in the place of that one, and close our edge" (section
/// 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redirect {
    /// The peer to link with.
    #[n(0)]
    pub to: SignedRecord,
    /// The peer whose place to ask for.
    #[n(1)]
    pub in_place_of: PeerId,
}

/// To the neighbours: my neighbours, so that they can pair up if I die, and probe me indirectly
/// (section 6.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Neighbourhood {
    /// Id and address of each, at most 256. All receivers share one list.
    #[cbor(n(0), with = "super::shared")]
    pub neighbours: Arc<[(PeerId, Address)]>,
    /// Degree of the sender (more than listed, if it has more neighbours).
    #[n(1)]
    pub degree: u16,
    /// Its target degree.
    #[n(2)]
    pub target: u16,
}

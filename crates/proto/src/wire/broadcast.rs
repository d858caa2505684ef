//! The frames that carry messages and what belongs to them (section 7 of docs/PROTOCOL.md).

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::message::{MessageId, StreamId};
use crate::signed::{Signed, Statement};

/// A batch that is spread in the network (section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// Number of links it crossed, this one included.
    pub hops: u16,
    /// Whether it goes over all links, and the first one that brings it is the parent from then on
    /// (section 7.4).
    pub explores: bool,
    /// Whether its publisher waits for a delivery receipt: acknowledgements are not gathered.
    pub receipt: bool,
    /// Whether it answers a [`Pull`]: it is announced to others rather than forwarded.
    pub pulled: bool,
    /// For how many milliseconds the batch exists, as far as the sender knows: since it arrived,
    /// plus its age then. 0 along a tree, 49 days at most.
    pub age_ms: u32,
    /// The batch, byte for byte as its publisher signed it. The last field, so that everything
    /// from here on is forwarded unchanged.
    pub batch: Batch,
}

const FLAG_EXPLORES: u8 = 1;
const FLAG_RECEIPT: u8 = 2;
const FLAG_PULLED: u8 = 4;

impl Gossip {
    /// Writes everything before the batch.
    pub(super) fn encode_head<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), encode::Error<W::Error>> {
        let all = [
            (self.explores, FLAG_EXPLORES),
            (self.receipt, FLAG_RECEIPT),
            (self.pulled, FLAG_PULLED),
        ];
        let flags = all.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag);
        let is_old = self.age_ms > 0;
        e.map(3 + u64::from(is_old))?.u8(0)?.u16(self.hops)?.u8(1)?.u8(flags)?;
        if is_old {
            e.u8(2)?.u32(self.age_ms)?;
        }
        e.u8(3)?;
        Ok(())
    }

    /// Reads the frame; `take` makes a handle on, or a copy of, the bytes of the batch.
    pub(super) fn decode_with<'b>(
        d: &mut Decoder<'b>,
        take: impl Fn(&'b [u8]) -> Bytes,
    ) -> Result<Self, decode::Error> {
        let fields = d.map()?.ok_or_else(|| decode::Error::message("a map of unknown length"))?;
        let (mut hops, mut flags, mut age_ms, mut batch) = (None, 0, 0, None);
        for _ in 0..fields {
            match d.u32()? {
                0 => hops = Some(d.u16()?),
                1 => flags = d.u8()?,
                2 => age_ms = d.u32()?,
                3 => {
                    let start = d.position();
                    d.skip()?;
                    let wire = d.input().get(start..d.position()).unwrap_or_default();
                    let read = Batch::from_wire(take(wire));
                    batch = Some(read.map_err(|e| decode::Error::message(e.to_string()))?);
                }
                _ => d.skip()?,
            }
        }
        let (Some(hops), Some(batch)) = (hops, batch) else {
            return Err(decode::Error::message("a gossip frame has hops and a batch"));
        };
        let has = |flag| flags & flag != 0;
        Ok(Gossip {
            hops,
            explores: has(FLAG_EXPLORES),
            receipt: has(FLAG_RECEIPT),
            pulled: has(FLAG_PULLED),
            age_ms,
            batch,
        })
    }
}

impl<C> Encode<C> for Gossip {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        self.encode_head(e)?;
        self.batch.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Gossip {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Gossip::decode_with(d, Bytes::copy_from_slice)
    }
}

/// "Send me that message." (section 7.3)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GetData {
    /// The message.
    #[n(0)]
    pub id: MessageId,
}

/// The answer to [`GetData`] (section 7.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Data {
    /// The message.
    #[n(0)]
    pub id: MessageId,
    /// Its batch, if the sender retains it.
    #[n(1)]
    pub batch: Option<Batch>,
    /// For how many milliseconds the batch exists, as far as the sender knows; absent without a
    /// batch.
    #[n(2)]
    pub age_ms: Option<u32>,
}

/// "Send me their batches." (section 7.4)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Graft {
    /// The publishers, by their [`ack_token`]s; at most
    /// [`MAX_GRAFT_PUBLISHERS`](crate::limits::MAX_GRAFT_PUBLISHERS).
    #[n(0)]
    pub publishers: Vec<u64>,
    /// The message list of the sender for recent publishers, ascending: it is sent what it lacks at
    /// once.
    #[n(1)]
    pub have: Vec<SummaryEntry>,
}

/// "Send me announcements of their batches only." (section 7.4)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Prune {
    /// The publishers, by their [`ack_token`]s; at most
    /// [`MAX_GRAFT_PUBLISHERS`](crate::limits::MAX_GRAFT_PUBLISHERS).
    #[n(0)]
    pub publishers: Vec<u64>,
}

/// "I have these messages." Sent on lazy links (section 7.5).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Announce {
    /// The ranges received since the last announcement.
    #[n(0)]
    pub ranges: Vec<Range>,
}

/// How far one publisher's messages have come in the subtree of the sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AckEntry {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
    /// All peers there that have not lagged for a second hold everything below this number.
    #[n(2)]
    pub paced: u64,
    /// Number of peers that have lagged.
    #[n(3)]
    pub lagging_peers: u32,
    /// All that have not lagged for ten seconds hold everything below this number: it paces the
    /// publisher if too many peers are left out of `paced`.
    #[n(4)]
    pub long_paced: u64,
    /// All peers there hold everything below this number.
    #[n(5)]
    pub held: u64,
    /// Number of these peers.
    #[n(6)]
    pub peers: u32,
    /// The sum of their [`ack_token`](crate::wire::ack_token)s, which identifies the set.
    #[n(7)]
    pub sum: u64,
    /// Names of holders in the subtree, if the publisher's last census asks for names: those not
    /// sent since that census; at most [`FULL_LIST_LIMIT`](crate::limits::FULL_LIST_LIMIT).
    #[n(8)]
    pub holders: Option<Vec<Holder>>,
}

/// The progress of one peer, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Holder {
    /// The peer's [`ack_token`](crate::wire::ack_token).
    #[n(0)]
    pub token: u64,
    /// It holds everything below this sequence number, or below the `until` of the census if that
    /// is less.
    #[n(1)]
    pub held: u64,
}

impl AckEntry {
    /// The stream of the entry.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// Acknowledgements, aggregated on their way to the publisher (section 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// One for each publisher with changed progress.
    #[n(0)]
    pub entries: Vec<AckEntry>,
    /// A queue downstream is congested: publishers cut their windows.
    #[n(1)]
    pub congested: bool,
}

/// The signed part of a [`Census`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CensusBody {
    /// The publisher, which signs.
    #[n(0)]
    pub publisher: PeerId,
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
    /// Counts the publisher's censuses in this epoch.
    #[n(2)]
    pub round: u64,
    /// The publisher waits for holders of everything below this number.
    #[n(3)]
    pub until: u64,
    /// Whether it asks for the names of holders.
    #[n(4)]
    pub wants_names: bool,
}

impl Statement for CensusBody {
    const DOMAIN: &'static str = "rumor/1 census";

    fn signer(&self) -> PeerId {
        self.publisher
    }
}

/// A publisher that waits for a receipt asks all peers on its tree to be counted: the tree may have
/// changed since the message was sent, and newcomers have the message from others (section 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Census {
    /// The signed part.
    #[n(0)]
    pub body: Signed<CensusBody>,
}

/// The summand of a peer in [`AckEntry::sum`]: the first eight bytes of its id, which is a public
/// key and as good as random.
#[must_use]
pub fn ack_token(id: &PeerId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

/// The entry of one stream in a message list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SummaryEntry {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
    /// The number after the highest one received.
    #[n(2)]
    pub next: u64,
    /// Missing ranges between `oldest_retained` and `next`: first number, and the number after the
    /// last.
    #[n(3)]
    pub gaps: Vec<(u64, u64)>,
    /// Messages below it are not available from the sender any more.
    #[n(4)]
    pub oldest_retained: u64,
}

impl SummaryEntry {
    /// The stream of the entry.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// The message list of a node (section 7.7).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// Digest of the received messages; equal digests end the comparison.
    #[n(0)]
    pub hash: u64,
    /// By publisher and incarnation, ascending. Absent in a periodic query.
    #[n(1)]
    pub entries: Option<Vec<SummaryEntry>>,
}

/// A range of one publisher's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Range {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
    /// First number.
    #[n(2)]
    pub from: u64,
    /// The number after the last one.
    #[n(3)]
    pub to: u64,
}

impl Range {
    pub(crate) const fn new(stream: StreamId, from: u64, to: u64) -> Self {
        Range { publisher: stream.publisher, epoch: stream.epoch, from, to }
    }

    /// The stream of the range.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// "Send me those." (section 7.7)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pull {
    /// What is missing, at most 1024 ranges.
    #[n(0)]
    pub ranges: Vec<Range>,
    /// The nonce that the answer repeats.
    #[n(1)]
    pub nonce: u64,
}

/// "That was my answer to your pull." It follows the last batch (section 7.7).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PullEnd {
    /// Number of batches sent. With none, the sender has no part of the ranges, or refuses.
    #[n(0)]
    pub batches: u32,
    /// Whether the pull was refused, because the link has exceeded its quota.
    #[n(1)]
    pub refused: bool,
    /// The pull that it answers.
    #[n(2)]
    pub nonce: u64,
}

/// The end of the held part of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StreamMark {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// The epoch of its stream.
    #[n(1)]
    pub epoch: u64,
    /// The sender holds everything below it.
    #[n(2)]
    pub next: u64,
}

/// "Do you hold these?" (section 7.8) It is queued behind the payload that was sent before it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Confirm {
    /// The ranges that the receiver has to hold, by stream, ascending, one range of each.
    #[n(0)]
    pub streams: Vec<Range>,
}

/// "I hold these." (section 7.8)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConfirmReply {
    /// Streams of the query, ascending, each with the end of the part that the sender holds from
    /// the beginning of the queried range on.
    #[n(0)]
    pub streams: Vec<StreamMark>,
    /// Whether the sender itself is about to leave the network.
    #[n(1)]
    pub leaving: bool,
}

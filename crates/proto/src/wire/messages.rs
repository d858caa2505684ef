//! The frames that carry messages and what belongs to them (section 7 of docs/PROTOCOL.md).

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::message::{MessageId, StreamId};
use crate::signed::{Signed, Statement};

/// A batch on its way (section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// Links it crossed, this one included.
    pub hops: u16,
    /// Whether it goes over all links, and the first one that brings it is the parent from then on
    /// (section 7.4).
    pub explores: bool,
    /// Whether its publisher waits to hear who holds it: acknowledgements are not gathered.
    pub receipt: bool,
    /// Whether it answers a [`Pull`]: it is announced to others rather than sent on.
    pub pulled: bool,
    /// For how long, in milliseconds, the sender knows that the batch exists: since it came to it, and
    /// what it was told then. 0 on the way along a tree, 49 days at most.
    pub age_ms: u32,
    /// The batch, byte for byte as its publisher signed it. The last field, so that everything
    /// from here on is forwarded as it came.
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

    /// Reads it; `take` makes a handle on, or a copy of, the bytes of the batch.
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
    /// Which.
    #[n(0)]
    pub id: MessageId,
}

/// The answer to [`GetData`] (section 7.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Data {
    /// Which.
    #[n(0)]
    pub id: MessageId,
    /// The batch it came in, if the sender holds it.
    #[n(1)]
    pub batch: Option<Batch>,
    /// For how long, in milliseconds, the sender knows that the batch exists; absent with no batch.
    #[n(2)]
    pub age_ms: Option<u32>,
}

/// "Send me their batches." (section 7.4)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Graft {
    /// Whose, by their [`ack_token`]s; at most [`MAX_GRAFTED`](crate::limits::MAX_GRAFTED).
    #[n(0)]
    pub publishers: Vec<u64>,
    /// What the sender has of those that published lately, ascending: what it lacks follows at once.
    #[n(1)]
    pub have: Vec<SummaryEntry>,
}

/// "Send me announcements of their batches only." (section 7.4)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Prune {
    /// Whose, by their [`ack_token`]s; at most [`MAX_GRAFTED`](crate::limits::MAX_GRAFTED).
    #[n(0)]
    pub publishers: Vec<u64>,
}

/// "I have these." On links that are on no tree of theirs (section 7.5).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Announce {
    /// What came since the last one.
    #[n(0)]
    pub ranges: Vec<Range>,
}

/// How far one publisher's messages have come in the part of a tree behind the sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AckEntry {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// Its epoch.
    #[n(1)]
    pub epoch: u64,
    /// All peers there that have not been behind for a second hold everything below this number.
    #[n(2)]
    pub paced: u64,
    /// How many have been.
    #[n(3)]
    pub left: u32,
    /// All that have not been behind for ten seconds hold everything below this number: it paces the
    /// publisher if too many are left out of `paced`.
    #[n(4)]
    pub patient: u64,
    /// All peers there hold everything below this number.
    #[n(5)]
    pub held: u64,
    /// How many peers they are.
    #[n(6)]
    pub peers: u32,
    /// Which ones: the sum of [`ack_token`](crate::wire::ack_token) over them.
    #[n(7)]
    pub sum: u64,
    /// Names of holders in that part, if the publisher's last census asks for names: what was not told
    /// since that census; at most [`WHOLE_LIST`](crate::limits::WHOLE_LIST).
    #[n(8)]
    pub holders: Option<Vec<Holder>>,
}

/// How far one peer is, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Holder {
    /// The peer's [`ack_token`](crate::wire::ack_token).
    #[n(0)]
    pub token: u64,
    /// It holds everything below this sequence number, or below the `until` of the census if that is
    /// less.
    #[n(1)]
    pub held: u64,
}

impl AckEntry {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// Acknowledgements, summed on their way to the publisher (section 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// One for each publisher that has news.
    #[n(0)]
    pub entries: Vec<AckEntry>,
    /// A queue behind the sender fills: publishers cut their windows.
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
    /// It waits to hear who holds everything below this number.
    #[n(3)]
    pub until: u64,
    /// Whether it asks for the names of holders.
    #[n(4)]
    pub names: bool,
}

impl Statement for CensusBody {
    const DOMAIN: &'static str = "rumor/1 census";

    fn signer(&self) -> PeerId {
        self.publisher
    }
}

/// A publisher that waits for a receipt asks everybody on its tree to be counted: the tree may have
/// changed since the message went, and newcomers have the message from others (section 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Census {
    /// What the publisher says.
    #[n(0)]
    pub body: Signed<CensusBody>,
}

/// What a peer adds to [`AckEntry::sum`]: the first eight bytes of its id, which is a public key
/// and as good as random.
#[must_use]
pub fn ack_token(id: &PeerId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

/// What one node has of one publisher.
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
    /// Missing ranges between `floor` and `next`: first, one after the last.
    #[n(3)]
    pub gaps: Vec<(u64, u64)>,
    /// What is below it cannot be had from the sender any more.
    #[n(4)]
    pub floor: u64,
}

impl SummaryEntry {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// What a node has seen (section 7.7).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// Hash over what was received; equal hashes end the comparison.
    #[n(0)]
    pub hash: u64,
    /// By publisher and incarnation, ascending. Absent in a periodic question.
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
    /// The stream that it is about.
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
    /// What the answer repeats.
    #[n(1)]
    pub nonce: u64,
}

/// "That was my answer to your pull." It follows the last batch (section 7.7).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pulled {
    /// Batches sent. With none, the sender has nothing of it, or refuses.
    #[n(0)]
    pub batches: u32,
    /// Whether nothing was looked for, because the link has asked for too much.
    #[n(1)]
    pub refused: bool,
    /// The pull that it answers.
    #[n(2)]
    pub nonce: u64,
}

/// How far one stream is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StreamMark {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// The epoch of its stream.
    #[n(1)]
    pub epoch: u64,
    /// Everything below it.
    #[n(2)]
    pub next: u64,
}

/// "Do you hold these?" (section 7.8) It travels behind the payload that was sent before it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Confirm {
    /// What the receiver is to hold, by stream, ascending, one range of each.
    #[n(0)]
    pub streams: Vec<Range>,
}

/// "I hold these." (section 7.8)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Confirmed {
    /// Streams of the question, ascending, and up to where the sender holds each from the beginning of its range on.
    #[n(0)]
    pub streams: Vec<StreamMark>,
    /// The sender is about to leave the network itself.
    #[n(1)]
    pub leaving: bool,
}

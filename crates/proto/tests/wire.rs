//! Properties of the wire format: a frame survives encoding and decoding, a decoded frame is within
//! its bounds, and no input makes the decoder panic, allocate without bound or overflow the stack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "wire/counts.rs"]
mod counts;
mod support;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use rumormill_proto::failure::{Adjacency, Vote};
use rumormill_proto::limits::MAX_FRAME;
use rumormill_proto::record::Record;
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{DecodeError, Frame, Verifier, decode, decode_shared, encode, header};
use rumormill_proto::{Batch, SignedRecord};

use support::statements::{
    cbor, frame_body, identity, record, sign_bytes, signed_record, without_prefix,
};
use support::{bounds, frames};

/// Numbers of the types whose body is one map: all except GetPeerList, which is empty, and
/// PeerReply, which is a choice.
fn map_bodies() -> impl Iterator<Item = (u16, BoxedStrategy<Frame>)> {
    frames::all().into_iter().filter(|(n, _)| ![13, 21].contains(n))
}

fn body_of(frame: &Frame) -> Bytes {
    without_prefix(&encode(frame))
}

/// Decodes the bytes, checks the bounds of the frame, and checks that the frame survives encoding
/// and decoding.
fn decode_anything(bytes: &[u8]) -> Option<Frame> {
    let shared = decode_shared(&Bytes::copy_from_slice(bytes));
    assert_eq!(decode(bytes), shared, "the two decoders differ");
    let frame = shared.ok()?;
    bounds::assert_within(&frame);
    let again = body_of(&frame);
    assert_eq!(decode(&again).as_ref(), Ok(&frame));
    let _ = Verifier::new().verify(frame.clone());
    Some(frame)
}

#[test]
fn every_type_has_a_strategy() {
    let covered: Vec<u16> = frames::all().iter().map(|(n, _)| *n).collect();
    for number in 0..=300 {
        let unknown = decode(&frame_body(number, &[0xf6])) == Ok(Frame::Unknown(number));
        assert_eq!(unknown, !covered.contains(&number), "type {number}");
    }
}

#[test]
fn frame_survives_encoding_and_decoding() {
    for (number, strategy) in frames::all() {
        proptest!(ProptestConfig::with_cases(48), |(frame in strategy)| {
            prop_assert_eq!(frame.number(), number);
            let parts = encode(&frame);
            let encoded = parts.to_bytes();
            prop_assert_eq!(encoded.len(), parts.len());
            let prefix = *encoded.first_chunk::<4>().unwrap();
            prop_assert_eq!(header(prefix, MAX_FRAME).unwrap().length, encoded.len() - 4);
            bounds::assert_within(&frame);
            let back = decode(&encoded[4..]).unwrap();
            prop_assert_eq!(encode(&back).to_bytes(), &encoded);
            let shared = decode_shared(&encoded.slice(4..));
            prop_assert_eq!(shared.as_ref(), Ok(&back));
            prop_assert_eq!(&back, &frame);
            prop_assert_eq!(Verifier::new().verify(back).unwrap().into_inner(), frame);
        });
    }
}

proptest! {
    #[test]
    fn decoder_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        decode_anything(&bytes);
        for (number, _) in frames::all() {
            decode_anything(&frame_body(number, &bytes));
        }
    }

    #[test]
    fn decoder_survives_bit_flips(frame in frames::any_frame(), flips in proptest::collection::vec(any::<(Index, u8)>(), 1..6)) {
        let mut bytes = body_of(&frame).to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << (bit % 8);
        }
        decode_anything(&bytes);
    }

    #[test]
    fn truncated_frame_is_refused(frame in frames::any_frame(), at in any::<Index>()) {
        let bytes = body_of(&frame);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn decoder_survives_splices(a in frames::any_frame(), b in frames::any_frame(), cuts in any::<[Index; 3]>()) {
        let (a, b) = (body_of(&a), body_of(&b));
        let [start, from, to] = cuts;
        let (from, to) = (from.index(b.len()), to.index(b.len()));
        let start = start.index(a.len());
        let piece = &b[from.min(to)..from.max(to)];
        decode_anything(&[&a[..start], piece, &a[start..]].concat());
        decode_anything(&[&a[..start], piece].concat());
    }

    #[test]
    fn bytes_behind_a_frame_are_refused(frame in frames::any_frame(), more in proptest::collection::vec(any::<u8>(), 1..9)) {
        let bytes = [&body_of(&frame)[..], &more].concat();
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn unknown_types_are_ignored_with_any_content(frame in frames::any_frame(), number in 100u16..) {
        let value = body_of(&frame);
        prop_assert_eq!(decode(&frame_body(number, &value)), Ok(Frame::Unknown(number)));
    }

    #[test]
    fn changed_byte_in_a_statement_invalidates_it(frame in frames::any_frame(), which in any::<Index>(), at in any::<Index>(), bit in 0u8..8) {
        let parts = frames::signed_parts(&frame);
        prop_assume!(!parts.is_empty());
        let mut bytes = body_of(&frame).to_vec();
        let (body, signature) = which.get(&parts);
        for part in [body, signature] {
            let start = bytes.windows(part.len()).position(|w| w == &part[..]).unwrap();
            let at = start + at.index(part.len());
            bytes[at] ^= 1 << bit;
            if let Ok(frame) = decode(&bytes) {
                prop_assert!(Verifier::new().verify(frame).is_err());
            }
            bytes[at] ^= 1 << bit;
        }
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }
}

#[test]
fn unknown_fields_are_ignored() {
    for (_, strategy) in map_bodies() {
        proptest!(ProptestConfig::with_cases(12), |(frame in strategy, key in 20u8..24, extra in frames::any_frame())| {
            let start = frame_body(frame.number(), &[]).len();
            let mut bytes = body_of(&frame).to_vec();
            let head = bytes[start];
            prop_assert!((0xa0..0xb0).contains(&head), "a short map");
            bytes[start] = head + 1;
            bytes.push(key);
            bytes.extend_from_slice(&body_of(&extra));
            prop_assert_eq!(decode(&bytes), Ok(frame));
        });
    }
}

/// The body of a statement with one more field, as a newer version would encode it.
fn with_an_unknown_field(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body[0] += 1;
    body.extend_from_slice(&[0x17, 0x63, b'n', b'e', b'w']);
    body
}

#[test]
fn statement_with_unknown_fields_keeps_its_bytes_and_its_signature() {
    let me = identity(1);
    let body = with_an_unknown_field(&cbor(&record(&me, 3, 4)));
    let bytes = sign_bytes::<Record>(&body, &me);
    let back = SignedRecord::from_bytes(&bytes).unwrap();
    assert_eq!((back.body(), back.body_bytes().as_ref()), (&record(&me, 3, 4), &body[..]));
    assert!(back.signature_is_valid());
    assert_eq!(back.to_bytes(), bytes, "the bytes are unchanged");
    // The bytes also survive inside of a frame.
    let frame = Frame::from(rumormill_proto::wire::Register { record: back });
    let Ok(Frame::Register(f)) = decode(&body_of(&frame)) else { panic!("no Register") };
    assert!(f.record.signature_is_valid());
    assert_eq!(f.record.to_bytes(), bytes);
}

#[test]
fn signature_is_valid_for_one_kind_of_statement_only() {
    let me = identity(1);
    let adjacency = Adjacency { subject: me.id(), neighbour: identity(2).id(), incarnation: 1 };
    let as_record = sign_bytes::<Record>(&cbor(&adjacency), &me);
    let s = Signed::<Adjacency>::from_bytes(&as_record).unwrap();
    assert!(!s.signature_is_valid());
    let proper = sign_bytes::<Adjacency>(&cbor(&adjacency), &me);
    assert!(Signed::<Adjacency>::from_bytes(&proper).unwrap().signature_is_valid());
    assert!(Signed::<Vote>::from_bytes(&proper).is_err());
    // A signature of another identity is not valid either.
    let by_another = sign_bytes::<Adjacency>(&cbor(&adjacency), &identity(2));
    assert!(!Signed::<Adjacency>::from_bytes(&by_another).unwrap().signature_is_valid());
}

#[test]
fn bytes_behind_a_signed_body_are_refused() {
    let me = identity(1);
    let mut body = cbor(&record(&me, 1, 1));
    body.push(0xf6);
    assert!(SignedRecord::from_bytes(&sign_bytes::<Record>(&body, &me)).is_err());
    let mut bytes = signed_record(&me, 1, 1).to_bytes();
    bytes[0] = 0x83;
    bytes.push(0xf6);
    assert!(SignedRecord::from_bytes(&bytes).is_err(), "a third element");
}

/// An optional field holds a record with a presence that this version does not know. The record
/// must not count as absent, and the field behind it must not get lost.
#[test]
fn unknown_presence_in_an_optional_record_is_refused() {
    let me = identity(1);
    let body = cbor(&record(&me, 1, 1));
    let presence = body.windows(2).position(|w| w == [5, 0]).unwrap() + 1;
    let mut unknown = body.clone();
    unknown[presence] = 9;
    let statement = sign_bytes::<Record>(&unknown, &me);
    let reject = |take: &[u8]| {
        let mut v = vec![0x82, 0x01, 0x81, 0xa4, 0x00, 0x00, 0x01];
        v.extend_from_slice(&signed_record(&me, 1, 1).to_bytes());
        v.push(0x02);
        v.extend_from_slice(take);
        // One more field, which is unknown.
        v.extend_from_slice(&[0x03, 0x18, 0x2a]);
        frame_body(21, &v)
    };
    assert!(decode(&reject(&sign_bytes::<Record>(&body, &me))).is_ok());
    let refused = decode(&reject(&statement)).unwrap_err().to_string();
    assert!(refused.contains("variant"), "{refused}");
}

#[test]
fn too_long_prefix_is_refused_before_reading() {
    for (length, limit) in [(MAX_FRAME + 1, MAX_FRAME), (u32::MAX as usize, MAX_FRAME), (2, 1)] {
        let prefix = u32::try_from(length).unwrap().to_be_bytes();
        assert_eq!(header(prefix, limit), Err(DecodeError::TooLong { length, limit }));
    }
    assert_eq!(header([0; 4], 0).unwrap().length, 0);
    assert!(decode(&[]).is_err(), "an empty frame");
}

/// Heads of CBOR values that announce 2^60 elements or bytes that never come.
const HUGE: [u8; 8] = [0x10, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn huge_declared_lengths_allocate_nothing() {
    for (number, _) in frames::all() {
        for major in [0x5b, 0x7b, 0x9b, 0xbb] {
            let head = [&[major][..], &HUGE].concat();
            // The head as the body, and as the value of every field of a map.
            assert!(number == 13 || decode(&frame_body(number, &head)).is_err());
            for key in 0..8 {
                let mut body = vec![0xa1, key];
                body.extend_from_slice(&head);
                assert!(decode(&frame_body(number, &body)).is_err(), "type {number}, field {key}");
            }
        }
    }
    // The head inside of a signed body.
    for major in [0x5b, 0x7b, 0x9b, 0xbb] {
        for key in 0..8 {
            let body = [&[0xa1, key, major][..], &HUGE].concat();
            assert!(SignedRecord::from_bytes(&sign_bytes::<Record>(&body, &identity(1))).is_err());
            assert!(Batch::from_wire(sign_bytes::<Record>(&body, &identity(1)).into()).is_err());
        }
    }
}

#[test]
fn deep_nesting_takes_no_stack() {
    let depth = MAX_FRAME - 16;
    // Arrays of one, maps of one, tags, and arrays and maps of indefinite length.
    for (open, close) in [
        (&[0x81][..], &[][..]),
        (&[0xa1, 0x00], &[]),
        (&[0xc1], &[]),
        (&[0x9f], &[0xff]),
        (&[0xbf, 0x00], &[0xff]),
        (&[0x82, 0x9f, 0xff, 0x9f], &[0xff]),
    ] {
        let n = depth / (open.len() + close.len());
        for closed in [true, false] {
            let mut value = open.repeat(n);
            value.push(0x00);
            if closed {
                value.extend(close.repeat(n));
            }
            let _ = decode(&frame_body(999, &value));
            let _ = decode(&frame_body(13, &value));
            for (number, _) in frames::all() {
                let _ = decode(&frame_body(number, &value));
                // The value as an unknown field.
                let body = [&[0xa1, 0x17][..], &value].concat();
                let _ = decode(&frame_body(number, &body));
            }
        }
    }
}

//! One frame's body: decode, hold against the bounds, write, read back, verify.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rumormill_proto::wire::{Verifier, decode, decode_shared, encode};

#[path = "../../crates/proto/tests/support/bounds.rs"]
mod bounds;

fuzz_target!(|body: &[u8]| {
    let shared = decode_shared(&Bytes::copy_from_slice(body));
    assert_eq!(decode(body), shared, "the two decoders differ");
    let Ok(frame) = shared else { return };
    bounds::assert_within(&frame);
    let again = encode(&frame);
    assert_eq!(decode(&again.to_bytes()[4..]).as_ref(), Ok(&frame));
    let verifier = Verifier::new();
    if let Ok(verified) = verifier.verify(frame.clone()) {
        // Once it holds, it holds; and so do the same signatures that came another way.
        assert_eq!(verifier.verify(verified.into_inner()).map(|v| v.into_inner()), Ok(frame));
    }
});

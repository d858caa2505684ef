//! The bytes of a whole connection: Hello under its own limit, then frames, as a link reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rumormill_proto::limits::{MAX_FRAME, MAX_HELLO};
use rumormill_proto::wire::{Frame, Verifier, decode, header};

fuzz_target!(|stream: &[u8]| {
    let verifier = Verifier::new();
    let mut left = stream;
    let mut limit = MAX_HELLO;
    while let Some((prefix, rest)) = left.split_first_chunk::<4>() {
        let Ok(header) = header(*prefix, limit) else { return };
        assert!(header.length <= limit);
        let Some((body, rest)) = rest.split_at_checked(header.length) else { return };
        let Ok(frame) = decode(body) else { return };
        match frame {
            Frame::Hello(_) if limit == MAX_HELLO => limit = MAX_FRAME,
            Frame::Hello(_) | Frame::Close(_) => return,
            _ if limit == MAX_HELLO => return,
            frame => {
                if verifier.verify(frame).is_err() {
                    return;
                }
            }
        }
        left = rest;
    }
});

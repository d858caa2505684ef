//! The inputs under `fuzz/seeds/` from which the fuzzers start: one of every frame type, and cases
//! that have failed. The tests here generate the former from valid frames, and replay all of them.
//!
//! `RUMORMILL_WRITE=1 cargo test -p rumormill-proto --test corpus` writes the generated inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rumormill_proto::Config;
use rumormill_proto::limits::{MAX_FRAME, MAX_HELLO};
use rumormill_proto::wire::{Frame, Verifier, decode, encode, header};

use support::rig::Rig;
use support::script::Script;
use support::statements::{frame_body, without_prefix};
use support::{bounds, frames};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

/// One frame of every type, the same ones every time.
fn examples() -> Vec<Frame> {
    let mut runner = TestRunner::deterministic();
    frames::all().into_iter().map(|(_, s)| s.new_tree(&mut runner).unwrap().current()).collect()
}

/// Frame bodies for the decoder.
fn bodies() -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = examples()
        .iter()
        .map(|f| (format!("{:02}-{}", f.number(), f.name()), without_prefix(&encode(f)).to_vec()))
        .collect();
    let huge = [0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let bad: [(&str, Vec<u8>); 6] = [
        ("bad-array-of-2-to-60", frame_body(14, &[&[0xa1, 0x00][..], &huge].concat())),
        ("bad-deep-nesting", frame_body(999, &[0x81; 2000])),
        ("bad-endless-nesting", frame_body(999, &[0x9f; 2000])),
        ("bad-trailing-byte", frame_body(2, &[0xa1, 0x00, 0x01, 0x00])),
        ("bad-no-fields", frame_body(10, &[0xa0])),
        ("ok-unknown-type", frame_body(4711, &[0xf6])),
    ];
    files.extend(bad.map(|(name, body)| (name.to_owned(), body)));
    files
}

/// Bytes of whole connections, which begin with Hello except for one.
fn connections() -> BTreeMap<String, Vec<u8>> {
    let all: Vec<_> = examples().iter().map(|f| encode(f).to_bytes()).collect();
    let hello_first = |rest: &[&[u8]]| [&[&all[0][..]], rest].concat().concat();
    let talk: Vec<&[u8]> = all.iter().skip(2).map(|b| &b[..]).collect();
    BTreeMap::from([
        ("hello-and-every-frame".to_owned(), hello_first(&talk)),
        ("hello-and-close".to_owned(), hello_first(&[&all[1][..]])),
        ("no-hello".to_owned(), all[2].to_vec()),
        ("four-gigabytes".to_owned(), hello_first(&[&[0xff; 4][..]])),
    ])
}

/// Scripts for a peer (first byte below 128) and for a seed; with bit 6 set, the node has joined
/// first.
fn scripts() -> BTreeMap<String, Vec<u8>> {
    let bytes = |start: u8, n: u32| {
        let mut state = u32::from(start) + 1;
        let more = (0..n).map(move |_| {
            // Knuth's multiplicative generator; its upper bits suffice for an input.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        std::iter::once(start).chain(more).collect::<Vec<u8>>()
    };
    [0x00, 0x40, 0x68, 0x58, 0x80, 0xc0, 0xa8]
        .map(|start| (format!("script-{start:02x}"), bytes(start, 400)))
        .into()
}

/// Reads all files of a folder, and checks that it has at least the files named. Writes these first
/// if `RUMORMILL_WRITE` is set.
fn checked(target: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder(target);
    if std::env::var_os("RUMORMILL_WRITE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for name in files.keys() {
        assert!(
            folder.join(name).exists(),
            "{target}/{name} is missing; the head of this file says how to write it"
        );
    }
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

#[test]
fn decoder_accepts_the_inputs_of_its_fuzzer() {
    let mut decoded = 0;
    for (path, body) in checked("decode_frame", &bodies()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(frame) = decode(&body) else {
            // A file that is named by a frame type, or begins with `ok-`, has to decode.
            assert!(!name.starts_with("ok-") && !name.as_bytes()[0].is_ascii_digit(), "{name}");
            continue;
        };
        decoded += 1;
        bounds::assert_within(&frame);
        assert_eq!(decode(&encode(&frame).to_bytes()[4..]).as_ref(), Ok(&frame));
        let _ = Verifier::new().verify(frame);
    }
    assert!(decoded >= frames::all().len());
}

#[test]
fn whole_connections_are_decoded() {
    for (path, stream) in checked("connection", &connections()) {
        let (mut left, mut limit, mut read) = (&stream[..], MAX_HELLO, 0);
        while let Some((prefix, rest)) = left.split_first_chunk::<4>() {
            let Ok(header) = header(*prefix, limit) else { break };
            let Some((body, rest)) = rest.split_at_checked(header.length) else { break };
            let Ok(frame) = decode(body) else { break };
            limit = MAX_FRAME;
            left = rest;
            read += 1;
            let _ = Verifier::new().verify(frame);
        }
        if path.ends_with("hello-and-every-frame") {
            assert!(read > 20, "{read} frames");
        }
    }
}

#[test]
fn state_machines_survive_the_scripts_of_their_fuzzer() {
    for (_, script) in checked("state_machine", &scripts()) {
        let mut script = Script::new(&script);
        let start = script.byte();
        let config =
            [Config::lan(), Config::classic(), Config::wan()][usize::from(start % 3)].clone();
        let config = config.build().unwrap();
        let mut rig = if start & 0x80 == 0 { Rig::peer(config) } else { Rig::seed(config) };
        if start & 0x40 != 0 {
            rig.join(start >> 3 & 7);
        }
        while !script.is_over() {
            rig.step(&mut script);
            rig.check();
        }
    }
}

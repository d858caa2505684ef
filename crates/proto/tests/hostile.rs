//! Hostile remotes with valid keys cannot make a real `Peer` or `Seed` panic, loop, send invalid
//! frames, or use links and dials against the contract of its driver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt;

use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;
use rumormill_proto::Config;

use support::rig::Rig;
use support::script::Script;

fn configs() -> impl Strategy<Value = Config> {
    prop_oneof![
        3 => Just(Config::lan().build().unwrap()),
        1 => Just(Config::classic().build().unwrap()),
        1 => Just(Config::wan().build().unwrap()),
    ]
}

/// The bytes of a script. A failure prints them in hexadecimal, because a list of numbers takes a
/// line for each, and a log keeps only its end.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes({:?})", HEXLOWER.encode(&self.0))
    }
}

fn script(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes)
}

fn run(mut rig: Rig, script: &Bytes) {
    let mut script = Script::new(&script.0);
    while !script.is_over() {
        rig.step(&mut script);
        rig.check();
    }
    // After any script the node meets its deadlines.
    for _ in 0..32 {
        rig.next_deadline();
    }
    rig.check();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn new_peer_survives_hostile_remotes(config in configs(), script in script(700)) {
        run(Rig::peer(config), &script);
    }

    #[test]
    fn joined_peer_survives_hostile_remotes(config in configs(), neighbours in 0u8..6, script in script(900)) {
        let mut rig = Rig::peer(config);
        rig.join(neighbours);
        run(rig, &script);
    }

    #[test]
    fn seed_survives_hostile_remotes(config in configs(), joined in any::<bool>(), script in script(900)) {
        let mut rig = Rig::seed(config);
        if joined {
            rig.join(0);
        }
        run(rig, &script);
    }
}

/// A neighbour's late claim that a number is in use must not move a stream of which messages were
/// sent: the node would deliver them a second time when they return.
#[test]
fn stream_does_not_move_after_a_message_was_sent() {
    let script = "6751000041004c1e014320095b5a19000000000000a000003800000900010d000000000000000000000000e1000000\
                  0000eb000000000000000000003115e56328000c1401130036001100380037376900eb0000000000000000e8c30100cc\
                  1f0173431d0000eb0000000000000002006d00451447185c00000000000050694e720400000000000000002800000000\
                  00000000000131000000780d0c70017622000bd810";
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(4);
    run(rig, &Bytes(HEXLOWER.decode(script.as_bytes()).unwrap()));
}

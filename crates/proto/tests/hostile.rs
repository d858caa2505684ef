//! What hostile remotes with valid keys can do to a real `Peer` and a real `Seed`: nothing that
//! makes it panic, loop, send what nobody takes, or use links and dials against the seam.

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

/// The bytes that choose what happens. Hexadecimal in a failure: a list of numbers takes a line
/// for each, and a log keeps only the end of it.
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
    // Whatever happened, it goes on in time.
    for _ in 0..32 {
        rig.next_deadline();
    }
    rig.check();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_peer_from_its_first_moment(config in configs(), script in script(700)) {
        run(Rig::peer(config), &script);
    }

    #[test]
    fn a_peer_that_has_joined(config in configs(), neighbours in 0u8..6, script in script(900)) {
        let mut rig = Rig::peer(config);
        rig.join(neighbours);
        run(rig, &script);
    }

    #[test]
    fn a_seed(config in configs(), joined in any::<bool>(), script in script(900)) {
        let mut rig = Rig::seed(config);
        if joined {
            rig.join(0);
        }
        run(rig, &script);
    }
}

/// A neighbour's late word that a number was used moved a stream of which messages had been sent:
/// they came again when they returned.
#[test]
fn stream_that_was_sent_stays() {
    let script = "6751000041004c1e014320095b5a19000000000000a000003800000900010d000000000000000000000000e1000000\
                  0000eb000000000000000000003115e56328000c1401130036001100380037376900eb0000000000000000e8c30100cc\
                  1f0173431d0000eb0000000000000002006d00451447185c00000000000050694e720400000000000000002800000000\
                  00000000000131000000780d0c70017622000bd810";
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(4);
    run(rig, &Bytes(HEXLOWER.decode(script.as_bytes()).unwrap()));
}

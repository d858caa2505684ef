//! What hostile remotes with valid keys can do to a real `Peer` and a real `Seed`: nothing that
//! makes it panic, loop, send what nobody takes, or use links and dials against the seam.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

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

fn run(mut rig: Rig, script: &[u8]) {
    let mut script = Script::new(script);
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
    fn a_peer_from_its_first_moment(config in configs(), script in vec(any::<u8>(), 0..700)) {
        run(Rig::peer(config), &script);
    }

    #[test]
    fn a_peer_that_has_joined(config in configs(), neighbours in 0u8..6, script in vec(any::<u8>(), 0..900)) {
        let mut rig = Rig::peer(config);
        rig.join(neighbours);
        run(rig, &script);
    }

    #[test]
    fn a_seed(config in configs(), joined in any::<bool>(), script in vec(any::<u8>(), 0..900)) {
        let mut rig = Rig::seed(config);
        if joined {
            rig.join(0);
        }
        run(rig, &script);
    }
}

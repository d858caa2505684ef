//! A real peer or seed among hostile remotes; the input is a script of their moves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rumormill_proto::Config;

mod support;

use support::rig::Rig;
use support::script::Script;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let start = script.byte();
    let config = match start % 3 {
        0 => Config::lan(),
        1 => Config::classic(),
        _ => Config::wan(),
    };
    let Ok(config) = config.build() else { return };
    let mut rig = if start & 0x80 == 0 { Rig::peer(config) } else { Rig::seed(config) };
    if start & 0x40 != 0 {
        rig.join(start >> 3 & 7);
    }
    while !script.is_over() {
        rig.step(&mut script);
        rig.check();
    }
    for _ in 0..32 {
        rig.next_deadline();
    }
    rig.check();
});

//! The checks that nodes of both roles have.

use std::collections::BTreeMap;

use rumormill_http::view::SeedLine;
use rumormill_terminal::escape;
use rumormill_units::count::counted;

use super::finding::Finding;

pub(super) fn time(counters: &BTreeMap<String, u64>) -> Finding {
    let late = of(counters, "late_wakeups");
    if late == 0 {
        return Finding::ok("processor", "the process was never delayed");
    }
    Finding::note(
        "processor",
        format!("the process was stopped or delayed {}", counted(late, "time")),
        "the host is too busy, or was suspended: other peers may have suspected the node meanwhile",
    )
}

/// Checks whether another process has the identity of this node, or (at a seed) of a peer.
pub(super) fn identity(counters: &BTreeMap<String, u64>, is_seed: bool) -> Finding {
    let copies = of(counters, "duplicate_identities");
    let advice = "a data directory was copied: give each node its own data directory; `rumor tail --events` and \
                  the log say where the other process runs";
    match (copies, is_seed) {
        (0, _) => Finding::ok("identity", "no other process was seen with this identity"),
        (n, true) => Finding::note("identity", format!("{} ran twice", counted(n, "peer")), advice),
        // The later of two processes ends, so the counted processes have ended.
        (n, false) => Finding::note(
            "identity",
            format!("{} with this identity started later, and ended", counted(n, "other process")),
            advice,
        ),
    }
}

pub(super) fn store(problem: Option<&str>, counters: &BTreeMap<String, u64>) -> Finding {
    let (failed, corrupt) = (of(counters, "store_failures"), of(counters, "store_corrupt"));
    let found = format!("writing to the data directory failed {}", counted(failed, "time"));
    if let Some(problem) = problem {
        let advice = "until writing works, a seed confirms nothing, and a peer loses the messages that it holds when \
                      it ends: check for a full or read-only disk; if the file is damaged, stop the node, move \
                      the file away and start the node again";
        Finding::wrong("store", format!("{found}: {}", escape::text(problem)), advice)
    } else if failed > 0 {
        let dropped = of(counters, "store_dropped");
        let advice = if dropped == 0 {
            "check for a disk that was full or read-only; the waiting changes are written"
                .to_owned()
        } else {
            let given_up = counted(dropped, "change");
            format!("check for a disk that was full or read-only; {given_up} had to be dropped")
        };
        Finding::note("store", format!("{found}, and works again"), advice)
    } else if corrupt > 0 {
        let found = format!("{} could not be read back", counted(corrupt, "stored value"));
        Finding::note(
            "store",
            found,
            "the disk has a fault, or the store is of an older version; the node fetches the lost data from others",
        )
    } else {
        Finding::ok("store", "no write has failed")
    }
}

pub(super) fn of(counters: &BTreeMap<String, u64>, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}

/// The finding about seeds that were reached and cannot be used; `None` without such seeds.
pub(super) fn seed_problems(seeds: &[SeedLine]) -> Option<Finding> {
    let problems: Vec<String> = seeds
        .iter()
        .filter_map(|s| {
            let problem = s.problem.as_ref()?;
            Some(format!("{}: {}", escape::text(&s.address), escape::text(problem)))
        })
        .collect();
    let advice = if problems.iter().any(|p| p.contains("same identity")) {
        "the data directory of a seed was copied, or two names lead to one seed: give each seed a data \
         directory of its own, and name it once"
    } else if problems.iter().any(|p| p.contains("loopback")) {
        "set --advertise IP:PORT to the address of this host as others see it, or --listen"
    } else {
        "correct the pin in the configuration, or give the seed its data directory back"
    };
    (!problems.is_empty()).then(|| Finding::wrong("seeds", problems.join("; "), advice))
}

/// Checks whether the node has this program's version.
pub(super) fn version(of: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if of == own {
        Finding::ok("version", own)
    } else {
        Finding::note(
            "version",
            format!("the node runs {of}, this program is {own}"),
            "restart the node with this version, or use the program that started it",
        )
    }
}

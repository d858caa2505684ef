//! The checks of a seed.

use rumormill_http::view::SeedStatus;

use super::counters::{store, time};
use super::{Finding, version};
use crate::escape;
use rumormill_units::count::counted;

pub(super) fn findings(s: &SeedStatus) -> Vec<Finding> {
    vec![
        synced(s),
        others(s),
        registry(s),
        time(&s.counters),
        store(s.store_problem.as_deref(), &s.counters),
        version(&s.version),
    ]
}

fn synced(s: &SeedStatus) -> Finding {
    if s.synced {
        return Finding::ok("registry", "it answers for the network");
    }
    Finding::wrong(
        "registry",
        "it has not compared its registry with the other seeds, and refuses to answer for the network",
        "start the other seeds, or see that this one reaches them",
    )
}

fn others(s: &SeedStatus) -> Finding {
    let away: Vec<String> =
        s.seeds.iter().filter(|o| !o.connected).map(|o| escape::text(&o.address)).collect();
    let here = s.seeds.len() - away.len();
    let found = format!("linked with {here} of {} other seeds", s.seeds.len());
    if away.is_empty() {
        return Finding::ok("seeds", found);
    }
    let found = format!("{found}; no link to {}", away.join(", "));
    let advice =
        "look whether they run, and whether their addresses in the configuration are right";
    // Itself included.
    if here + 1 >= s.seed_quorum as usize {
        Finding::note("seeds", found, advice)
    } else {
        Finding::wrong("seeds", format!("{found}: no majority is left to agree on deaths"), advice)
    }
}

fn registry(s: &SeedStatus) -> Finding {
    let found = format!(
        "{} alive, {} of them linked here, {}",
        counted(s.alive, "peer"),
        s.connected_peers,
        counted(s.cases, "open case")
    );
    if s.cases > 0 {
        let advice = "peers are accused just now; `rumor tail --events` shows how it goes on";
        Finding::note("peers", found, advice)
    } else {
        Finding::ok("peers", found)
    }
}

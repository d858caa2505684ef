//! The checks of a seed.

use std::net::SocketAddr;

use rumormill_http::view::SeedStatus;
use rumormill_launch::listen::is_loopback;
use rumormill_terminal::escape;
use rumormill_units::count::counted;

use super::finding::Finding;
use super::shared::{identity, seed_problems, store, time, version};

pub(super) fn findings(s: &SeedStatus) -> Vec<Finding> {
    vec![
        synced(s),
        others(s),
        registry(s),
        reached(s),
        identity(&s.counters, true),
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
        "start the other seeds, or check that this one reaches them",
    )
}

/// Checks whether other hosts can reach the seed.
fn reached(s: &SeedStatus) -> Finding {
    let listens = format!("it listens at {}", escape::text(&s.address));
    let is_local = s.address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    let configured = s.configured.as_deref().filter(|own| !is_loopback(own));
    let others = s.seeds.iter().map(|o| o.address.as_str());
    let remote = configured.into_iter().chain(others).find(|a| !is_loopback(a));
    match remote.filter(|_| is_local) {
        Some(named) => Finding::wrong(
            "reachability",
            format!("{listens}, which no other host can reach; the configuration names {named}"),
            "set --listen IP:PORT to an address of this host that others reach, or to [::]:PORT",
        ),
        None => Finding::ok("reachability", listens),
    }
}

fn others(s: &SeedStatus) -> Finding {
    if let Some(finding) = seed_problems(&s.seeds) {
        return finding;
    }
    let away: Vec<String> =
        s.seeds.iter().filter(|o| !o.connected).map(|o| escape::text(&o.address)).collect();
    let here = s.seeds.len() - away.len();
    let found = format!("linked with {here} of {} other seeds", s.seeds.len());
    if away.is_empty() {
        return Finding::ok("seeds", found);
    }
    let found = format!("{found}; no link to {}", away.join(", "));
    let advice = "check that they run, and that their addresses in the configuration are right";
    // The seed itself counts as well.
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
        let advice = "some peers are accused; `rumor tail --events` shows the outcome";
        Finding::note("peers", found, advice)
    } else {
        Finding::ok("peers", found)
    }
}

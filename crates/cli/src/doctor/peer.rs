//! The checks of a peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rumormill_http::view::{MessageLine, NeighbourLine, PeerStatus};

use super::finding::Finding;
use super::shared::{identity, of, seed_problems, store, time, version};
use rumormill_launch::listen::is_loopback;
use rumormill_terminal::escape;
use rumormill_units::count::counted;

/// Messages looked at for the clocks of their publishers.
pub(super) const MESSAGES: usize = 500;
/// Seconds after which a peer should have found its place.
const SETTLED_S: f64 = 60.0;
/// How far ahead a publisher's clock may be.
const CLOCK_US: u64 = 1_000_000;
/// A delay to a neighbour that is worth a word.
const SLOW_MS: f64 = 500.0;

pub(super) fn findings(
    s: &PeerStatus,
    neighbours: &[NeighbourLine],
    messages: &[MessageLine],
) -> Vec<Finding> {
    vec![
        joined(s),
        seeds(s),
        degree(s),
        reached(s, neighbours),
        members(s),
        alive(neighbours),
        clocks(messages),
        identity(&s.counters, false),
        time(&s.counters),
        losses(&s.counters),
        store(s.store_problem.as_deref(), &s.counters),
        version(&s.version),
    ]
}

fn joined(s: &PeerStatus) -> Finding {
    let (held, all, needed) = (s.registrations, s.seeds.len(), s.seed_quorum);
    let held = format!("registered at {held} of {}, {needed} needed", counted(all, "seed"));
    match s.state.as_str() {
        "joined" => Finding::ok("membership", held),
        "leaving" | "left" => {
            Finding::note("membership", "it has said goodbye", "start it again to take part")
        }
        state => Finding::wrong(
            "membership",
            format!("{}: {held}", escape::text(state)),
            "see that a majority of the seeds runs and can be reached from here; until then no death is \
             agreed on, but messages go on",
        ),
    }
}

fn seeds(s: &PeerStatus) -> Finding {
    // A registered seed may have closed an idle link to make room: it is dialled when needed.
    let away: Vec<String> = s
        .seeds
        .iter()
        .filter(|seed| !seed.connected && !seed.registered)
        .map(|seed| escape::text(&seed.address))
        .collect();
    if let Some(finding) = seed_problems(&s.seeds) {
        return finding;
    }
    let needless = s.seeds.len().saturating_sub(s.seed_quorum as usize);
    if s.seeds.is_empty() {
        Finding::note(
            "seeds",
            "no seed is configured: it is a network of its own",
            "name the seeds with --config",
        )
    } else if away.len() <= needless {
        Finding::ok("seeds", format!("{} of {} in use", s.seeds.len() - away.len(), s.seeds.len()))
    } else {
        Finding::wrong(
            "seeds",
            format!("no link to {}", away.join(", ")),
            "`rumor doctor --config FILE` tries each, and says what it finds there: nobody, another key, \
             another network",
        )
    }
}

fn degree(s: &PeerStatus) -> Finding {
    let found = format!("{} ({} wanted)", s.degree, s.target);
    let others = s.network_size.saturating_sub(1) as usize;
    let possible = usize::from(s.target).min(others);
    if s.degree == 0 && others > 0 {
        Finding::wrong(
            "neighbours",
            found,
            "it can reach nobody, or nobody can reach it: see whether peers can connect to the address that \
             it advertises, and it to theirs",
        )
    } else if s.degree * 2 < possible && s.uptime_s > SETTLED_S {
        Finding::note("neighbours", found, "if it stays so, look for a firewall between the peers")
    } else {
        Finding::ok("neighbours", found)
    }
}

/// Whether others connect to this peer.
fn reached(s: &PeerStatus, neighbours: &[NeighbourLine]) -> Finding {
    let accepted = neighbours.iter().filter(|n| !n.dialed).count();
    let addresses = s.addresses.join(", ");
    let loopback = |a: &String| a.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    let others_elsewhere = neighbours.iter().any(|n| !loopback(&n.address))
        || s.seeds.iter().any(|seed| seed.connected && !is_loopback(&seed.address));
    if s.addresses.iter().all(loopback) && others_elsewhere && s.state == "joined" {
        let found = if s.addresses.is_empty() {
            "it advertises no address, because nobody on another host has seen it".to_owned()
        } else {
            format!("it advertises {addresses}, which nobody on another host can reach")
        };
        let advice =
            "set --advertise IP:PORT to the address of this host as others see it, or --listen";
        return Finding::note("reachability", found, advice);
    }
    // By chance alone, half of the links come from outside.
    if accepted == 0 && neighbours.len() >= 5 && s.uptime_s > SETTLED_S {
        Finding::note(
            "reachability",
            format!(
                "none of its {} neighbours connected to it, though it advertises {addresses}",
                neighbours.len()
            ),
            "see that others can connect to that address: a firewall, a NAT, or --advertise with the address \
             that they see",
        )
    } else {
        let found =
            format!("{accepted} of {} connected to it", counted(neighbours.len(), "neighbour"));
        Finding::ok("reachability", found)
    }
}

fn members(s: &PeerStatus) -> Finding {
    let found = format!(
        "{} known, the seeds say {}",
        counted(s.alive, "member"),
        counted(s.network_size, "peer")
    );
    // In large networks a peer knows a part.
    if s.network_size <= 1024 && s.alive.abs_diff(s.network_size) > 1 + s.network_size / 10 {
        Finding::note(
            "members",
            found,
            "while peers come and go that is so; if it stays, look at the seeds with `rumor doctor` there",
        )
    } else {
        Finding::ok("members", found)
    }
}

fn alive(neighbours: &[NeighbourLine]) -> Finding {
    let names = |some: &mut dyn Iterator<Item = &NeighbourLine>| -> String {
        some.map(|n| escape::text(&n.name)).collect::<Vec<_>>().join(", ")
    };
    let suspects = names(&mut neighbours.iter().filter(|n| n.suspect));
    let is_slow = |n: &&NeighbourLine| n.smoothed_delay_ms.is_some_and(|d| d > SLOW_MS);
    let slow = names(&mut neighbours.iter().filter(is_slow));
    if !suspects.is_empty() {
        let advice = "they are about to be reported dead; if they run, look at the way to them";
        Finding::note("liveness", format!("no sign of life from {suspects}"), advice)
    } else if !slow.is_empty() {
        let advice = "with --preset wan such delays are expected, and detection waits for them";
        Finding::note("liveness", format!("over {SLOW_MS} ms to {slow}"), advice)
    } else {
        Finding::ok("liveness", "all neighbours answer")
    }
}

/// A message cannot have come before it was published.
fn clocks(messages: &[MessageLine]) -> Finding {
    let mut ahead: BTreeMap<&str, u64> = BTreeMap::new();
    for m in messages {
        let name = m.name.as_deref().unwrap_or(&m.publisher);
        let by = m.published_us.saturating_sub(m.received_us);
        let most = ahead.entry(name).or_default();
        *most = by.max(*most);
    }
    let off: Vec<String> = ahead
        .iter()
        .filter(|(_, by)| **by > CLOCK_US)
        .map(|(name, by)| format!("{} by {:.1} s", escape::text(name), *by as f64 / 1e6))
        .collect();
    if messages.is_empty() {
        Finding::ok("clock", "no messages to judge it by")
    } else if off.is_empty() {
        Finding::ok("clock", format!("no publisher's clock is ahead ({} heard)", ahead.len()))
    } else {
        Finding::note(
            "clock",
            format!("ahead of this host's: {}", off.join(", ")),
            "keep the clocks in step (NTP), here or there: only delays and --from TIME depend on it",
        )
    }
}

fn losses(counters: &BTreeMap<String, u64>) -> Finding {
    let missed = of(counters, "messages_missed");
    let lagged = of(counters, "subscriber_missed_events");
    if missed > 0 {
        Finding::note(
            "messages",
            format!("{} will not come", counted(missed, "message")),
            "they were lost with their publisher, or this peer was away for longer than messages are kept",
        )
    } else if lagged > 0 {
        let advice = "what reads the events is too slow; the node itself misses nothing";
        Finding::note(
            "messages",
            format!("{} missed by subscribers", counted(lagged, "event")),
            advice,
        )
    } else {
        let found = counted(of(counters, "messages_delivered"), "message");
        Finding::ok("messages", format!("{found} delivered, none missing"))
    }
}

//! The checks of a peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rumormill_http::view::{MessageLine, NeighbourLine, PeerStatus};
use rumormill_launch::listen::is_loopback;
use rumormill_terminal::escape;
use rumormill_units::count::counted;

use super::finding::Finding;
use super::shared::{identity, of, seed_problems, store, time, version};

/// Messages whose times are compared, for the clocks of their publishers.
pub(super) const MESSAGES: usize = 500;
/// Seconds after which a peer should have its neighbours.
const SETTLED_S: f64 = 60.0;
/// How far ahead a publisher's clock may be, in microseconds.
const MAX_CLOCK_AHEAD_US: u64 = 1_000_000;
/// The delay from which a neighbour counts as slow, in milliseconds.
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
            Finding::note("membership", "it has left the network", "start it again to take part")
        }
        state => Finding::wrong(
            "membership",
            format!("{}: {held}", escape::text(state)),
            "check that a majority of the seeds runs and can be reached from here; until then no dead peer is \
             removed, but messages still spread",
        ),
    }
}

fn seeds(s: &PeerStatus) -> Finding {
    // A registered seed may have closed an idle link to free a slot: the peer dials it when needed.
    let away: Vec<String> = s
        .seeds
        .iter()
        .filter(|seed| !seed.connected && !seed.registered)
        .map(|seed| escape::text(&seed.address))
        .collect();
    if let Some(finding) = seed_problems(&s.seeds) {
        return finding;
    }
    let spare = s.seeds.len().saturating_sub(s.seed_quorum as usize);
    if s.seeds.is_empty() {
        Finding::note(
            "seeds",
            "no seed is configured: it is a network of its own",
            "name the seeds with --config",
        )
    } else if away.len() <= spare {
        Finding::ok("seeds", format!("{} of {} in use", s.seeds.len() - away.len(), s.seeds.len()))
    } else {
        Finding::wrong(
            "seeds",
            format!("no link to {}", away.join(", ")),
            "`rumor doctor --config FILE` tries each, and says what it finds there: no node, another key, \
             another network",
        )
    }
}

fn degree(s: &PeerStatus) -> Finding {
    let found = format!("{} (target {})", s.degree, s.target);
    let others = s.network_size.saturating_sub(1) as usize;
    let possible = usize::from(s.target).min(others);
    if s.degree == 0 && others > 0 {
        Finding::wrong(
            "neighbours",
            found,
            "it cannot reach other peers, or they cannot reach it: check whether they can connect to the \
             address that it advertises, and it to theirs",
        )
    } else if s.degree * 2 < possible && s.uptime_s > SETTLED_S {
        Finding::note(
            "neighbours",
            found,
            "if the number stays low, look for a firewall between the peers",
        )
    } else {
        Finding::ok("neighbours", found)
    }
}

/// Checks whether others connect to this peer.
fn reached(s: &PeerStatus, neighbours: &[NeighbourLine]) -> Finding {
    let accepted = neighbours.iter().filter(|n| !n.dialed).count();
    let addresses = s.addresses.join(", ");
    let loopback = |a: &String| a.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    let has_remote_nodes = neighbours.iter().any(|n| !loopback(&n.address))
        || s.seeds.iter().any(|seed| seed.connected && !is_loopback(&seed.address));
    if s.addresses.iter().all(loopback) && has_remote_nodes && s.state == "joined" {
        let found = if s.addresses.is_empty() {
            "it advertises no address, because no node on another host has seen its address"
                .to_owned()
        } else {
            format!("it advertises {addresses}, which no other host can reach")
        };
        let advice =
            "set --advertise IP:PORT to the address of this host as others see it, or --listen";
        return Finding::note("reachability", found, advice);
    }
    // By chance alone, others dial half of the links.
    if accepted == 0 && neighbours.len() >= 5 && s.uptime_s > SETTLED_S {
        Finding::note(
            "reachability",
            format!(
                "none of its {} neighbours connected to it, though it advertises {addresses}",
                neighbours.len()
            ),
            "check that others can connect to that address: look for a firewall or a NAT, or set --advertise \
             to the address that they see",
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
    // In a large network a peer knows a part of the members.
    if s.network_size <= 1024 && s.alive.abs_diff(s.network_size) > 1 + s.network_size / 10 {
        Finding::note(
            "members",
            found,
            "the numbers differ while peers join and leave; if they stay different, run `rumor doctor` at the \
             seeds",
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
        let advice =
            "they are about to be reported dead; if they run, check the connection to them";
        Finding::note("liveness", format!("no sign of life from {suspects}"), advice)
    } else if !slow.is_empty() {
        let advice = "use --preset wan for such delays: its failure detection waits longer";
        Finding::note("liveness", format!("over {SLOW_MS} ms to {slow}"), advice)
    } else {
        Finding::ok("liveness", "all neighbours answer")
    }
}

/// Checks the clocks of publishers: a message cannot arrive before it was published.
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
        .filter(|(_, by)| **by > MAX_CLOCK_AHEAD_US)
        .map(|(name, by)| format!("{} by {:.1} s", escape::text(name), *by as f64 / 1e6))
        .collect();
    if messages.is_empty() {
        Finding::ok("clock", "no messages to compare times with")
    } else if off.is_empty() {
        Finding::ok("clock", format!("no publisher's clock is ahead ({} compared)", ahead.len()))
    } else {
        Finding::note(
            "clock",
            format!("ahead of this host's: {}", off.join(", ")),
            "synchronise the clocks (NTP), here or there: only delays and --from TIME depend on them",
        )
    }
}

fn losses(counters: &BTreeMap<String, u64>) -> Finding {
    let missed = of(counters, "messages_missed");
    let lagged = of(counters, "subscriber_missed_events");
    if missed > 0 {
        Finding::note(
            "messages",
            format!("{} lost", counted(missed, "message")),
            "they were lost with their publisher, or this peer was away for longer than messages are retained",
        )
    } else if lagged > 0 {
        let advice =
            "the program that reads the events is too slow; the node itself misses nothing";
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

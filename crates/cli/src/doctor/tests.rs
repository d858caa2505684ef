//! Each check, with a state that is well and one in which it finds a fault.

use std::collections::BTreeMap;

use rumormill_http::view::{MessageLine, NeighbourLine, PeerStatus, SeedLine, SeedStatus};

use super::{Finding, Level, peer, seed, seeds};

fn seed_line(up: bool) -> SeedLine {
    SeedLine {
        address: "seed.example:7000".into(),
        id: None,
        connected: up,
        registered: up,
        reply_delay_ms: None,
        problem: None,
    }
}

fn well() -> PeerStatus {
    PeerStatus {
        name: "anna".into(),
        id: "a".repeat(64),
        pid: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        address: "127.0.0.1:1".into(),
        addresses: vec!["10.0.0.1:1".into()],
        state: "joined".into(),
        incarnation: 1,
        epoch: 1,
        uptime_s: 300.0,
        degree: 5,
        target: 5,
        registrations: 2,
        seed_quorum: 2,
        seeds: vec![seed_line(true), seed_line(true), seed_line(false)],
        alive: 20,
        network_size: 20,
        published: 0,
        retained_messages: 0,
        retained_bytes: 0,
        links: 7,
        store_problem: None,
        counters: BTreeMap::new(),
    }
}

fn neighbours(dialed: bool) -> Vec<NeighbourLine> {
    let one = NeighbourLine {
        id: "b".repeat(64),
        name: "bert".into(),
        address: "10.0.0.2:1".into(),
        dialed,
        since_s: 60.0,
        heard_s: 0.1,
        last_reply_s: None,
        reply_delay_ms: None,
        smoothed_delay_ms: Some(1.0),
        misses: 0,
        suspect: false,
        degree: 3,
        target: 3,
    };
    vec![one; 5]
}

fn message(published_us: u64) -> MessageLine {
    MessageLine {
        id: String::new(),
        publisher: "c".repeat(64),
        name: Some("carl".into()),
        sequence: 0,
        topic: String::new(),
        bytes: 0,
        published_us,
        received_us: 10_000_000,
        hops: 1,
        duplicates: 0,
    }
}

/// The only finding that is not ok.
fn only(findings: &[Finding]) -> (Level, &'static str, String) {
    let odd: Vec<_> = findings.iter().filter(|f| f.level != Level::Ok).collect();
    assert_eq!(odd.len(), 1, "{findings:#?}");
    assert!(odd[0].advice.is_some());
    (odd[0].level, odd[0].check, odd[0].found.clone())
}

#[test]
fn healthy_peer_has_only_ok_findings() {
    let findings = peer::findings(&well(), &neighbours(false), &[message(9_999_000)]);
    assert!(findings.iter().all(|f| f.level == Level::Ok && f.advice.is_none()), "{findings:#?}");
}

#[test]
fn peer_checks_find_each_fault_of_its_state() {
    let look = |change: &dyn Fn(&mut PeerStatus)| {
        let mut s = well();
        change(&mut s);
        only(&peer::findings(&s, &neighbours(false), &[]))
    };
    assert_eq!(look(&|s| s.state = "degraded".into()).0, Level::Wrong);
    let (level, check, found) = look(&|s| s.seeds[1] = seed_line(false));
    assert!(level == Level::Wrong && check == "seeds" && found.contains("seed.example:7000"));
    let (level, check, found) = look(&|s| {
        s.seeds[1].problem = Some("it has the same identity as seed other.example:7000".into());
    });
    assert!(
        level == Level::Wrong && check == "seeds" && found.contains("same identity"),
        "{found}"
    );
    let (_, check, found) = look(&|s| s.addresses = vec!["127.0.0.1:9".into()]);
    assert!(check == "reachability" && found.contains("127.0.0.1:9"), "{found}");
    assert_eq!(look(&|s| s.degree = 0).1, "neighbours");
    assert_eq!(look(&|s| s.degree = 2), (Level::Note, "neighbours", "2 (target 5)".into()));
    assert_eq!(look(&|s| s.alive = 7).1, "members");
    assert_eq!(look(&|s| s.version = "0.0.9".into()).1, "version");
    let counted = |name: &'static str| look(&move |s| s.counters = [(name.to_owned(), 1)].into());
    assert_eq!(counted("late_wakeups").1, "processor");
    assert_eq!(
        (counted("duplicate_identities").0, counted("duplicate_identities").1),
        (Level::Note, "identity"),
        "the other process has ended"
    );
    assert_eq!(counted("messages_missed").2, "1 message lost");
    assert_eq!(counted("subscriber_missed_events").1, "messages");
    let (level, check, found) = look(&|s| s.store_problem = Some("no space left".into()));
    assert!(level == Level::Wrong && check == "store" && found.contains("no space left"));
    assert_eq!(counted("store_failures").0, Level::Note, "it works again");
    assert_eq!(counted("store_corrupt").1, "store");
}

#[test]
fn peer_checks_find_faults_shown_by_neighbours_and_messages() {
    let (level, check, found) = only(&peer::findings(&well(), &neighbours(true), &[]));
    assert!(level == Level::Note && check == "reachability" && found.contains("10.0.0.1:1"));
    let mut suspect = neighbours(false);
    suspect[0].suspect = true;
    assert_eq!(only(&peer::findings(&well(), &suspect, &[])).2, "no sign of life from bert");
    let mut slow = neighbours(false);
    slow[0].smoothed_delay_ms = Some(900.0);
    assert_eq!(only(&peer::findings(&well(), &slow, &[])).1, "liveness");
    let (_, check, found) =
        only(&peer::findings(&well(), &neighbours(false), &[message(12_500_000)]));
    assert!(check == "clock" && found.contains("carl by 2.5 s"), "{found}");
}

#[test]
fn seed_checks_find_each_fault_of_its_state() {
    let well = SeedStatus {
        name: "seed-1".into(),
        id: "5".repeat(64),
        pid: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        address: "10.0.0.9:7000".into(),
        configured: None,
        uptime_s: 9.0,
        synced: true,
        seed_quorum: 2,
        seeds: vec![seed_line(true), seed_line(true)],
        alive: 5,
        connected_peers: 5,
        entries: 5,
        cases: 0,
        links: 7,
        store_problem: None,
        counters: BTreeMap::new(),
    };
    assert!(seed::findings(&well).iter().all(|f| f.level == Level::Ok));
    let unsynced = SeedStatus { synced: false, ..well.clone() };
    assert_eq!(only(&seed::findings(&unsynced)).0, Level::Wrong);
    let one_away = SeedStatus { seeds: vec![seed_line(true), seed_line(false)], ..well.clone() };
    assert_eq!(only(&seed::findings(&one_away)).0, Level::Note);
    let alone = SeedStatus { seeds: vec![seed_line(false), seed_line(false)], ..well.clone() };
    assert_eq!(only(&seed::findings(&alone)).0, Level::Wrong);
    let (address, configured) = ("127.0.1.1:7000".into(), Some("web-1:7000".into()));
    let local = SeedStatus { address, configured, ..well.clone() };
    assert_eq!(only(&seed::findings(&local)).1, "reachability");
    let busy = SeedStatus { cases: 2, ..well };
    assert_eq!(only(&seed::findings(&busy)).1, "peers");
}

#[test]
fn majority_is_more_than_half_of_the_seeds() {
    let level = |reached, all| seeds::majority(reached, all).level;
    assert_eq!((level(1, 2), level(2, 2), level(2, 3)), (Level::Wrong, Level::Ok, Level::Ok));
    assert_eq!(level(0, 0), Level::Wrong);
}

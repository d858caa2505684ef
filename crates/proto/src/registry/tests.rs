use super::writes::Acknowledgement;
use super::*;
use crate::io::{LinkInfo, Output};
use crate::seed::context::testing::{SeedParts, identity, record};
use crate::wire::Frame;

fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1000)
}

fn seeds() -> Vec<SeedAddress> {
    [("a:1", None), ("b:1", None)]
        .map(|(address, pin)| SeedAddress { host_port: address.to_owned(), pin })
        .into()
}

/// A registry with the link of one peer, which has sent its record. Returns the outcome of the
/// merge as well.
fn registering(parts: &mut SeedParts, peer: u8) -> (Registry, EntryOutcome, Acknowledgement) {
    let remote = identity(peer).id();
    let mut registry = Registry::new(&mut parts.at(at(0), ()), seeds(), Some(0), Vec::new(), None);
    parts.link_up(1, remote, Role::Peer);
    parts.outputs();
    let sent = record(peer, 1);
    let cx = &mut parts.at(at(1), ());
    let answer = registry.accept_record(cx, LinkId(1), remote, &sent).unwrap();
    let merged = registry.merge(at(1), Entry::new(sent)).unwrap();
    let outcome = registry.record(cx, merged, Vec::new());
    (registry, outcome, answer)
}

fn is_acknowledged(outputs: &[Output]) -> bool {
    let is_ack = |o: &Output| matches!(o, Output::Send { frame: Frame::RegisterAck(_), .. });
    outputs.iter().any(is_ack)
}

#[test]
fn registration_is_acknowledged_after_its_write() {
    let mut parts = SeedParts::new();
    let (mut registry, outcome, answer) = registering(&mut parts, 1);
    let EntryOutcome::Stored(ticket) = outcome else { panic!("{outcome:?}") };
    registry.answer(&mut parts.at(at(1), ()), answer, identity(1).id(), outcome);
    assert!(!is_acknowledged(&parts.outputs()), "not durable yet");
    registry.on_stored(&mut parts.at(at(2), ()), ticket);
    assert_eq!(registry.losses, []);
    assert!(is_acknowledged(&parts.outputs()));
}

#[test]
fn end_of_a_registration_link_is_a_loss_unless_the_seed_closed_it() {
    let id = identity(1).id();
    for (why, on_purpose) in [
        (LinkEnd::Lost, false),
        (LinkEnd::Local(CloseReason::NoSignOfLife), false),
        (LinkEnd::Local(CloseReason::Done), true),
    ] {
        let mut parts = SeedParts::new();
        let (mut registry, ..) = registering(&mut parts, 1);
        let cx = &mut parts.at(at(2), ());
        registry.on_link_down(cx, LinkId(1), why);
        registry.on_link_down(cx, LinkId(1), why);
        assert_eq!(registry.losses, [LinkLoss::Registrant { id, on_purpose }], "only once");
    }
}

#[test]
fn end_of_a_link_dialled_by_another_seed_drops_its_votes() {
    let mut parts = SeedParts::new();
    let (mut registry, ..) = registering(&mut parts, 1);
    parts.link_up(2, identity(2).id(), Role::Seed);
    registry.on_link_down(&mut parts.at(at(2), ()), LinkId(2), LinkEnd::Lost);
    assert_eq!(registry.losses, [LinkLoss::Voter(identity(2).id())]);
}

#[test]
fn change_is_pushed_after_the_push_delay() {
    let mut parts = SeedParts::new();
    let (mut registry, ..) = registering(&mut parts, 1);
    let cx = &mut parts.at(at(1), ());
    registry.schedule_push(cx);
    registry.set_timers(cx);
    let due = at(1) + cx.config.push_delay();
    assert_eq!(parts.timers.get(SeedTimer::Push), Some(due));
    parts.outputs();
    let cx = &mut parts.at(due, ());
    registry.push(cx);
    registry.set_timers(cx);
    assert!(parts.timers.get(SeedTimer::Push).is_none());
    let pushed = parts.outputs();
    let is_push = |o: &Output| matches!(o, Output::Send { frame: Frame::MembershipUpdate(_), .. });
    assert_eq!(pushed.iter().filter(|o| is_push(o)).count(), 1, "{pushed:?}");
}

#[test]
fn other_seed_is_dialled_pinged_and_closed_when_silent() {
    let mut parts = SeedParts::new();
    let mut registry = Registry::new(&mut parts.at(at(0), ()), seeds(), Some(0), Vec::new(), None);
    registry.set_timers(&mut parts.at(at(0), ()));
    assert_eq!(parts.timers.get(SeedTimer::Dial), Some(at(0)));
    registry.dial_seeds(&mut parts.at(at(0), ()));
    registry.set_timers(&mut parts.at(at(0), ()));
    assert_eq!(parts.timers.get(SeedTimer::Dial), None, "a dial is running");

    parts.link_up(5, identity(9).id(), Role::Seed);
    let info = LinkInfo {
        remote: identity(9).id(),
        role: Role::Seed,
        dial: None,
        remote_address: ([10, 0, 0, 1], 7000).into(),
        observed: None,
        local_address: None,
        same_process: false,
    };
    assert!(registry.on_seed_up(&mut parts.at(at(1), ()), 0, LinkId(5), &info));
    assert!(registry.trusted().contains(&identity(9).id()));
    registry.set_timers(&mut parts.at(at(1), ()));
    let first = parts.timers.get(SeedTimer::Ping).unwrap();
    parts.outputs();
    registry.watch_seeds(&mut parts.at(first, ()));
    let is_ping = |o: &Output| matches!(o, Output::Send { frame: Frame::Ping(_), .. });
    assert!(parts.outputs().iter().any(is_ping));
    let silent = first + parts.at(first, ()).config.seed_ping_interval() * 2;
    registry.watch_seeds(&mut parts.at(silent, ()));
    assert_eq!((registry.seed_links().count(), parts.links.open.len()), (0, 0));
    registry.set_timers(&mut parts.at(silent, ()));
    assert!(parts.timers.get(SeedTimer::Dial).is_some_and(|at| at > silent));
}

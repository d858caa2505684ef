//! A scripted node: sends outputs at given times and records every input.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use rumormill_proto::wire::{Frame, Ping};
use rumormill_proto::{
    Address, Class, CloseReason, Config, DialId, DialTarget, Input, LinkId, Output, PeerId, Role,
    StateMachine, StoreOp, StoreTicket, Time,
};
use rumormill_sim::{NodeId, World, WorldConfig};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const AT_START: Duration = Duration::ZERO;

/// The inputs of a node: time in milliseconds, and description.
pub(crate) type Log = Rc<RefCell<Vec<(u64, String)>>>;

struct ScriptedNode {
    id: PeerId,
    script: VecDeque<(Duration, Output)>,
    due: VecDeque<Output>,
    log: Log,
}

impl StateMachine for ScriptedNode {
    fn id(&self) -> PeerId {
        self.id
    }

    fn handle(&mut self, now: Time, input: Input) {
        let line = match input {
            Input::LinkUp { link, info } => format!(
                "up {} {}{}",
                link.0,
                info.role,
                info.dial.map(|d| format!(" by dial {}", d.0)).unwrap_or_default()
            ),
            Input::LinkDown { link, why } => format!("down {} {why:?}", link.0),
            Input::DialFailed { dial, why } => format!("dial {} {why:?}", dial.0),
            Input::Frame { link, frame } => match &*frame {
                Frame::Ping(p) => format!("ping {} on {}", p.nonce, link.0),
                other => format!("{} on {}", other.name(), link.0),
            },
            Input::Stored { ticket } => format!("stored {}", ticket.0),
            Input::StoreFailed { ticket } => format!("store failed {}", ticket.0),
            Input::Congested { link } => format!("congested {}", link.0),
            Input::Consumed { marks } => format!("consumed {}", marks.len()),
            Input::SeedMoved { .. } => return,
            Input::WallClock(_) | Input::Timeout => {
                while self.script.front().is_some_and(|(at, _)| Time::ZERO + *at <= now) {
                    self.due.extend(self.script.pop_front().map(|(_, output)| output));
                }
                return;
            }
        };
        self.log.borrow_mut().push((now.as_micros() / 1000, line));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.due.pop_front()
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.script.front().map(|(at, _)| Time::ZERO + *at)
    }
}

/// A world with a latency of 10 ms.
pub(crate) fn world() -> World {
    let mut config = WorldConfig::new(1, Config::lan().build().unwrap());
    config.latency = rumormill_sim::Latency::Constant(10 * MS);
    World::new(config)
}

/// Adds a node whose first process sends each output at its time.
pub(crate) fn scripted_node(world: &mut World, script: Vec<(Duration, Output)>) -> (NodeId, Log) {
    let log = Log::default();
    let mut script = Some(script);
    let shared = log.clone();
    let node = world.add_machine(Role::Peer, move |identity, _, _| {
        let script = script.take().unwrap_or_default().into();
        Box::new(ScriptedNode {
            id: identity.id(),
            script,
            due: VecDeque::new(),
            log: shared.clone(),
        })
    });
    (node, log)
}

/// Adds a node that sends nothing.
pub(crate) fn listener(world: &mut World) -> (NodeId, Log) {
    scripted_node(world, Vec::new())
}

pub(crate) fn lines(log: &Log) -> Vec<String> {
    log.borrow().iter().map(|(at, line)| format!("{at} {line}")).collect()
}

pub(crate) fn dial(dial: u64, world: &World, to: NodeId) -> Output {
    dial_as(dial, world.id(to), vec![Address(world.address(to))])
}

pub(crate) fn dial_as(dial: u64, id: PeerId, addresses: Vec<Address>) -> Output {
    Output::Dial { dial: DialId(dial), to: DialTarget::Peer { id, addresses } }
}

pub(crate) fn ping(link: u64, nonce: u64) -> Output {
    Output::Send { link: LinkId(link), frame: Ping { nonce }.into(), class: Class::Control }
}

pub(crate) fn close(link: u64) -> Output {
    Output::Close { link: LinkId(link), reason: CloseReason::Done }
}

pub(crate) fn store(ticket: u64, incarnation: u64) -> Output {
    Output::Store { ticket: StoreTicket(ticket), ops: vec![StoreOp::PutIncarnation(incarnation)] }
}

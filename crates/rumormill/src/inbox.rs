//! The inputs that the tasks of a node send to its driver, scheduled fairly between links.
//!
//! Each link has its own lane, bounded in frames and bytes; a link whose lane is full stops
//! reading, which slows the remote down through TCP. The driver serves the lanes by deficit round
//! robin (Shreedhar and Varghese, 1995). The cost of a frame is the time that the driver spent on
//! it, measured afterwards, because a request of 50 bytes may have an answer of a megabyte. Probes
//! and their answers have a lane ahead of all links, and so have inputs that belong to no link.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::LinkId;
use rumormill_proto::wire::Frame;
use tokio::sync::Notify;

use crate::context::DriverInput;
use crate::tuning::Tuning;

/// Driver time that a link gets in one round.
const LINK_QUANTUM: Duration = Duration::from_millis(1);
/// The largest debt of a link. A link in debt is passed over while other links have frames.
const DEBT_LIMIT_MICROS: i64 = 50_000;
/// The most frames taken from one link under one lock, if each of them is cheap.
const MAX_FRAMES_PER_TURN: usize = 16;
/// The most inputs of no link taken under one lock.
const MAX_GENERAL_PER_TURN: usize = 256;

#[expect(clippy::cast_possible_truncation, reason = "a quantum is a millisecond")]
const LINK_QUANTUM_MICROS: i64 = LINK_QUANTUM.as_micros() as i64;

/// The lane whose inputs were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServedLane {
    /// All lanes are empty.
    Empty,
    /// Inputs of no link, or probes and their answers.
    Shared,
    /// Frames of one link; a call of [`Inbox::charge`] has to follow.
    Link(LinkId),
}

#[derive(Debug)]
struct LinkLane {
    waiting: VecDeque<(DriverInput, usize)>,
    bytes: usize,
    /// Frames of this link in the lane of probes.
    probes: usize,
    /// Microseconds of driver time that this link may still use; negative if it is in debt.
    balance: i64,
    /// Whether the lane is in the order of turns, or is being served.
    in_turn: bool,
    /// Signals free capacity to the reader of this link, the only task that waits for it.
    capacity: Arc<Notify>,
}

impl LinkLane {
    fn new() -> Self {
        LinkLane {
            waiting: VecDeque::new(),
            bytes: 0,
            probes: 0,
            balance: LINK_QUANTUM_MICROS,
            in_turn: false,
            capacity: Arc::new(Notify::new()),
        }
    }

    fn pop(&mut self) -> Option<DriverInput> {
        let (input, size) = self.waiting.pop_front()?;
        self.bytes -= size;
        if self.waiting.is_empty() && self.waiting.capacity() > MAX_FRAMES_PER_TURN {
            self.waiting = VecDeque::new();
        }
        Some(input)
    }
}

#[derive(Debug, Default)]
struct InboxState {
    general: VecDeque<DriverInput>,
    probes: VecDeque<(LinkId, DriverInput)>,
    /// Probes were served last, so a lane comes next: probes starve no link.
    probes_were_last: bool,
    lanes: HashMap<LinkId, LinkLane>,
    /// Links with waiting frames, in the order of their turns.
    turns: VecDeque<LinkId>,
}

impl InboxState {
    fn is_empty(&self) -> bool {
        self.general.is_empty() && self.probes.is_empty() && self.turns.is_empty()
    }

    fn take_probes(&mut self, into: &mut Vec<DriverInput>) {
        for (link, input) in self.probes.drain(..) {
            if let Some(lane) = self.lanes.get_mut(&link) {
                lane.probes -= 1;
                lane.capacity.notify_one();
            }
            into.push(input);
        }
    }

    /// Puts a link into the order of turns, unless it is there already.
    fn enqueue_turn(&mut self, link: LinkId) {
        if let Some(lane) = self.lanes.get_mut(&link)
            && !lane.in_turn
        {
            lane.in_turn = true;
            self.turns.push_back(link);
        }
    }
}

/// The inputs that wait for the driver.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    /// An input has arrived.
    arrived: Notify,
    /// The lane of inputs that belong to no link has capacity again.
    general_capacity: Notify,
    limit_general: usize,
    limit_frames: usize,
    limit_bytes: usize,
    limit_probes: usize,
}

impl Inbox {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        Inbox {
            state: Mutex::default(),
            arrived: Notify::new(),
            general_capacity: Notify::new(),
            limit_general: tuning.inputs,
            limit_frames: tuning.inputs_per_link,
            limit_bytes: tuning.input_bytes_per_link,
            limit_probes: tuning.probes_per_link,
        }
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- for the tasks of the node -----------------------------------------------------------

    /// Hands in an input of no link, or the end of a link. Waits while the driver is behind.
    /// Reports of the store never wait, because the driver may be waiting for the store.
    pub(crate) async fn push(&self, input: DriverInput) {
        if let DriverInput::LinkDown { link, .. } = &input {
            // The last input of a link: it follows all its frames.
            let link = *link;
            let mut s = self.lock();
            s.lanes.entry(link).or_insert_with(LinkLane::new).waiting.push_back((input, 0));
            s.enqueue_turn(link);
            drop(s);
            return self.arrived.notify_one();
        }
        let mut input = Some(input);
        loop {
            let freed = self.general_capacity.notified();
            input = self.try_push(input);
            if input.is_none() {
                return self.arrived.notify_one();
            }
            freed.await;
        }
    }

    /// Returns the input if the lane is full.
    fn try_push(&self, input: Option<DriverInput>) -> Option<DriverInput> {
        let mut s = self.lock();
        if s.general.len() >= self.limit_general && !matches!(input, Some(DriverInput::Stored(_))) {
            return input;
        }
        s.general.extend(input);
        None
    }

    /// Hands in a frame of a link; waits while the lane of that link is full.
    pub(crate) async fn push_frame(&self, link: LinkId, input: DriverInput, size: usize) {
        let mut input = input;
        loop {
            match self.try_push_frame(link, input, size) {
                Ok(()) => return self.arrived.notify_one(),
                Err((back, capacity)) => {
                    input = back;
                    capacity.notified().await;
                }
            }
        }
    }

    /// Returns the input if the lane is full, with the signal of free capacity.
    fn try_push_frame(
        &self,
        link: LinkId,
        input: DriverInput,
        size: usize,
    ) -> Result<(), (DriverInput, Arc<Notify>)> {
        let is_probe = matches!(&input, DriverInput::Frame { frame, .. } if frame.is_liveness());
        let mut s = self.lock();
        let lane = s.lanes.entry(link).or_insert_with(LinkLane::new);
        let has_capacity = if is_probe {
            lane.probes < self.limit_probes
        } else {
            lane.waiting.is_empty()
                || (lane.waiting.len() < self.limit_frames && lane.bytes + size <= self.limit_bytes)
        };
        if !has_capacity {
            return Err((input, lane.capacity.clone()));
        }
        if is_probe {
            lane.probes += 1;
            s.probes.push_back((link, input));
        } else {
            lane.bytes += size;
            lane.waiting.push_back((input, size));
            s.enqueue_turn(link);
        }
        Ok(())
    }

    // ---- for the driver ----------------------------------------------------------------------

    /// Waits until an input is there.
    pub(crate) async fn ready(&self) {
        // A driver that always finds an input still lets other tasks of its thread run.
        tokio::task::coop::consume_budget().await;
        while self.lock().is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Takes the next inputs: those of no link first, then probes, then those of the link whose
    /// turn it is.
    pub(crate) fn take_next(&self, into: &mut Vec<DriverInput>) -> ServedLane {
        let mut guard = self.lock();
        let s = &mut *guard;
        if !s.general.is_empty() {
            into.extend(s.general.drain(..s.general.len().min(MAX_GENERAL_PER_TURN)));
            self.general_capacity.notify_waiters();
            return ServedLane::Shared;
        }
        // Probes alternate with the lanes, so that neither starves the other.
        if !s.probes.is_empty() && (!s.probes_were_last || s.turns.is_empty()) {
            s.probes_were_last = true;
            s.take_probes(into);
            return ServedLane::Shared;
        }
        s.probes_were_last = false;
        while let Some(link) = s.turns.pop_front() {
            let Some(lane) = s.lanes.get_mut(&link) else { continue };
            // A lane in debt earns a quantum and passes its turn. Debts are bounded, so a lane with
            // credit is found after a bounded number of rounds.
            if lane.balance <= 0 {
                lane.balance += LINK_QUANTUM_MICROS;
                s.turns.push_back(link);
                continue;
            }
            while into.len() < MAX_FRAMES_PER_TURN
                && let Some(input) = lane.pop()
            {
                let cheap = is_cost_proportional(&input);
                into.push(input);
                if !cheap {
                    break;
                }
            }
            lane.capacity.notify_one();
            return ServedLane::Link(link);
        }
        ServedLane::Empty
    }

    /// Charges the link that was served last. It stays first in turn while it has frames and
    /// credit.
    pub(crate) fn charge(&self, link: LinkId, spent: Duration) {
        let mut s = self.lock();
        let Some(lane) = s.lanes.get_mut(&link) else { return };
        let spent = i64::try_from(spent.as_micros()).unwrap_or(DEBT_LIMIT_MICROS);
        lane.balance = (lane.balance - spent).max(-DEBT_LIMIT_MICROS);
        if lane.waiting.is_empty() {
            lane.in_turn = false;
            if lane.balance > 0 {
                // Unused credit is not saved up; debt stays.
                lane.balance = LINK_QUANTUM_MICROS;
            }
        } else if lane.balance > 0 {
            s.turns.push_front(link);
        } else {
            s.turns.push_back(link);
        }
    }

    /// Takes all inputs of no link, all probes, and one frame of every link that has some. The core
    /// then sees a sign of life of each neighbour before it judges silence.
    pub(crate) fn take_one_of_each(&self, into: &mut Vec<DriverInput>) {
        let mut guard = self.lock();
        let s = &mut *guard;
        into.extend(s.general.drain(..));
        self.general_capacity.notify_waiters();
        s.take_probes(into);
        for _ in 0..s.turns.len() {
            let Some(link) = s.turns.pop_front() else { break };
            let Some(lane) = s.lanes.get_mut(&link) else { continue };
            into.extend(lane.pop());
            lane.capacity.notify_one();
            lane.in_turn = !lane.waiting.is_empty();
            if lane.in_turn {
                s.turns.push_back(link);
            }
        }
    }

    /// Removes the lane of a link, after its end was taken.
    pub(crate) fn remove(&self, link: LinkId) {
        self.lock().lanes.remove(&link);
    }
}

/// Whether the cost of a frame is in proportion to its size. Such frames are taken in groups. A
/// request is taken alone, and its cost is charged before the next one.
fn is_cost_proportional(input: &DriverInput) -> bool {
    let DriverInput::Frame { frame, .. } = input else { return false };
    matches!(**frame, Frame::Gossip(_) | Frame::Announce(_) | Frame::Ack(_) | Frame::PullEnd(_))
}

#[cfg(test)]
mod tests {
    use futures_poll::poll_once;
    use rumormill_proto::wire::{Ping, Pull, PullEnd, Verified, Verifier};
    use rumormill_proto::{LinkEnd, Role};

    use super::*;

    /// Polls a future once.
    mod futures_poll {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        pub(super) fn poll_once<F: Future>(future: F) -> Option<F::Output> {
            match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            }
        }
    }

    fn inbox() -> Inbox {
        let tuning = Tuning {
            inputs_per_link: 8,
            input_bytes_per_link: 1000,
            probes_per_link: 2,
            ..Tuning::for_role(Role::Peer)
        };
        Inbox::new(&tuning)
    }

    fn frame(link: u64, frame: impl Into<Frame>) -> DriverInput {
        let frame: Verified<Frame> = Verifier::new().verify(frame.into()).unwrap();
        DriverInput::Frame { link: LinkId(link), frame }
    }

    /// Hands in a frame; `false` if the lane is full.
    fn put(inbox: &Inbox, link: u64, f: impl Into<Frame>, size: usize) -> bool {
        poll_once(inbox.push_frame(LinkId(link), frame(link, f), size)).is_some()
    }

    fn request() -> Pull {
        Pull { ranges: Vec::new(), nonce: 0 }
    }

    const fn cheap() -> PullEnd {
        PullEnd { batches: 1, refused: false, nonce: 0 }
    }

    fn link_of(input: &DriverInput) -> u64 {
        match input {
            DriverInput::Frame { link, .. } | DriverInput::LinkDown { link, .. } => link.0,
            other => panic!("{other:?}"),
        }
    }

    /// Serves the next link, and returns it with the number of its frames; `spent` is their cost.
    fn serve(inbox: &Inbox, spent: Duration) -> (u64, usize) {
        let mut inputs = Vec::new();
        match inbox.take_next(&mut inputs) {
            ServedLane::Link(link) => {
                inbox.charge(link, spent);
                (link.0, inputs.len())
            }
            ServedLane::Shared => (link_of(&inputs[0]), inputs.len()),
            ServedLane::Empty => (0, 0),
        }
    }

    #[test]
    fn full_lane_holds_up_its_own_link_only() {
        let inbox = inbox();
        assert!((0..8).all(|_| put(&inbox, 1, cheap(), 10)));
        assert!(!put(&inbox, 1, cheap(), 10), "a lane holds at most eight frames");
        assert!(put(&inbox, 2, cheap(), 5000), "an empty lane takes a frame of any size");
        assert!(!put(&inbox, 2, cheap(), 1), "a large frame fills the lane");
        assert!(put(&inbox, 3, cheap(), 10));
        assert_eq!(serve(&inbox, Duration::ZERO), (1, 8));
        assert!(put(&inbox, 1, cheap(), 10));
    }

    #[test]
    fn link_with_expensive_requests_waits_for_cheaper_links() {
        let inbox = inbox();
        let ms = Duration::from_millis;
        for _ in 0..8 {
            put(&inbox, 1, request(), 50);
            put(&inbox, 2, request(), 50);
        }
        // Requests of the first link cost 4 ms each, those of the second 100 µs.
        let mut order = String::new();
        for _ in 0..10 {
            let mut inputs = Vec::new();
            let ServedLane::Link(link) = inbox.take_next(&mut inputs) else {
                panic!("no link was served")
            };
            assert_eq!(inputs.len(), 1, "a request is taken alone");
            inbox.charge(link, if link.0 == 1 { ms(4) } else { Duration::from_micros(100) });
            order += &link.0.to_string();
        }
        assert_eq!(order, "1222222221");
    }

    #[test]
    fn only_active_link_is_served_whatever_its_debt() {
        let inbox = inbox();
        for _ in 0..8 {
            put(&inbox, 1, request(), 50);
        }
        for _ in 0..8 {
            assert_eq!(serve(&inbox, Duration::from_secs(1)), (1, 1));
        }
        assert_eq!(serve(&inbox, Duration::ZERO), (0, 0));
    }

    #[test]
    fn probes_are_served_before_links_and_starve_none() {
        let inbox = inbox();
        put(&inbox, 1, cheap(), 10);
        put(&inbox, 2, Ping { nonce: 1 }, 10);
        put(&inbox, 2, Ping { nonce: 2 }, 10);
        assert!(!put(&inbox, 2, Ping { nonce: 3 }, 10), "a link has at most two waiting probes");
        assert_eq!(serve(&inbox, Duration::ZERO), (2, 2));
        put(&inbox, 2, Ping { nonce: 3 }, 10);
        assert_eq!(serve(&inbox, Duration::ZERO), (1, 1), "a link follows after probes");
        assert_eq!(serve(&inbox, Duration::ZERO), (2, 1));
    }

    #[test]
    fn end_of_link_comes_after_its_frames() {
        let inbox = inbox();
        put(&inbox, 1, request(), 10);
        let down = DriverInput::LinkDown { link: LinkId(1), why: LinkEnd::Lost };
        poll_once(inbox.push(down)).unwrap();
        let mut inputs = Vec::new();
        inbox.take_next(&mut inputs);
        inbox.charge(LinkId(1), Duration::ZERO);
        inbox.take_next(&mut inputs);
        assert!(
            matches!(inputs[..], [DriverInput::Frame { .. }, DriverInput::LinkDown { .. }]),
            "{inputs:?}"
        );
        inbox.remove(LinkId(1));
        inbox.charge(LinkId(1), Duration::ZERO);
        assert_eq!(serve(&inbox, Duration::ZERO), (0, 0));
    }

    #[test]
    fn driver_takes_a_frame_of_every_link_before_it_judges_silence() {
        let inbox = inbox();
        for link in 1..4 {
            (0..3).for_each(|_| assert!(put(&inbox, link, request(), 10)));
        }
        put(&inbox, 9, Ping { nonce: 1 }, 10);
        let mut inputs = Vec::new();
        inbox.take_one_of_each(&mut inputs);
        assert_eq!(inputs.iter().map(link_of).collect::<Vec<_>>(), [9, 1, 2, 3]);
        assert_eq!(serve(&inbox, Duration::ZERO), (1, 1));
    }
}

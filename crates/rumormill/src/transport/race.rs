//! Happy eyeballs (RFC 8305): connection attempts to the addresses of one remote, started a quarter
//! of a second apart and racing.
//!
//! The race covers TCP, TLS and Hello, not TCP alone: an address at which another process answers,
//! or one that accepts and stays silent, must not hide the address of the right node.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rumormill_proto::DialError;
use tokio::time::{Instant, sleep_until};

/// Time between two attempts (RFC 8305, section 5: "Connection Attempt Delay").
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses tried for one remote: at [`ATTEMPT_DELAY`] the last attempt begins after 1.75
/// s.
pub(super) const MAX_ATTEMPTS: usize = 8;

/// Why one address, or all of them, failed.
#[derive(Debug)]
pub(super) struct DialFailure {
    pub(super) why: DialError,
    pub(super) detail: String,
}

impl DialFailure {
    pub(super) fn new(why: DialError, detail: impl ToString) -> Self {
        DialFailure { why, detail: detail.to_string() }
    }
}

/// The result of an attempt that connected.
#[derive(Debug)]
pub(super) enum Candidate<T> {
    /// The remote is the dialled one: the race is over.
    Confirmed(T),
    /// The remote is used only if no other address has the dialled one.
    Doubtful(T),
}

/// The more informative of two failures.
fn more_informative(a: DialFailure, b: DialFailure) -> DialFailure {
    let weight = |f: &DialFailure| match f.why {
        DialError::WrongIdentity | DialError::OtherNetwork => 4,
        DialError::Incompatible => 3,
        DialError::TimedOut => 2,
        DialError::Limit | DialError::Refused | DialError::NoRoute | DialError::NoAddress => 1,
    };
    if weight(&a) > weight(&b) { a } else { b }
}

/// Orders addresses for a race: the families alternate, beginning with the family of the first
/// address, each family in its given order (RFC 8305, section 4); `first` precedes all others if it
/// is among them. At most [`MAX_ATTEMPTS`], each once.
pub(super) fn interleave(
    addresses: impl IntoIterator<Item = SocketAddr>,
    first: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let mut given: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !given.contains(&address) {
            given.push(address);
        }
    }
    let is_v6 = given.first().is_some_and(SocketAddr::is_ipv6);
    let (first_family, second_family): (VecDeque<_>, VecDeque<_>) =
        given.iter().copied().partition(|a| a.is_ipv6() == is_v6);
    let mut ordered: Vec<SocketAddr> = first.into_iter().filter(|f| given.contains(f)).collect();
    let mut queues = [first_family, second_family];
    while queues.iter().any(|q| !q.is_empty()) {
        for queue in &mut queues {
            ordered.extend(queue.pop_front().filter(|a| Some(*a) != first));
        }
    }
    ordered.truncate(MAX_ATTEMPTS);
    ordered
}

/// Races `attempt` over `addresses`, in their order. An attempt starts [`ATTEMPT_DELAY`] after the
/// previous one, or at once when one fails. The first attempt that connects to the right remote
/// wins, and the others are dropped. A doubtful remote wins when no other attempt is left, or at
/// the deadline.
///
/// # Errors
/// No attempt connected by the deadline: the most informative failure.
pub(super) async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, DialFailure>
where
    F: Future<Output = Result<Candidate<T>, DialFailure>>,
{
    let mut waiting = VecDeque::from(addresses);
    let mut unanswered: Vec<SocketAddr> = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut failure_so_far = DialFailure::new(DialError::NoAddress, "no address to connect to");
    let mut doubtful = None;
    let mut next = Instant::now();
    while !(waiting.is_empty() && running.is_empty()) {
        tokio::select! {
            biased;
            Some((address, result)) = running.next() => {
                unanswered.retain(|a| *a != address);
                next = Instant::now();
                match result {
                    Ok(Candidate::Confirmed(connected)) => return Ok(connected),
                    Ok(Candidate::Doubtful(connected)) => { doubtful.get_or_insert(connected); }
                    Err(failure) => failure_so_far = more_informative(failure_so_far, failure),
                }
            }
            () = sleep_until(deadline) => {
                let addresses: Vec<String> = unanswered.iter().map(ToString::to_string).collect();
                let detail = format!("{}: no answer", addresses.join(", "));
                let timed_out = DialFailure::new(DialError::TimedOut, detail);
                failure_so_far = more_informative(failure_so_far, timed_out);
                break;
            }
            () = sleep_until(next), if !waiting.is_empty() => {
                if let Some(address) = waiting.pop_front() {
                    unanswered.push(address);
                    let attempt = attempt(address);
                    running.push(async move { (address, attempt.await) });
                }
                next = Instant::now() + ATTEMPT_DELAY;
            }
        }
    }
    doubtful.ok_or(failure_so_far)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn host(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 7000))
    }

    /// The behaviour of an address in the tests.
    #[derive(Clone, Copy)]
    enum RemoteBehaviour {
        Silent,
        Refuses,
        /// A node with another key answers after this many milliseconds.
        Wrong(u64),
        Doubtful,
        /// The right node answers after this many milliseconds.
        Answers(u64),
    }

    async fn run(remotes: &[RemoteBehaviour]) -> (Result<SocketAddr, DialError>, u128) {
        let started = Instant::now();
        let addresses: Vec<SocketAddr> = (0..remotes.len()).map(|n| host(n as u8)).collect();
        let deadline = started + Duration::from_secs(3);
        let result = race(addresses.clone(), deadline, |address| {
            let remote = remotes[addresses.iter().position(|a| *a == address).unwrap()];
            async move {
                let after = |ms| tokio::time::sleep(Duration::from_millis(ms));
                match remote {
                    RemoteBehaviour::Silent => std::future::pending().await,
                    RemoteBehaviour::Refuses => Err(DialFailure::new(DialError::Refused, "no")),
                    RemoteBehaviour::Wrong(ms) => {
                        after(ms).await;
                        Err(DialFailure::new(DialError::WrongIdentity, "another key"))
                    }
                    RemoteBehaviour::Doubtful => Ok(Candidate::Doubtful(address)),
                    RemoteBehaviour::Answers(ms) => {
                        after(ms).await;
                        Ok(Candidate::Confirmed(address))
                    }
                }
            }
        })
        .await;
        (result.map_err(|f| f.why), started.elapsed().as_millis())
    }

    #[test]
    fn families_alternate_and_the_address_that_answered_last_comes_first() {
        let list = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::1]:1"];
        let ordered = interleave(list.map(at), None);
        assert_eq!(ordered, ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"].map(at));
        let ordered = interleave(list.map(at), Some(at("[2001:db8::2]:1")));
        assert_eq!(ordered, ["[2001:db8::2]:1", "[2001:db8::1]:1", "192.0.2.1:1"].map(at));
        let elsewhere = interleave(list.map(at), Some(at("192.0.2.9:1")));
        assert!(!elsewhere.contains(&at("192.0.2.9:1")), "the name has this address no more");
        assert_eq!(interleave((0..100).map(host), Some(host(99))).len(), MAX_ATTEMPTS);
        assert_eq!(interleave((0..100).map(host), Some(host(99)))[0], host(99));
    }

    #[tokio::test(start_paused = true)]
    async fn live_address_behind_seven_silent_ones_connects_before_the_deadline() {
        let mut remotes = [RemoteBehaviour::Silent; MAX_ATTEMPTS];
        remotes[MAX_ATTEMPTS - 1] = RemoteBehaviour::Answers(10);
        let (result, took) = run(&remotes).await;
        assert_eq!((result, took), (Ok(host(7)), 1760));
    }

    #[tokio::test(start_paused = true)]
    async fn refusing_address_starts_the_next_attempt_at_once() {
        let remotes =
            [RemoteBehaviour::Refuses, RemoteBehaviour::Refuses, RemoteBehaviour::Answers(5)];
        assert_eq!(run(&remotes).await, (Ok(host(2)), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn node_with_another_key_does_not_hide_the_right_one() {
        assert_eq!(
            run(&[RemoteBehaviour::Wrong(5), RemoteBehaviour::Answers(5)]).await,
            (Ok(host(1)), 10)
        );
        // Also if it answers first because the right one is slow.
        assert_eq!(
            run(&[RemoteBehaviour::Answers(400), RemoteBehaviour::Wrong(5)]).await,
            (Ok(host(0)), 400)
        );
        assert_eq!(
            run(&[RemoteBehaviour::Doubtful, RemoteBehaviour::Answers(5)]).await,
            (Ok(host(1)), 5)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn doubtful_remote_wins_only_if_no_other_is_left() {
        assert_eq!(
            run(&[RemoteBehaviour::Doubtful, RemoteBehaviour::Refuses]).await,
            (Ok(host(0)), 0)
        );
        assert_eq!(
            run(&[RemoteBehaviour::Silent, RemoteBehaviour::Doubtful]).await,
            (Ok(host(1)), 3000)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn slow_first_address_wins_over_silent_second_one() {
        assert_eq!(
            run(&[RemoteBehaviour::Answers(300), RemoteBehaviour::Silent]).await,
            (Ok(host(0)), 300)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn most_informative_failure_is_reported_at_the_deadline() {
        assert_eq!(
            run(&[RemoteBehaviour::Silent, RemoteBehaviour::Refuses]).await.0,
            Err(DialError::TimedOut)
        );
        let wrong = run(&[RemoteBehaviour::Silent, RemoteBehaviour::Wrong(1)]).await;
        assert_eq!(wrong, (Err(DialError::WrongIdentity), 3000));
        assert_eq!(run(&[]).await, (Err(DialError::NoAddress), 0));
        assert_eq!(run(&[RemoteBehaviour::Refuses]).await, (Err(DialError::Refused), 0));
    }
}

//! `rumor peer`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rumormill::proto::limits::MAX_ADDRESSES;
use rumormill::proto::{DialError, Event, Name, Preset, SeedAddress};
use rumormill::{
    Consumer, EventItem, Events, LeaveError, Listener, Node, StartError, SubscriptionItem,
};
use rumormill_http::Client;
use rumormill_launch::args::{NetworkArgs, advertised_address};
use rumormill_launch::control::{Control, HttpArgs};
use rumormill_launch::identity::default_name;
use rumormill_launch::listen::{default_listen, warn_of_loopback};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::running::RunDirArgs;
use rumormill_terminal::signals::StopSignals;
use rumormill_terminal::{escape, open_files, out};
use rumormill_units::count::counted;
use rumormill_units::duration;
use tokio::time::{Instant, timeout, timeout_at};

use crate::console::Console;
use crate::log::{self, LogArgs, Logs};
use crate::settings;
use crate::supervise::Supervisor;
use crate::workload::{self, Schedule};

/// How long a logged message may wait before it is written to the disk.
const LOG_SYNC_INTERVAL: Duration = Duration::from_millis(250);

/// Run a peer
///
/// The peer registers at a majority of the seeds, links with neighbours, forwards the messages of
/// others, and publishes messages: those of `rumor send`, or greetings at an even rate with
/// --messages. Ctrl-C and `rumor leave` make it leave the network and end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor peer --config config.txt
  rumor peer --config config.txt --name web-3 --data-dir /var/lib/rumor
  rumor peer --config config.txt --messages 10 --every 5s --after 30s
  rumor peer --config config.txt --preset classic       (publishes the same messages)
  rumor peer --config config.txt --listen 0.0.0.0:7400 --advertise 203.0.113.7:7400

In a terminal: 1 + Enter shows the connections, 2 + Enter the messages (as `rumor top` does; q comes back),
anything else leaves.

config.txt names the seeds, one HOST:PORT per line. A line may end in # and a comment; a # directly
behind the port pins the seed's id: HOST:PORT#<64 hexadecimal characters>.")]
pub(crate) struct PeerArgs {
    /// File that names the seeds
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of the peer [default: HOST-PID]
    #[arg(long)]
    name: Option<Name>,
    /// Port to listen at [default: the system chooses]
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    port: Option<u16>,
    /// Address to listen at [default: loopback if all seeds are there, otherwise all interfaces]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Address at which others reach it, if that differs (NAT, containers); may be repeated
    #[arg(long, value_name = "IP:PORT", value_parser = advertised_address)]
    advertise: Vec<SocketAddr>,
    /// Messages to publish [default: 0; 10 with --preset classic]
    #[arg(long, value_name = "M")]
    messages: Option<u64>,
    /// Time between them [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    every: Option<Duration>,
    /// Time from joining to the first [default: 3s; 30s with --preset classic]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    after: Option<Duration>,
    /// Directory for its identity and the messages it keeps [default: a new identity, in memory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// End with exit code 7 if the network is not joined within this time [default: try for ever]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    join_within: Option<Duration>,
    /// How long it may take to hand over what it published when it ends: until then it waits for
    /// another node to confirm it, and if none does, its exit code is 8
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    leave_within: Duration,
    /// Started by another program: say the address as JSON, wait for a line on standard input
    /// before reading --config, say the control file as JSON, and leave when standard input closes
    #[arg(long, requires = "listen")]
    supervised: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    run_dir: RunDirArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl PeerArgs {
    fn schedule(&self) -> Option<Schedule> {
        let classic = self.network.common.preset == Preset::Classic;
        let messages = self.messages.unwrap_or(if classic { 10 } else { 0 });
        let schedule = Schedule {
            messages,
            every: self.every.unwrap_or(Duration::from_secs(5)),
            after: self.after.unwrap_or(Duration::from_secs(if classic { 30 } else { 3 })),
        };
        (messages > 0).then_some(schedule)
    }

    /// Reports what is wrong with the arguments before the peer is started.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.advertise.len() > MAX_ADDRESSES {
            return Err(StartError::TooManyAddresses(self.advertise.len()).into());
        }
        self.network.check()?;
        self.http.check()
    }
}

pub(crate) async fn run(args: PeerArgs) -> Outcome {
    open_files::raise_limit();
    let name = args.name.clone().map_or_else(default_name, Ok)?;
    let mut stops = StopSignals::catch()?;
    let mut supervisor = args.supervised.then(Supervisor::new);
    let console = if args.supervised { log::Console::Program } else { log::Console::Nodes };
    // The configuration of a supervised node exists only when the supervisor says so.
    let mut seeds = if args.supervised { None } else { Some(settings::read_seeds(&args.config)?) };
    let logs = Logs::start(&args.log, console, log::Limits::NODE)?;
    let listen = args.listen.unwrap_or_else(|| {
        default_listen(seeds.as_deref().unwrap_or_default(), args.port.unwrap_or(0))
    });
    let listener = Listener::bind(listen)?;
    if let Some(supervisor) = &mut supervisor {
        supervisor.rendezvous(listener.local_addr(), None).await?;
        seeds = Some(settings::read_seeds(&args.config)?);
    }
    let seeds = seeds.unwrap_or_default();
    if args.advertise.is_empty() {
        warn_of_loopback(listener.local_addr(), &seeds, true);
    }
    let (node, consumer, join_limit) = start(&args, name, listener, seeds).await?;
    let name = node.name().to_string();
    logs.peer(&name, node.id());
    let message_log = tokio::spawn(keep_message_log(node.clone(), consumer, logs.messages(&name)));
    let mut control = Control::start(args.run_dir.run_dir.as_deref(), &args.http).await?;
    let file = control.add(&name, node.clone());
    if let Some(supervisor) = &supervisor {
        supervisor.ready(&file)?;
    } else {
        out::say(format!("{name} ({}) listens at {}", node.id(), node.local_addr()));
        out::say(format!("watch it at {}", control.page()));
    }
    if let Some(schedule) = args.schedule() {
        tokio::spawn(workload::publish(node.clone(), schedule));
    }
    let mut console = if args.supervised { None } else { Console::open() };
    let outcome = tokio::select! {
        () = node.stopped() => outcome_of_ended(&node),
        () = stops.next() => Ok(Exit::Ok),
        left = Console::run(&mut console, Client::new(&file)?) => left.map(|()| Exit::Ok),
        () = supervisor_gone(&mut supervisor) => Ok(Exit::Ok),
        failure = join_timeout(join_limit) => Err(failure),
    };
    let outcome = leave(&node, &mut stops, outcome).await;
    // The task ends with the node.
    let _ = message_log.await;
    control.end().await;
    logs.flush();
    outcome
}

async fn start(
    args: &PeerArgs,
    name: Name,
    listener: Listener,
    seeds: Vec<SeedAddress>,
) -> Outcome<(Node, Option<Consumer>, Option<JoinLimit>)> {
    let mut builder = Node::builder()
        .leave_within(args.leave_within)
        .name(name)
        .config(args.network.config()?)
        .listener(listener)
        .seeds(seeds);
    if !args.advertise.is_empty() {
        builder = builder.advertise(args.advertise.clone());
    }
    if let Some(dir) = &args.data_dir {
        builder = builder.data_dir(dir.clone());
    }
    if let Some(key) = args.network.common.network_key()? {
        builder = builder.network_key(key);
    }
    // Subscribed before the start, so that no event is missed, and only with a limit to join
    // within.
    let join_limit = args.join_within.map(|within| JoinLimit { events: builder.events(), within });
    let consumer = builder.consumer();
    Ok((builder.start().await?, consumer, join_limit))
}

/// The outcome of a node that has ended by itself.
fn outcome_of_ended(node: &Node) -> Outcome {
    let Some(duplicate) = node.duplicate_identity() else { return Ok(Exit::Ok) };
    let at = duplicate.address.map_or_else(String::new, |a| format!(" and runs at {a}"));
    let message = format!(
        "another process with the identity {} started earlier{at}: a data directory was copied; give each \
         node its own data directory (without identity.key in it, the node makes a new identity)",
        node.id()
    );
    Err(Failure::new(Exit::DuplicateIdentity, message))
}

/// Logs the messages that the peer receives. Those that the log on the disk has are acknowledged,
/// so that with a data directory the next process logs the others.
async fn keep_message_log(node: Node, consumer: Option<Consumer>, mut log: log::MessageLog) {
    let Some(mut consumer) = consumer else { return };
    // When the log must be written to the disk.
    let mut due: Option<Instant> = None;
    loop {
        let received = match due {
            None => consumer.recv().await,
            Some(at) => match timeout_at(at, consumer.recv()).await {
                Ok(received) => received,
                Err(_) => {
                    if log.sync().await {
                        consumer.acknowledge();
                    }
                    due = None;
                    continue;
                }
            },
        };
        match received {
            Some(SubscriptionItem::Message(incoming)) => log.record(&node, &incoming).await,
            Some(SubscriptionItem::Gap(gap)) => log.record_gap(&gap),
            Some(SubscriptionItem::CaughtUp) => continue,
            None => break,
        }
        due.get_or_insert_with(|| Instant::now() + LOG_SYNC_INTERVAL);
    }
    if log.sync().await {
        consumer.acknowledge();
    }
}

async fn supervisor_gone(supervisor: &mut Option<Supervisor>) {
    match supervisor {
        Some(supervisor) => supervisor.gone().await,
        None => std::future::pending().await,
    }
}

/// The limit to join within, and the events of the node.
struct JoinLimit {
    events: Events,
    within: Duration,
}

/// Resolves when the time to join is over and the peer has not joined.
async fn join_timeout(join_limit: Option<JoinLimit>) -> Failure {
    let Some(JoinLimit { mut events, within }) = join_limit else {
        return std::future::pending().await;
    };
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    let joined = async {
        while let Some(occurrence) = events.recv().await {
            let EventItem::Event(stamped) = occurrence else { continue };
            match stamped.event {
                Event::Joined { .. } => return,
                Event::SeedLost { seed, why, .. } | Event::SeedRefused { seed, why } => {
                    reasons.insert(seed, why);
                }
                _ => {}
            }
        }
    };
    if timeout(within, joined).await.is_ok() {
        // Events without a reader would pile up.
        drop(events);
        return std::future::pending().await;
    }
    let mut message =
        format!("not registered at a majority of the seeds within {}", duration::show(within));
    for (seed, why) in &reasons {
        message += &format!("; {}: {}", escape::text(seed), escape::text(why));
    }
    let another = DialError::OtherNetwork.to_string();
    message += if reasons.values().any(|why| why.contains(&another)) {
        "; check --network-key-file: it must be the seeds' key"
    } else {
        "; check the addresses and pins in --config, and that the seeds run"
    };
    Failure::new(Exit::NotJoined, message)
}

/// Leaves the network, unless the node has left already. A second Ctrl-C ends it at once.
async fn leave(node: &Node, stops: &mut StopSignals, outcome: Outcome) -> Outcome {
    tokio::select! {
        left = node.leave() => match left {
            Err(e @ LeaveError::Unconfirmed(_)) => match outcome {
                // An earlier failure keeps its exit code.
                Err(before) if before.exit != Exit::Ok => Err(before.and_also(&e)),
                _ => Err(Failure::new(Exit::Unconfirmed, e)),
            },
            _ => outcome,
        },
        () = stops.next() => {
            let unconfirmed = node.unconfirmed_messages();
            node.kill();
            if unconfirmed == 0 {
                return Ok(Exit::Interrupted);
            }
            let message = format!(
                "ended by a second signal: no other node is known to hold the last {} that this node published",
                counted(unconfirmed, "message")
            );
            Err(Failure::new(Exit::Interrupted, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        peer: PeerArgs,
    }

    fn schedule(args: &[&str]) -> Option<(u64, u64, u64)> {
        let line = [&["rumor", "--config", "c"], args].concat();
        let schedule = Line::parse_from(line).peer.schedule()?;
        Some((schedule.messages, schedule.every.as_secs(), schedule.after.as_secs()))
    }

    /// P5: one every 5 s, 10 in all, the first one after 30 s.
    #[test]
    fn classic_preset_publishes_as_the_descriptions_say() {
        assert_eq!(schedule(&["--preset", "classic"]), Some((10, 5, 30)));
        assert_eq!(schedule(&["--preset", "classic", "--messages", "0"]), None);
        assert_eq!(schedule(&["--messages", "2"]), Some((2, 5, 3)));
        assert_eq!(schedule(&[]), None);
    }
}

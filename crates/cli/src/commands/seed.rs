//! `rumor seed`

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rumormill::proto::{Name, SeedAddress};
use rumormill::{Listener, SeedNode};
use rumormill_launch::STOP_TIMEOUT;
use rumormill_launch::args::CommonArgs;
use rumormill_launch::control::{Control, HttpArgs};
use rumormill_launch::identity::fresh_identity;
use rumormill_launch::listen::{bind_seed, warn_of_loopback};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::running::RunDirArgs;
use rumormill_terminal::signals::StopSignals;
use rumormill_terminal::{open_files, out};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::log::{self, LogArgs, Logs};
use crate::settings;
use crate::supervise::Supervisor;

/// Run a seed, or all seeds of a configuration
///
/// A seed keeps the registry of the network and introduces peers to each other; it carries no
/// messages. It ends by Ctrl-C or `rumor leave`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor seed --config config.txt --all
  rumor seed --config config.txt --port 7001
  rumor seed --config config.txt --host 10.0.0.2 --data-dir /var/lib/rumor
  rumor seed --config config.txt --host seed-2.example.org --listen 0.0.0.0:7000

config.txt names the seeds, one HOST:PORT per line. A line may end in # and a comment; a # directly
behind the port pins the seed's id: HOST:PORT#<64 hexadecimal characters>.")]
pub(crate) struct SeedArgs {
    /// File that names all seeds of the network
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Run the seed with this port in the file
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Run the seed with this host in the file
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Run all seeds of the file
    #[arg(long, conflicts_with_all = ["port", "host", "listen", "supervised"])]
    all: bool,
    /// Address to listen at, if it is another one than the file says (NAT, containers)
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Directory for its identity and registry; with --all, for a directory seed-PORT of each
    /// [default: a new identity, and the registry in memory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Started by another program: say the address as JSON, wait for a line on standard input
    /// before reading --config, say the control file as JSON, and stop when standard input closes
    #[arg(long, requires = "listen")]
    supervised: bool,
    /// Name of its logs and of its control file [default: seed-PORT]
    #[arg(long, conflicts_with = "all")]
    name: Option<Name>,
    #[command(flatten)]
    network: CommonArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    run_dir: RunDirArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl SeedArgs {
    /// Reports what is wrong with the arguments before the seed is started.
    pub(crate) fn check(&self) -> Outcome<()> {
        self.network.config()?;
        self.network.network_key()?;
        self.http.check()
    }
}

pub(crate) async fn run(args: SeedArgs) -> Outcome {
    open_files::raise_limit();
    let mut stops = StopSignals::catch()?;
    if args.supervised {
        supervised(&args, &mut stops).await
    } else {
        standalone(&args, &mut stops).await
    }
}

async fn standalone(args: &SeedArgs, stops: &mut StopSignals) -> Outcome {
    let seeds = settings::read_seeds(&args.config)?;
    let own = select_seeds(args, &seeds).await?;
    let console = if own.len() > 1 { log::Console::NamedNodes } else { log::Console::Nodes };
    let logs = Logs::start(&args.log, console, log::Limits::NODE)?;
    // All listeners are bound first: a seed whose port is taken must not leave the others running.
    let mut listeners = Vec::new();
    for &index in &own {
        let listener = match args.listen {
            Some(address) => {
                warn_of_loopback(address, &seeds, false);
                Listener::bind(address)?
            }
            None => {
                let all: Vec<&str> = own.iter().map(|&i| seeds[i].host_port.as_str()).collect();
                bind_seed(&seeds[index].host_port, &all).await?
            }
        };
        listeners.push((index, listener));
    }
    let mut control = Control::start(args.run_dir.run_dir.as_deref(), &args.http).await?;
    let mut nodes = Vec::new();
    for (index, listener) in listeners {
        let name = name_of(args, &seeds, index);
        let dir = args.data_dir.as_deref().map(|d| data_dir(d, args.all, &name));
        let node = start(args, &seeds, index, listener, dir).await?;
        announce(&node, &name, &logs, &seeds[index]);
        control.add(&name, node.clone());
        nodes.push(node);
    }
    if args.data_dir.is_none() {
        out::say("the registry is kept in memory only; --data-dir keeps it over a restart");
    }
    out::say(format!("watch it at {}", control.page()));
    let interrupted = serve(&nodes, stops, None, &mut control).await;
    control.end().await;
    logs.flush();
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

async fn supervised(args: &SeedArgs, stops: &mut StopSignals) -> Outcome {
    let mut supervisor = Supervisor::new();
    let logs = Logs::start(&args.log, log::Console::Program, log::Limits::NODE)?;
    let Some(listen) = args.listen else {
        return Err(Failure::new(Exit::Usage, "--supervised needs --listen"));
    };
    let listener = Listener::bind(listen)?;
    let identity = fresh_identity()?;
    // The identity in a data directory is known only after the directory was opened.
    let id = args.data_dir.is_none().then(|| identity.id());
    supervisor.rendezvous(listener.local_addr(), id).await?;
    let seeds = settings::read_seeds(&args.config)?;
    let index = if args.port.is_some() || args.host.is_some() {
        select_seeds(args, &seeds).await?.first().copied()
    } else {
        let own = listener.local_addr().to_string();
        seeds.iter().position(|s| s.host_port == own)
    };
    let index = index.ok_or_else(|| {
        let message = format!(
            "{} does not name {}, where this seed listens; add it, or say with --host and --port \
             which of the seeds this one is",
            args.config.display(),
            listener.local_addr()
        );
        Failure::new(Exit::Config, message)
    })?;
    let name = name_of(args, &seeds, index);
    let mut builder = builder(args, &seeds, index, listener)?;
    builder = match &args.data_dir {
        Some(dir) => builder.data_dir(dir.clone()),
        None => builder.identity(identity),
    };
    let node = builder.start().await?;
    logs.seed(&name, node.id());
    logs.follow_degrees(&name, &node);
    let mut control = Control::start(args.run_dir.run_dir.as_deref(), &args.http).await?;
    supervisor.ready(&control.add(&name, node.clone()))?;
    serve(&[node], stops, Some(&mut supervisor), &mut control).await;
    control.end().await;
    logs.flush();
    Ok(Exit::Ok)
}

fn builder(
    args: &SeedArgs,
    seeds: &[SeedAddress],
    index: usize,
    listener: Listener,
) -> Outcome<rumormill::SeedBuilder> {
    let mut builder = SeedNode::builder()
        .config(args.network.config()?)
        .listener(listener)
        .seeds(seeds.to_vec())
        .own_index(Some(index));
    if let Some(key) = args.network.network_key()? {
        builder = builder.network_key(key);
    }
    Ok(builder)
}

async fn start(
    args: &SeedArgs,
    seeds: &[SeedAddress],
    index: usize,
    listener: Listener,
    data_dir: Option<PathBuf>,
) -> Outcome<SeedNode> {
    let mut builder = builder(args, seeds, index, listener)?;
    if let Some(dir) = data_dir {
        builder = builder.data_dir(dir);
    }
    let node = builder.start().await?;
    match seeds[index].pin {
        Some(pin) if pin != node.id() => {
            node.kill();
            let message = format!(
                "{} pins {} to the id {}, but this seed has {}; correct the pin, or give \
                 --data-dir with the identity it means",
                args.config.display(),
                seeds[index].host_port,
                pin.to_hex(),
                node.id().to_hex()
            );
            Err(Failure::new(Exit::Config, message))
        }
        _ => Ok(node),
    }
}

fn announce(node: &SeedNode, name: &str, logs: &Logs, seed: &SeedAddress) {
    logs.seed(name, node.id());
    logs.follow_degrees(name, node);
    out::say(format!(
        "{name} listens at {}; to pin it: {}#{}",
        node.local_addr(),
        seed.host_port,
        node.id().to_hex()
    ));
}

/// Serves all seeds until they have ended or are asked to end, and then ends them. A seed that ends
/// before the others is no longer served. Says whether a second signal cut the end short.
async fn serve(
    nodes: &[SeedNode],
    stops: &mut StopSignals,
    supervisor: Option<&mut Supervisor>,
    control: &mut Control,
) -> bool {
    let all_stopped = async {
        let stopped = |node: &SeedNode| {
            let node = node.clone();
            async move {
                node.stopped().await;
                node.id()
            }
        };
        let mut running: FuturesUnordered<_> = nodes.iter().map(stopped).collect();
        while let Some(id) = running.next().await {
            control.remove(id);
        }
    };
    let supervisor_gone = async {
        match supervisor {
            Some(supervisor) => supervisor.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = all_stopped => return false,
        () = stops.next() => {}
        () = supervisor_gone => {}
    }
    let stop = async {
        for node in nodes {
            let _ = timeout(STOP_TIMEOUT, node.stop()).await;
        }
    };
    tokio::select! {
        () = stop => false,
        () = stops.next() => true,
    }
}

fn host_and_port(seed: &SeedAddress) -> (&str, Option<u16>) {
    match seed.host_port.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']), port.parse().ok()),
        None => (&seed.host_port, None),
    }
}

fn name_of(args: &SeedArgs, seeds: &[SeedAddress], index: usize) -> String {
    args.name.as_ref().map_or_else(|| default_name(seeds, index), Name::to_string)
}

fn default_name(seeds: &[SeedAddress], index: usize) -> String {
    let port = |s| host_and_port(s).1;
    let own = port(&seeds[index]);
    let same = seeds[..index].iter().filter(|s| port(s) == own).count();
    let number = own.unwrap_or_default();
    if same == 0 { format!("seed-{number}") } else { format!("seed-{number}-{}", same + 1) }
}

fn data_dir(dir: &Path, all: bool, name: &str) -> PathBuf {
    if all { dir.join(name) } else { dir.to_owned() }
}

/// The given parts of the address of a seed.
fn wanted(args: &SeedArgs) -> String {
    let host = args.host.as_ref().map(|host| format!("the host {host}"));
    let port = args.port.map(|port| format!("the port {port}"));
    host.into_iter().chain(port).collect::<Vec<_>>().join(" and ")
}

/// The places of the seeds in the file that are to run here.
async fn select_seeds(args: &SeedArgs, seeds: &[SeedAddress]) -> Outcome<Vec<usize>> {
    let list = || {
        let list: Vec<&str> = seeds.iter().map(|s| s.host_port.as_str()).collect();
        list.join(", ")
    };
    if args.all {
        return Ok((0..seeds.len()).collect());
    }
    let mut found: Vec<usize> = (0..seeds.len())
        .filter(|&i| {
            let (host, port) = host_and_port(&seeds[i]);
            args.port.is_none_or(|p| port == Some(p))
                && args
                    .host
                    .as_deref()
                    .is_none_or(|h| h.trim_matches(['[', ']']).eq_ignore_ascii_case(host))
        })
        .collect();
    if found.len() > 1 && args.port.is_some() {
        // Several hosts use this port: the seed to run is the one whose address belongs to this
        // host.
        let mut local = Vec::new();
        for &index in &found {
            if is_local(&seeds[index].host_port).await {
                local.push(index);
            }
        }
        if local.len() == 1 {
            found = local;
        }
    }
    let usage = |message| Err(Failure::new(Exit::Usage, message));
    match found.len() {
        1 => Ok(found),
        0 => usage(format!(
            "{} names no seed with {}; it names {}",
            args.config.display(),
            wanted(args),
            list()
        )),
        n => usage(format!(
            "{n} seeds match; say which of them this one is, with {}, or run all of them with \
             --all: {} names {}",
            if args.host.is_some() { "--port" } else { "--port or --host" },
            args.config.display(),
            list()
        )),
    }
}

/// Whether an address belongs to this machine, so that a socket can be bound to it.
async fn is_local(host_port: &str) -> bool {
    let Ok(addresses) = lookup_host(host_port).await else { return false };
    addresses.into_iter().any(|a| UdpSocket::bind((a.ip(), 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(hosts: &[&str]) -> Vec<SeedAddress> {
        hosts.iter().map(|h| SeedAddress { host_port: (*h).to_owned(), pin: None }).collect()
    }

    #[test]
    fn default_names_come_from_ports_and_are_distinct() {
        let seeds = seeds(&["a:7000", "b:7000", "[::1]:7001"]);
        let names: Vec<String> = (0..3).map(|i| default_name(&seeds, i)).collect();
        assert_eq!(names, ["seed-7000", "seed-7000-2", "seed-7001"]);
        assert_eq!(host_and_port(&seeds[2]), ("::1", Some(7001)));
    }

    #[tokio::test]
    async fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local("127.0.0.1:7000").await);
        assert!(!is_local("192.0.2.1:7000").await);
    }
}

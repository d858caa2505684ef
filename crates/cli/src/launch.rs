//! What the commands that start nodes share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rumormill::proto::{
    BroadcastMode, Config, ConfigBuilder, ConfigError, Identity, Name, PeerId, Preset, SeedAddress,
};
use rumormill::{NetworkKey, seeds_file};
use rumormill_http::{
    Access, ControlFileGuard, Director, Handle, RunDir, ServeError, Server, Token,
};

use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::out;
use rumormill_units::{duration, size};

/// How long a node that is asked to end may take for its goodbye.
pub(crate) const GOODBYE: Duration = Duration::from_secs(3);

/// What every command that starts nodes takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// Timings that belong together: classic (13 s, 3 misses), lan, wan; the same at all nodes of a network
    #[arg(long, value_name = "PRESET", default_value = "lan")]
    pub(crate) preset: Preset,
    /// File with the key of a private network: 64 hexadecimal characters; further keys in it are
    /// accepted too, for changing keys
    #[arg(long, value_name = "FILE")]
    pub(crate) network_key_file: Option<PathBuf>,
}

/// What every command that starts peers takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct NetworkArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// How messages spread: trees (one copy a peer), flood (a copy from nearly every neighbour)
    #[arg(long, value_name = "MODE", default_value = "trees")]
    pub(crate) broadcast: BroadcastMode,
    /// Bytes of messages that each peer keeps for others, in memory (and in --data-dir), such as 64MiB
    /// [default: 16MiB]; alike at all peers, because publishers go by their own
    #[arg(long, value_name = "BYTES", value_parser = retention)]
    pub(crate) retention: Option<u64>,
    /// How long each peer keeps them [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = retention_age)]
    pub(crate) retention_age: Option<Duration>,
    /// Most neighbours that each peer looks for; it takes one more from who has too few [default: as many
    /// as its place in the power law]
    #[arg(long, value_name = "N", value_parser = max_degree)]
    pub(crate) max_degree: Option<u16>,
}

fn retention(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    allowed(Config::lan().retention_bytes(bytes)).map(|()| bytes)
}

fn retention_age(text: &str) -> Result<Duration, String> {
    let age = duration::parse(text)?;
    allowed(Config::lan().retention_age(age)).map(|()| age)
}

fn max_degree(text: &str) -> Result<u16, String> {
    let degree = text.parse().map_err(|_| "expected a number of neighbours".to_owned())?;
    allowed(Config::lan().max_degree(Some(degree))).map(|()| degree)
}

/// Whether the core takes the one value that was set, and what it would take.
fn allowed(config: ConfigBuilder) -> Result<(), String> {
    config.build().map(drop).map_err(|e| match e {
        ConfigError::OutOfRange { expected, .. } => format!("it must be {expected}"),
        e => e.to_string(),
    })
}

/// An address that others can be told.
pub(crate) fn advertised(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected the IP address and port at which others reach it, such as 203.0.113.7:7400"
            .to_owned()
    })?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(format!(
            "nobody can connect to {address}: name one address and port of this host, as \
                            others see it"
        ));
    }
    Ok(address)
}

impl NetworkArgs {
    pub(crate) fn config(&self) -> Outcome<Config> {
        let mut config = Config::of(self.common.preset).broadcast(self.broadcast);
        if let Some(bytes) = self.retention {
            config = config.retention_bytes(bytes);
        }
        if let Some(age) = self.retention_age {
            config = config.retention_age(age);
        }
        config.max_degree(self.max_degree).build().or_exit(Exit::Config)
    }
}

impl NetworkArgs {
    /// What can be known to be wrong before anything is started.
    pub(crate) fn check(&self) -> Outcome<()> {
        self.config()?;
        self.common.network_key().map(drop)
    }
}

impl CommonArgs {
    /// The settings of a seed.
    pub(crate) fn config(&self) -> Outcome<Config> {
        Config::of(self.preset).build().or_exit(Exit::Config)
    }

    pub(crate) fn network_key(&self) -> Outcome<Option<NetworkKey>> {
        self.network_key_file.as_deref().map(network_key).transpose()
    }
}

/// Reads a network key, or a ring of them.
pub(crate) fn network_key(path: &Path) -> Outcome<NetworkKey> {
    let wrong = |what: String| Failure::new(Exit::Config, format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the network key: {e}")))?;
    text.trim().parse().map_err(|e: rumormill::ParseNetworkKeyError| {
        wrong(format!("{e}; make one with `openssl rand -hex 32`"))
    })
}

/// A new identity, for a node that keeps none.
pub(crate) fn fresh_identity() -> Outcome<Identity> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|e| {
        Failure::new(Exit::Failed, format!("the system gives no randomness for an identity: {e}"))
    })?;
    Ok(Identity::from_secret(&secret))
}

/// Reads the seeds of the network.
pub(crate) fn seeds(path: &Path) -> Outcome<Vec<SeedAddress>> {
    if crate::settings::is_settings(path) {
        let named = crate::settings::seeds_of(path)?;
        return seeds_file::parse(&named).or_exit(Exit::Config).map_err(|mut f| {
            f.error = f.error.map(|e| e.context(format!("seeds of {}", path.display())));
            f
        });
    }
    Ok(seeds_file::read(path)?)
}

/// Takes a text as a name, or says what is wrong with it.
pub(crate) fn name(text: &str) -> Outcome<Name> {
    Name::new(text).map_err(|e| Failure::new(Exit::Usage, format!("{text:?} is not a name: {e}")))
}

/// A name nobody else is likely to have: the machine's and the process's.
pub(crate) fn default_name() -> Outcome<Name> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    let host = if host.is_empty() { "peer".to_owned() } else { host };
    name(&format!("{host}-{}", std::process::id()))
}

/// Where a node listens if nobody says: on loopback if all seeds are there, else on all
/// interfaces, over IPv4 as well as IPv6: a name may lead to either.
pub(crate) fn default_listen(seeds: &[SeedAddress], port: u16) -> SocketAddr {
    let ips: Vec<Option<IpAddr>> = seeds.iter().map(|s| literal_ip(&s.host_port)).collect();
    let all = |test: fn(&IpAddr) -> bool| ips.iter().all(|ip| ip.as_ref().is_some_and(test));
    let ip: IpAddr = match (all(IpAddr::is_loopback), all(IpAddr::is_ipv6)) {
        (true, false) => Ipv4Addr::LOCALHOST.into(),
        (true, true) => Ipv6Addr::LOCALHOST.into(),
        (false, _) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, port)
}

/// Whether a `HOST:PORT` names the loopback interface itself, rather than a name that leads there.
pub(crate) fn is_loopback(host_port: &str) -> bool {
    literal_ip(host_port).is_some_and(|ip| ip.is_loopback())
}

/// Warns that no other host can reach a node, if it listens on the loopback interface and seeds are
/// elsewhere.
pub(crate) fn warn_of_loopback(listen: SocketAddr, seeds: &[SeedAddress], is_peer: bool) {
    let elsewhere = seeds.iter().find(|s| !is_loopback(&s.host_port));
    if let Some(seed) = elsewhere.filter(|_| listen.ip().is_loopback()) {
        let advice = if is_peer { " (or --advertise IP:PORT behind a proxy)" } else { "" };
        out::say(format!(
            "warning: it listens at {listen}, which no other host can reach, and {} may be on another \
             host; set --listen [::]:{}{advice}",
            seed.host_port,
            listen.port()
        ));
    }
}

/// The IP address in a `HOST:PORT`, if it is one. `localhost` counts as one.
pub(crate) fn literal_ip(host_port: &str) -> Option<IpAddr> {
    if let Ok(address) = host_port.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let (host, _) = host_port.rsplit_once(':')?;
    host.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into())
}

/// The control API of this process, and the files by which its nodes are found.
#[derive(Debug)]
pub(crate) struct Control {
    server: Server,
    run_dir: RunDir,
    guards: BTreeMap<String, ControlFileGuard>,
}

/// Where the page and the HTTP API are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HttpArgs {
    /// Address of the page that shows the network, and of the HTTP API. On loopback everybody on this
    /// machine may look, and whoever has the token may change things; elsewhere, only with
    /// --http-token-file [default: loopback, a port that the system chooses, all with a token]
    #[arg(long, value_name = "IP:PORT", help_heading = "Page and HTTP API")]
    http: Option<SocketAddr>,
    /// File with the token that opens the page and the API: 32 hexadecimal digits or more
    #[arg(long, value_name = "FILE", help_heading = "Page and HTTP API")]
    http_token_file: Option<PathBuf>,
}

impl HttpArgs {
    /// What can be known to be wrong before anything is served.
    pub(crate) fn check(&self) -> Outcome<()> {
        let token = self.http_token_file.as_deref().map(read_token).transpose()?;
        match self.http {
            Some(address) if token.is_none() && !address.ip().is_loopback() => {
                Err(not_served(&ServeError::NotLoopback(address)))
            }
            _ => Ok(()),
        }
    }

    async fn serve(&self) -> Outcome<Server> {
        let token = self.http_token_file.as_deref().map(read_token).transpose()?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (address, access) = match (self.http, token) {
            (Some(address), None) => (address, Access::LocalReaders),
            (address, token) => (address.unwrap_or(loopback), Access::Token(token)),
        };
        Server::start_at(address, access).await.map_err(|e| not_served(&e))
    }
}

fn not_served(e: &ServeError) -> Failure {
    let (exit, hint) = match e {
        ServeError::NotLoopback(_) => (Exit::Config, " (--http-token-file)"),
        ServeError::Bind { .. } => (Exit::Bind, "; choose another address with --http"),
        ServeError::Randomness(_) => (Exit::Failed, ""),
    };
    Failure::new(exit, format!("{e}{hint}"))
}

fn read_token(path: &Path) -> Outcome<Token> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let message = format!("cannot read the token in {}: {e}", path.display());
        Failure::new(Exit::Config, message)
    })?;
    Token::parse(text.trim()).ok_or_else(|| {
        let message = format!(
            "{} holds no token: it takes 32 to 256 hexadecimal digits, such as `openssl rand -hex 32` \
             prints",
            path.display()
        );
        Failure::new(Exit::Config, message)
    })
}

impl Control {
    pub(crate) async fn start(run_dir: Option<&Path>, http: &HttpArgs) -> Outcome<Self> {
        let server = http.serve().await?;
        Ok(Control { server, run_dir: RunDir::locate(run_dir), guards: BTreeMap::new() })
    }

    /// The address of the page, with what it needs to change things.
    pub(crate) fn page(&self) -> String {
        self.server.page_url()
    }

    /// Who does what the page asks for.
    pub(crate) fn direct(&self, director: Box<dyn Director>) {
        self.server.direct(director);
    }

    /// Serves a node. Without its control file it works all the same, so a run directory that
    /// cannot be written to is only told.
    pub(crate) fn add(
        &mut self,
        name: &str,
        handle: impl Into<Handle>,
    ) -> rumormill_http::ControlFile {
        let file = self.server.add(name, handle);
        match self.run_dir.announce(&file) {
            Ok(guard) => {
                self.guards.insert(file.id.clone(), guard);
            }
            Err(e) => {
                out::say(format!("rumor: {name} cannot be controlled from outside: {e}"));
            }
        }
        file
    }

    /// Lets go of a node that has ended.
    pub(crate) fn remove(&mut self, id: PeerId) {
        self.guards.remove(&id.to_hex());
        self.server.remove(id);
    }

    /// Removes the control files and ends the server.
    pub(crate) async fn end(mut self) {
        self.guards.clear();
        self.server.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(hosts: &[&str]) -> String {
        let seeds: Vec<SeedAddress> =
            hosts.iter().map(|h| SeedAddress { host_port: (*h).to_owned(), pin: None }).collect();
        default_listen(&seeds, 5).to_string()
    }

    #[test]
    fn a_network_on_loopback_stays_there() {
        assert_eq!(listen(&["127.0.0.1:1", "localhost:2"]), "127.0.0.1:5");
        assert_eq!(listen(&["[::1]:1"]), "[::1]:5");
        assert_eq!(listen(&["127.0.0.1:1", "10.0.0.1:1"]), "[::]:5");
        assert_eq!(listen(&["seed.example.org:1"]), "[::]:5");
        assert_eq!(listen(&["[2001:db8::1]:1"]), "[::]:5");
    }

    #[test]
    fn the_default_name_is_a_name() {
        assert!(default_name().is_ok());
    }
}

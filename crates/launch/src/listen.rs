//! The addresses at which nodes listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rumormill::Listener;
use rumormill::proto::SeedAddress;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;
use tokio::net::lookup_host;

/// A port of the loopback interface that the system chooses.
pub const ANY_LOOPBACK_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where a node listens unless the user names an address: on loopback if all seeds are there,
/// otherwise on all interfaces, over IPv4 as well as IPv6, because a name may lead to either.
pub fn default_listen(seeds: &[SeedAddress], port: u16) -> SocketAddr {
    let ips: Vec<Option<IpAddr>> = seeds.iter().map(|s| literal_ip(&s.host_port)).collect();
    let all = |test: fn(&IpAddr) -> bool| ips.iter().all(|ip| ip.as_ref().is_some_and(test));
    let ip: IpAddr = match (all(IpAddr::is_loopback), all(IpAddr::is_ipv6)) {
        (true, false) => Ipv4Addr::LOCALHOST.into(),
        (true, true) => Ipv6Addr::LOCALHOST.into(),
        (false, _) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, port)
}

/// Whether a `HOST:PORT` is an address of the loopback interface, rather than a name that may lead
/// there.
pub fn is_loopback(host_port: &str) -> bool {
    literal_ip(host_port).is_some_and(|ip| ip.is_loopback())
}

/// Warns that no other host can reach a node, if it listens on the loopback interface and a seed is
/// on another host.
pub fn warn_of_loopback(listen: SocketAddr, seeds: &[SeedAddress], is_peer: bool) {
    let remote = seeds.iter().find(|s| !is_loopback(&s.host_port));
    if let Some(seed) = remote.filter(|_| listen.ip().is_loopback()) {
        let advice = if is_peer { " (or --advertise IP:PORT behind a proxy)" } else { "" };
        out::say(format!(
            "warning: it listens at {listen}, which no other host can reach, and {} may be on another \
             host; set --listen [::]:{}{advice}",
            seed.host_port,
            listen.port()
        ));
    }
}

/// The IP address in a `HOST:PORT`; `None` if the host is a name. `localhost` counts as an address.
pub fn literal_ip(host_port: &str) -> Option<IpAddr> {
    if let Ok(address) = host_port.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let (host, _) = host_port.rsplit_once(':')?;
    host.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into())
}

/// Binds the listener of a seed where the configuration says: at an IP address, or, for a name, on
/// all interfaces, unless another seed of this process (`local_seeds` names all of them) has the
/// same port.
///
/// # Errors
/// The host has no address, or none of its addresses can be listened on.
pub async fn bind_seed(host_port: &str, local_seeds: &[&str]) -> Outcome<Listener> {
    let found = lookup_host(host_port).await.map_err(|e| {
        let message = format!("cannot find the address of {host_port}: {e}; correct --config");
        Failure::new(Exit::Config, message)
    })?;
    let port = |host_port: &str| host_port.rsplit_once(':').map(|(_, port)| port.to_owned());
    let shares_port = local_seeds.iter().filter(|other| port(other) == port(host_port)).count() > 1;
    let addresses = seed_listen_addresses(host_port, found.collect(), shares_port);
    let mut failure = None;
    for address in addresses {
        match Listener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(e) => failure = Some(e.into()),
        }
    }
    Err(failure.unwrap_or_else(|| {
        Failure::new(Exit::Config, format!("{host_port} has no address; correct --config"))
    }))
}

/// The addresses to try for a seed, given those that this host resolves its name to.
///
/// A name may lead to several addresses, to others later, and on this host to a loopback address
/// (127.0.1.1 on Debian), where no other host could join. So a seed with a name listens on all
/// interfaces, as peers do.
fn seed_listen_addresses(
    host_port: &str,
    resolved: Vec<SocketAddr>,
    shares_port: bool,
) -> Vec<SocketAddr> {
    match resolved.first() {
        Some(first) if literal_ip(host_port).is_none() && !shares_port => {
            vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, first.port()))]
        }
        _ => resolved,
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
    fn default_listen_is_loopback_only_if_all_seeds_are_on_loopback() {
        assert_eq!(listen(&["127.0.0.1:1", "localhost:2"]), "127.0.0.1:5");
        assert_eq!(listen(&["[::1]:1"]), "[::1]:5");
        assert_eq!(listen(&["127.0.0.1:1", "10.0.0.1:1"]), "[::]:5");
        assert_eq!(listen(&["seed.example.org:1"]), "[::]:5");
        assert_eq!(listen(&["[2001:db8::1]:1"]), "[::]:5");
    }

    #[test]
    fn seed_with_a_name_listens_on_all_interfaces() {
        let listen = |host_port: &str, found: &[&str]| {
            let found = found.iter().map(|a| a.parse().unwrap()).collect();
            let addresses = seed_listen_addresses(host_port, found, false);
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listen("web-1:7000", &["127.0.1.1:7000"]), "[::]:7000");
        assert_eq!(listen("web-1:7000", &["[2001:db8::1]:7000", "192.0.2.1:7000"]), "[::]:7000");
        assert_eq!(listen("192.0.2.1:7000", &["192.0.2.1:7000"]), "192.0.2.1:7000");
        assert_eq!(listen("localhost:7000", &["127.0.0.1:7000"]), "127.0.0.1:7000");
        assert_eq!(listen("web-1:7000", &[]), "");
        let found = vec!["192.0.2.1:7000".parse().unwrap()];
        let shared = seed_listen_addresses("web-1:7000", found.clone(), true);
        assert_eq!(shared, found, "another seed of this process has the same port");
    }
}

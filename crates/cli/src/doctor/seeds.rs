//! The checks of a configuration file: do its seeds have addresses, and does somebody listen there?

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::proto::SeedAddress;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Finding, Patient};
use crate::escape;

/// How long a seed may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries each of the seeds, all at once.
pub(crate) async fn look_at(file: &str, seeds: &[SeedAddress]) -> Patient {
    let tries: Vec<_> = seeds.iter().map(|s| tokio::spawn(reach(s.host_port.clone()))).collect();
    let mut findings = Vec::new();
    let mut reached = 0;
    for (seed, tried) in seeds.iter().zip(tries) {
        let address = escape::text(&seed.host_port);
        let pinned = if seed.pin.is_some() { "its key is pinned" } else { "its key is not pinned" };
        match tried.await.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(at) => {
                reached += 1;
                findings.push(Finding::ok("seed", format!("{address} accepts at {at}, {pinned}")));
            }
            Err(why) => findings.push(Finding::note(
                "seed",
                format!("{address}: {}", escape::text(&why)),
                "start it, correct its address, or let this host through to it",
            )),
        }
    }
    findings.push(majority(reached, seeds.len()));
    Patient { of: escape::text(file), findings }
}

pub(super) fn majority(reached: usize, all: usize) -> Finding {
    let needed = all / 2 + 1;
    let found = format!("{reached} of {all} seeds accept connections, {needed} are needed");
    if all == 0 {
        let advice = "name the seeds, one HOST:PORT a line";
        Finding::wrong("majority", "the file names no seed", advice)
    } else if reached >= needed {
        Finding::ok("majority", found)
    } else {
        let advice = "without a majority nobody can join, and no death is agreed on";
        Finding::wrong("majority", found, advice)
    }
}

async fn reach(host_port: String) -> Result<SocketAddr, String> {
    let tried = async {
        let addresses: Vec<SocketAddr> =
            lookup_host(&host_port).await.map_err(|e| format!("no address: {e}"))?.collect();
        let mut last = "its name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(address),
                Err(e) => last = format!("{address}: {e}"),
            }
        }
        Err(last)
    };
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    timeout(PATIENCE, tried).await.map_err(late)?
}

//! The checks of a configuration file: whether its seeds have addresses, and whether seeds of this
//! network answer there.

use futures_util::future::join_all;
use rumormill::proto::{DialError, PeerId, Role, SeedAddress};
use rumormill::{IdentifiedNode, IdentifyError, NetworkKey, identify};
use rumormill_terminal::escape;

use super::finding::{Finding, Level, Target};

/// Tries each of the seeds, all at once.
pub(crate) async fn check_seeds(
    file: &str,
    seeds: &[SeedAddress],
    key: Option<&NetworkKey>,
) -> Target {
    let all = join_all(seeds.iter().map(|s| identify(s, key))).await;
    let mut findings = Vec::new();
    let mut reached = 0;
    let mut known: Vec<(PeerId, &SeedAddress)> = Vec::new();
    for (seed, answer) in seeds.iter().zip(all) {
        let id = answer.as_ref().ok().map(|node| node.id);
        let owner = known.iter().find(|(known, _)| Some(*known) == id);
        let finding = match owner {
            Some((_, owner)) => same_identity(seed, owner),
            None => judge(seed, &answer),
        };
        known.extend(id.filter(|_| finding.level == Level::Ok).map(|id| (id, seed)));
        reached += usize::from(finding.level == Level::Ok);
        findings.push(finding);
    }
    findings.push(majority(reached, seeds.len()));
    Target { name: escape::text(file), findings }
}

/// The finding about a seed that has the key of another one, and does not count for the majority.
fn same_identity(seed: &SeedAddress, owner: &SeedAddress) -> Finding {
    let (address, owner) = (escape::text(&seed.host_port), escape::text(&owner.host_port));
    Finding::wrong(
        "seed",
        format!("{address} has the same identity as {owner}, and does not count"),
        "its data directory was copied, or the two names lead to one seed: give each seed a data directory \
         of its own, and name it once",
    )
}

/// The finding about one seed, from the answer at its address.
fn judge(seed: &SeedAddress, answer: &Result<IdentifiedNode, IdentifyError>) -> Finding {
    let address = escape::text(&seed.host_port);
    let why = match answer {
        Ok(node) if node.role != Role::Seed => {
            let found = format!("{address} is a peer, {}", node.id);
            return Finding::wrong("seed", found, "name a seed here, not a peer");
        }
        Ok(node) => {
            let pinned = if seed.pin.is_some() { "as pinned" } else { "not pinned" };
            return Finding::ok("seed", format!("{address} is seed {} ({pinned})", node.id));
        }
        Err(why) => why,
    };
    let found = format!("{address}: {}", escape::text(&why.to_string()));
    let IdentifyError::Call { why, .. } = why else {
        return Finding::wrong("seed", found, "no seed can be tried from this host");
    };
    match why {
        DialError::WrongIdentity => Finding::wrong(
            "seed",
            found,
            "the pin and the seed's key differ: correct the pin in the file, or give the seed its data \
             directory back",
        ),
        DialError::OtherNetwork => Finding::wrong(
            "seed",
            found,
            "the seed has another network key than this file, or one of the two has none: correct \
             network-key-file, or say --network-key-file",
        ),
        DialError::Incompatible => Finding::wrong(
            "seed",
            found,
            "another program listens there, or another version of rumor; correct the address, or update the seed",
        ),
        _ => Finding::note(
            "seed",
            found,
            "start it, correct its address, or open the firewall between it and this host",
        ),
    }
}

pub(super) fn majority(reached: usize, all: usize) -> Finding {
    let needed = all / 2 + 1;
    let found = format!("{reached} of {all} seeds answer, {needed} are needed");
    if all == 0 {
        let advice = "name the seeds, one HOST:PORT a line";
        Finding::wrong("majority", "the file names no seed", advice)
    } else if reached >= needed {
        Finding::ok("majority", found)
    } else {
        let advice = "start more of the seeds: without a majority no peer can join, and no dead peer is removed";
        Finding::wrong("majority", found, advice)
    }
}

//! Starting all seeds of a network in this process.

use std::sync::Arc;

use rumormill::proto::SeedAddress;
use rumormill::proto::wire::Verifier;
use rumormill::{Listener, SeedNode};
use rumormill_terminal::exit::Outcome;

use crate::args::CommonArgs;
use crate::identity::fresh_identity;
use crate::listen::{ANY_LOOPBACK_PORT, bind_seed};

/// Binds the listeners of `count` seeds, and starts the seeds when all addresses and ids are known.
/// A seed that `configured` names listens there, another one on loopback. With a `verifier`, the
/// seeds share the results of signature checks.
///
/// # Errors
/// A listener cannot be bound, the network key cannot be read, or a seed cannot be started.
pub async fn start_seeds(
    count: usize,
    configured: Option<&[SeedAddress]>,
    common: &CommonArgs,
    verifier: Option<&Arc<Verifier>>,
) -> Outcome<Vec<(SeedAddress, SeedNode)>> {
    let mut bound = Vec::new();
    let mut addresses = Vec::new();
    let named: Vec<&str> =
        configured.into_iter().flatten().map(|seed| seed.host_port.as_str()).collect();
    for index in 0..count {
        let (listener, host_port) = match configured.and_then(|c| c.get(index)) {
            Some(seed) => (bind_seed(&seed.host_port, &named).await?, seed.host_port.clone()),
            None => {
                let listener = Listener::bind(ANY_LOOPBACK_PORT)?;
                let host_port = listener.local_addr().to_string();
                (listener, host_port)
            }
        };
        let identity = fresh_identity()?;
        addresses.push(SeedAddress { host_port, pin: Some(identity.id()) });
        bound.push((listener, identity));
    }
    let mut seeds = Vec::new();
    for (index, (listener, identity)) in bound.into_iter().enumerate() {
        let mut builder = SeedNode::builder()
            .config(common.config()?)
            .identity(identity)
            .listener(listener)
            .seeds(addresses.clone())
            .own_index(Some(index));
        if let Some(verifier) = verifier {
            builder = builder.verifier(Arc::clone(verifier));
        }
        if let Some(key) = common.network_key()? {
            builder = builder.network_key(key);
        }
        seeds.push((addresses[index].clone(), builder.start().await?));
    }
    Ok(seeds)
}

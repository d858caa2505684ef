//! The parts of a seed that a concern may use during one call.

use crate::config::Config;
use crate::effects::Effects;
use crate::identity::Identity;
use crate::random::RngStream;
use crate::registry::Registry;
use crate::time::Time;
use crate::timers::Timers;

use super::links::SeedLinks;
use crate::timers::SeedTimer;

/// The outputs, the randomness, the links, the timers, and the parts that no call changes. A
/// concern changes only itself; its return value says what another concern has to do, and
/// [`Seed`](crate::Seed) passes that on.
pub(crate) struct SeedContext<'a, R = ()> {
    pub(crate) fx: &'a mut Effects,
    pub(crate) rng: &'a mut RngStream,
    pub(crate) links: &'a mut SeedLinks,
    pub(crate) timers: &'a mut Timers<SeedTimer>,
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) identity: &'a Identity,
    /// The registry, read-only; `()` in calls of the registry itself.
    pub(crate) registry: R,
}

/// The context of the cases.
pub(crate) type CaseContext<'a> = SeedContext<'a, &'a Registry>;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::identity::PeerId;
    use crate::io::{LinkId, LinkInfo, Output, Role};
    use crate::name::Name;
    use crate::record::{Presence, Record, SignedRecord};
    use crate::seed::SeedLink;
    use crate::signed::Signed;

    /// The parts of a seed that its concerns use, for tests of one of them.
    #[derive(Debug)]
    pub(crate) struct SeedParts {
        fx: Effects,
        rng: RngStream,
        pub(crate) links: SeedLinks,
        pub(crate) timers: Timers<SeedTimer>,
        config: Config,
        identity: Identity,
    }

    impl SeedParts {
        pub(crate) fn new() -> Self {
            SeedParts {
                fx: Effects::default(),
                rng: RngStream::new(&[1; 32], "t"),
                links: SeedLinks::default(),
                timers: Timers::new(),
                config: Config::lan().build().unwrap(),
                identity: Identity::from_secret(&[200; 32]),
            }
        }

        pub(crate) fn at<R>(&mut self, now: Time, registry: R) -> SeedContext<'_, R> {
            self.fx.begin_call(now);
            let SeedParts { fx, rng, links, timers, config, identity } = self;
            SeedContext { fx, rng, links, timers, now, config, identity, registry }
        }

        pub(crate) fn link_up(&mut self, link: u64, remote: PeerId, role: Role) {
            let info = LinkInfo {
                remote,
                role,
                dial: None,
                remote_address: ([10, 0, 0, 1], 7000).into(),
                observed: None,
                local_address: None,
                same_process: false,
            };
            self.links.open.insert(LinkId(link), SeedLink::new(&info, Time::ZERO));
        }

        /// The outputs since the last call, without the events.
        pub(crate) fn outputs(&mut self) -> Vec<Output> {
            let all = core::iter::from_fn(|| self.fx.poll());
            all.filter(|o| !matches!(o, Output::Event(_))).collect()
        }
    }

    pub(crate) fn identity(number: u8) -> Identity {
        Identity::from_secret(&[number; 32])
    }

    /// The record of a peer in its first incarnation.
    pub(crate) fn record(number: u8, sequence: u64) -> SignedRecord {
        let record = Record {
            id: identity(number).id(),
            name: Name::new("x").unwrap(),
            addresses: Vec::new(),
            incarnation: 1,
            sequence,
            presence: Presence::Alive,
            degree: 1,
            target: 3,
            process: 1,
            other_process: None,
            participates: true,
        };
        Signed::sign(record, &identity(number))
    }
}

//! A minimal core, and remotes that break the protocol.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill_proto::wire::{Frame, Pong};
use rumormill_proto::{
    Class, Counters, DialError, DialId, DialTarget, Identity, Input, LinkEnd, LinkId, LinkInfo,
    Output, PeerId, Role, SeedAddress, StateMachine, StoreTicket, Time,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;

use crate::driver::TimestampedEvent;
use crate::fanout::{FanoutItem, FanoutReceiver};
use crate::handle::Handle;
use crate::launch::LaunchOptions;
use crate::listener::Listener;
use crate::network_key::{EXPORTER_LABEL, NetworkKey};
use crate::store::Database;
use crate::trace::NodeLabel;
use crate::transport::{LocalHello, Tls, as_dialer};
use crate::tuning::Tuning;

/// An input of the core, as recorded by [`Echo`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RecordedInput {
    Up(LinkId, LinkInfo),
    Down(LinkId, LinkEnd),
    Frame(LinkId, &'static str),
    DialFailed(DialId, DialError),
    Congested(LinkId),
    Stored(StoreTicket),
    StoreFailed(StoreTicket),
    SeedMoved(String),
    WallClock,
    Timeout,
}

/// How long [`Echo`] works for a pull.
pub(super) const PULL_COST: Duration = Duration::from_millis(1);

/// Keeps a processor busy.
fn work_for(time: Duration) {
    let began = std::time::Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A core that answers pings, works for pulls, and records all inputs.
#[derive(Debug)]
pub(super) struct Echo {
    id: PeerId,
    recorded: Arc<Mutex<Vec<RecordedInput>>>,
    pub(super) outputs: VecDeque<Output>,
}

impl StateMachine for Echo {
    fn id(&self) -> PeerId {
        self.id
    }

    fn handle(&mut self, _now: Time, input: Input) {
        let recorded = match input {
            Input::LinkUp { link, info } => RecordedInput::Up(link, info),
            Input::LinkDown { link, why } => RecordedInput::Down(link, why),
            Input::DialFailed { dial, why } => RecordedInput::DialFailed(dial, why),
            Input::Stored { ticket } => RecordedInput::Stored(ticket),
            Input::StoreFailed { ticket } => RecordedInput::StoreFailed(ticket),
            Input::Congested { link } => RecordedInput::Congested(link),
            // This core has no consumer.
            Input::Consumed { .. } => return,
            Input::SeedMoved { seed } => RecordedInput::SeedMoved(seed),
            Input::WallClock(_) => RecordedInput::WallClock,
            Input::Timeout => RecordedInput::Timeout,
            Input::Frame { link, frame } => {
                if matches!(*frame, Frame::Pull(_)) {
                    work_for(PULL_COST);
                }
                if let Frame::Ping(ping) = &*frame {
                    let frame = Pong { nonce: ping.nonce }.into();
                    self.outputs.push_back(Output::Send { link, frame, class: Class::Control });
                }
                RecordedInput::Frame(link, frame.name())
            }
        };
        self.recorded.lock().unwrap().push(recorded);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Time> {
        None
    }
}

/// A running node with an [`Echo`] core.
pub(super) struct EchoNode {
    pub(super) handle: Handle<Echo>,
    pub(super) events: FanoutReceiver<TimestampedEvent>,
    recorded: Arc<Mutex<Vec<RecordedInput>>>,
}

pub(super) fn tuning() -> Tuning {
    Tuning::for_role(Role::Peer)
}

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_secret(&[n; 32])
}

pub(super) fn start(n: u8, tuning: Tuning) -> EchoNode {
    start_with(n, tuning, None, None)
}

pub(super) fn start_with(
    n: u8,
    tuning: Tuning,
    network_key: Option<NetworkKey>,
    database: Option<Database>,
) -> EchoNode {
    let identity = identity(n);
    let launch = LaunchOptions { network_key, tuning, ..LaunchOptions::new(Role::Peer) };
    let core = Echo { id: identity.id(), recorded: Arc::default(), outputs: VecDeque::new() };
    let (recorded, events) = (core.recorded.clone(), launch.channels.events.subscribe());
    let label = NodeLabel { name: format!("echo-{n}"), id: identity.id() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let handle = launch.run(|| core, label, identity, listener, database).unwrap();
    EchoNode { handle, events, recorded }
}

/// Waits for a condition, for ten seconds at most.
pub(super) async fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(t) = condition() {
            return t;
        }
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

impl EchoNode {
    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(super) fn recorded(&self) -> Vec<RecordedInput> {
        self.recorded.lock().unwrap().clone()
    }

    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.handle.add_counters(&mut counters);
        counters
    }

    /// Waits for an input that `pick` selects.
    pub(super) async fn wait_for<T>(
        &self,
        what: &str,
        pick: impl Fn(&RecordedInput) -> Option<T>,
    ) -> T {
        wait_until(what, || self.recorded().iter().find_map(&pick)).await
    }

    /// Waits for the first link with `remote`.
    pub(super) async fn link_with(&self, remote: PeerId) -> (LinkId, LinkInfo) {
        self.wait_for("link up", |s| match s {
            RecordedInput::Up(link, info) if info.remote == remote => Some((*link, info.clone())),
            _ => None,
        })
        .await
    }

    /// Waits for the end of a link.
    pub(super) async fn wait_for_end(&self, link: LinkId) -> LinkEnd {
        self.wait_for("link down", |s| match s {
            RecordedInput::Down(l, why) if *l == link => Some(*why),
            _ => None,
        })
        .await
    }

    pub(super) async fn wait_for_counter(&self, name: &str, n: u64) {
        let what = format!("{name} is {n}");
        wait_until(&what, || (self.counters().get(name) >= n).then_some(())).await;
        assert_eq!(self.counters().get(name), n, "{name}");
    }

    /// Makes the core emit outputs.
    pub(super) async fn emit(&self, outputs: Vec<Output>) {
        self.handle.call(|core, _| core.outputs.extend(outputs)).await.unwrap();
    }

    pub(super) async fn send(&self, link: LinkId, frame: Frame, class: Class) {
        self.emit(vec![Output::Send { link, frame, class }]).await;
    }

    pub(super) async fn dial(&self, dial: u64, to: SocketAddr, pin: Option<PeerId>) {
        let seed = SeedAddress { host_port: to.to_string(), pin };
        self.emit(vec![Output::Dial { dial: DialId(dial), to: DialTarget::Seed(seed) }]).await;
    }

    /// Waits for an event.
    pub(super) async fn wait_for_event<T>(
        &mut self,
        pick: impl Fn(&rumormill_proto::Event) -> Option<T>,
    ) -> T {
        let search = async {
            loop {
                match self.events.recv().await {
                    Some(FanoutItem::Item(timestamped)) => {
                        if let Some(t) = pick(&timestamped.event) {
                            return t;
                        }
                    }
                    other => panic!("no such event before {other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), search).await.expect("no such event")
    }
}

/// Two nodes with a link between them, dialled by the first; the link's id at each of them.
pub(super) async fn pair(tuning: &Tuning) -> (EchoNode, LinkId, EchoNode, LinkId) {
    let (a, b) = (start(1, tuning.clone()), start(2, tuning.clone()));
    a.dial(1, b.address(), Some(b.handle.id())).await;
    let (at_a, _) = a.link_with(b.handle.id()).await;
    let (at_b, _) = b.link_with(a.handle.id()).await;
    (a, at_a, b, at_b)
}

/// A TLS connection as a peer would open it, without Hello.
pub(super) async fn tls_only(to: SocketAddr, me: &Identity) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(to).await.unwrap();
    let connector = Tls::new(me).unwrap().connector(None).unwrap();
    connector.connect(to.ip().into(), tcp).await.unwrap()
}

/// A link on which the test writes raw bytes.
pub(super) async fn raw_link(to: SocketAddr, me: &Identity) -> TlsStream<TcpStream> {
    let mut stream = tls_only(to, me).await;
    let exporter =
        stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
    let (role, network_key) = (Role::Peer, None);
    let local_hello =
        LocalHello { role, network_key, exporter: &exporter, remote_address: to, process: 1 };
    as_dialer(&mut stream, local_hello).await.unwrap();
    stream
}

//! The control API over a real socket, in front of real nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::{Listener, Name, Node, SeedAddress, SeedNode};
use rumormill_http::view::{Content, Publish, Status};
use rumormill_http::{Client, ClientError, ControlFile, Item, ServeError, Server, Tail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// A seed and two peers behind one server.
struct Network {
    server: Server,
    seed: ControlFile,
    peers: Vec<ControlFile>,
    nodes: Vec<Node>,
    seed_node: SeedNode,
}

impl Network {
    async fn start() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any).unwrap();
        let seeds = vec![SeedAddress { host_port: listener.local_addr().to_string(), pin: None }];
        let seed_node = SeedNode::builder()
            .listener(listener)
            .seeds(seeds.clone())
            .own_index(Some(0))
            .start()
            .await
            .unwrap();
        let server = Server::start().await.unwrap();
        let seed = server.add("seed-1", seed_node.clone());
        let (mut peers, mut nodes) = (Vec::new(), Vec::new());
        for name in ["anna", "bert"] {
            let node = Node::builder()
                .name(Name::new(name).unwrap())
                .listen(any)
                .seeds(seeds.clone())
                .start()
                .await
                .unwrap();
            peers.push(server.add(name, node.clone()));
            nodes.push(node);
        }
        let network = Network { server, seed, peers, nodes, seed_node };
        let client = network.client(0);
        until("the two are neighbours", async || !client.neighbours().await.unwrap().is_empty())
            .await;
        network
    }

    fn client(&self, peer: usize) -> Client {
        Client::new(&self.peers[peer]).unwrap()
    }

    /// Sends bytes as they are, and gives the status and the body of the answer.
    async fn raw(&self, request: &str) -> (u16, String) {
        let address = self.server.url();
        let mut stream =
            TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    fn host(&self) -> String {
        self.server.url().strip_prefix("http://").unwrap().to_owned()
    }

    async fn end(self) {
        for node in &self.nodes {
            node.kill();
        }
        self.seed_node.kill();
        self.server.shutdown().await;
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_asked_told_and_followed() {
    let network = Network::start().await;
    let (anna, bert) = (network.client(0), network.client(1));

    let Status::Peer(status) = anna.status().await.unwrap() else { panic!("not a peer") };
    assert_eq!((status.name.as_str(), status.degree), ("anna", 1));
    assert_eq!(status.pid, std::process::id());
    let Status::Seed(status) = Client::new(&network.seed).unwrap().status().await.unwrap() else {
        panic!("not a seed")
    };
    assert_eq!(status.alive, 2);
    assert_eq!(anna.nodes().await.unwrap().len(), 3);
    let names: Vec<_> = anna.members().await.unwrap().into_iter().filter_map(|m| m.name).collect();
    assert!(names.contains(&"bert".to_owned()), "{names:?}");
    assert_eq!(anna.neighbours().await.unwrap()[0].name, "bert");

    let mut tail = bert.tail(&Tail { with_content: true, ..Tail::default() }).await.unwrap();
    let request =
        Publish { topic: "t".into(), content: Content::of(&[0xff, 0, b'x']), wait_ms: None };
    let published = anna.publish(&request).await.unwrap();
    let item = timeout(DEADLINE, tail.next()).await.unwrap().unwrap().unwrap();
    let Item::Of(message) = item else { panic!("{item:?}") };
    assert_eq!(message.id, published.id);
    assert_eq!(message.content.bytes(), Some(vec![0xff, 0, b'x']));
    assert_eq!(message.name.as_deref(), Some("anna"));
    assert_eq!(message.hops, Some(1));

    let listed = bert.messages(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].topic.as_str()), (1, "t"));
    let got = bert.message(published.id.parse().unwrap()).await.unwrap();
    assert_eq!(got.content.bytes(), Some(vec![0xff, 0, b'x']));
    assert_eq!(bert.publishers().await.unwrap()[0].received, 1);

    let mut events = bert.events().await.unwrap();
    anna.leave().await.unwrap();
    let left = async {
        while let Some(Item::Of(line)) = events.next().await.unwrap() {
            if line.event["event"] == "member_left" {
                return line.event["name"].clone();
            }
        }
        Value::Null
    };
    assert_eq!(timeout(DEADLINE, left).await.unwrap(), "anna");
    network.end().await;
}

#[tokio::test]
async fn errors_say_what_is_wrong() {
    let network = Network::start().await;
    let anna = network.client(0);
    let problem = |e: ClientError| e.problem().expect("an answer").clone();

    let none = format!("{}/9/9", network.peers[0].id).parse().unwrap();
    let p = problem(anna.message(none).await.unwrap_err());
    assert_eq!(p.status, 404);
    assert!(p.detail.contains("holds the message"), "{p}");

    let seed = Client::new(&network.seed).unwrap();
    let p = problem(seed.neighbours().await.unwrap_err());
    assert!(p.status == 400 && p.detail.contains("is a seed"), "{p}");

    let both = Content { text: Some("a".into()), payload_base64: Some("YQ==".into()) };
    let p = problem(
        anna.publish(&Publish { topic: String::new(), content: both, wait_ms: None })
            .await
            .unwrap_err(),
    );
    assert!(p.status == 400 && p.detail.contains("either"), "{p}");

    let long = Publish { topic: "x".repeat(1000), content: Content::of(b""), wait_ms: None };
    let p = problem(anna.publish(&long).await.unwrap_err());
    assert!(p.status == 422 && p.detail.contains("topic"), "{p}");

    let huge =
        Publish { topic: String::new(), content: Content::of(&vec![b'a'; 3 << 20]), wait_ms: None };
    match anna.publish(&huge).await.unwrap_err() {
        ClientError::Refused(p) => assert_eq!(p.status, 413),
        // The server may close while the body is still being sent.
        ClientError::Http { .. } => {}
        e => panic!("{e}"),
    }

    let mut gone = network.peers[0].clone();
    gone.id = "00".repeat(32);
    let p = problem(Client::new(&gone).unwrap().status().await.unwrap_err());
    assert!(p.status == 404 && p.detail.contains("no node here"), "{p}");
    network.end().await;
}

#[tokio::test]
async fn only_the_owner_gets_in() {
    let network = Network::start().await;
    let host = network.host();
    let token = network.peers[0].token.secret().to_owned();
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
    };
    let auth = format!("Authorization: Bearer {token}\r\n");
    let own = format!("Host: {host}\r\n");
    let port = host.rsplit(':').next().unwrap();
    let cases = [
        ("all is well", format!("{own}{auth}"), 200),
        ("localhost", format!("Host: localhost:{port}\r\n{auth}"), 200),
        ("no token", own.clone(), 401),
        ("wrong token", format!("{own}Authorization: Bearer {}\r\n", "0".repeat(64)), 401),
        ("basic", format!("{own}Authorization: Basic {token}\r\n"), 401),
        ("rebound host", format!("Host: evil.example:{port}\r\n{auth}"), 403),
        ("no port", format!("Host: 127.0.0.1\r\n{auth}"), 403),
        ("a page", format!("{own}{auth}Origin: http://{host}\r\n"), 403),
        ("a sandboxed page", format!("{own}{auth}Origin: null\r\n"), 403),
    ];
    for (what, headers, expected) in cases {
        let (status, body) = network.raw(&get("/v1/nodes", &headers)).await;
        assert_eq!(status, expected, "{what}: {body}");
        if expected != 200 {
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["status"], expected, "{what}");
            assert!(!body.contains(&token), "{what}");
        }
    }
    let good = format!("{own}{auth}");
    assert_eq!(network.raw(&get("/v2/nodes", &good)).await.0, 404);
    assert_eq!(network.raw(&get("/v1/nodes/anna/publish", &good)).await.0, 405);
    assert_eq!(network.raw(&get("/v1/nodes/anna/messages?limit=x", &good)).await.0, 400);
    assert_eq!(network.raw(&get("/v1/nodes/anna/status", &good)).await.0, 200);
    assert_eq!(network.raw(&get("/v1/nodes/seed-1/registry", &good)).await.0, 200);
    // Even a path that does not exist tells nothing without the token.
    assert_eq!(network.raw(&get("/v2/nodes", &own)).await.0, 401);
    network.end().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let network = Network::start().await;
    let mut tail =
        network.client(0).tail(&Tail { with_content: true, ..Tail::default() }).await.unwrap();
    let waiting = tokio::spawn(async move { tail.next().await });
    network.end().await;
    let ended = timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Ok(None) | Err(ClientError::Http { .. })), "{ended:?}");
}

#[tokio::test]
async fn it_does_not_listen_for_the_network() {
    let outside = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Server::start_at(outside).await, Err(ServeError::NotLoopback(_))));
}

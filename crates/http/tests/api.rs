//! The control API over a real socket, in front of real nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::{Listener, Name, Node, SeedAddress, SeedNode};
use rumormill_http::view::{Content, Publish, Status};
use rumormill_http::{
    Access, Client, ClientError, ControlFile, ServeError, Server, StreamItem, TailRequest, Token,
};
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
async fn client_reads_publishes_and_follows_a_node() {
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

    let mut tail =
        bert.tail(&TailRequest { with_content: true, ..TailRequest::default() }).await.unwrap();
    let request =
        Publish { topic: "t".into(), content: Content::of(&[0xff, 0, b'x']), wait_ms: None };
    let published = anna.publish(&request).await.unwrap();
    let item = timeout(DEADLINE, tail.next()).await.unwrap().unwrap().unwrap();
    let StreamItem::Of(message) = item else { panic!("{item:?}") };
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
    anna.leave(None).await.unwrap();
    let left = async {
        while let Some(StreamItem::Of(line)) = events.next().await.unwrap() {
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
async fn error_answers_explain_the_cause() {
    let network = Network::start().await;
    let anna = network.client(0);
    let problem = |e: ClientError| e.problem().expect("an answer").clone();

    let none = format!("{}/9/9", network.peers[0].id).parse().unwrap();
    let p = problem(anna.message(none).await.unwrap_err());
    assert_eq!(p.status, 404);
    assert!(p.detail.contains("holds the message"), "{p}");

    let seed = Client::new(&network.seed).unwrap();
    let p = problem(seed.neighbours().await.unwrap_err());
    assert!(p.status == 404 && p.detail.contains("is a seed"), "{p}");

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

    let of = |bytes: usize| Publish {
        topic: String::new(),
        content: Content::of(&vec![b'a'; bytes]),
        wait_ms: None,
    };
    let p = problem(anna.publish(&of(3 << 20)).await.unwrap_err());
    assert!(p.status == 422 && p.detail.contains("payload"), "{p}");
    let huge = of(rumormill_http::limits::MAX_BODY);
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

/// Bodies that the document of the API does not describe: an array in the place of an object, and
/// a body of a request that takes none.
#[tokio::test]
async fn undocumented_bodies_are_refused_and_change_nothing() {
    let network = Network::start().await;
    let (host, token) = (network.host(), network.peers[0].token.secret());
    for (path, body, cause) in [
        ("publish", r#"["topic","text",null,null]"#, "not a JSON object"),
        ("leave", r#"{"within_ms":-4}"#, "takes no body"),
    ] {
        let head = format!(
            "POST /v1/nodes/anna/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (status, answer) = network.raw(&format!("{head}{body}")).await;
        assert!(status == 400 && answer.contains(cause), "{path}: {status} {answer}");
    }
    let Status::Peer(anna) = network.client(0).status().await.unwrap() else {
        panic!("not a peer")
    };
    assert_eq!((anna.state.as_str(), anna.published), ("joined", 0));
    network.end().await;
}

#[tokio::test]
async fn requests_without_the_token_are_refused() {
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
        ("our page", format!("{own}{auth}Origin: http://{host}\r\n"), 200),
        ("our page without the token", format!("{own}Origin: http://{host}\r\n"), 401),
        ("another page", format!("{own}{auth}Origin: http://evil.example\r\n"), 403),
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
    // Even a path that does not exist is refused without the token.
    assert_eq!(network.raw(&get("/v2/nodes", &own)).await.0, 401);
    network.end().await;
}

#[tokio::test]
async fn stopped_server_ends_its_streams() {
    let network = Network::start().await;
    let mut tail = network
        .client(0)
        .tail(&TailRequest { with_content: true, ..TailRequest::default() })
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { tail.next().await });
    network.end().await;
    let ended = timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Ok(None) | Err(ClientError::Http { .. })), "{ended:?}");
}

#[tokio::test]
async fn server_off_loopback_needs_a_token() {
    let outside = "0.0.0.0:0".parse().unwrap();
    for access in [Access::LocalReaders, Access::Token(None)] {
        let refused = Server::start_at(outside, access).await;
        assert!(matches!(refused, Err(ServeError::NotLoopback(_))));
    }
    let token = Token::random().unwrap();
    let server = Server::start_at(outside, Access::Token(Some(token.clone()))).await.unwrap();
    assert!(server.page_url().ends_with(token.secret()), "with a token it does");
    server.shutdown().await;
}

/// Reads items of the live stream until `found` accepts one.
async fn live(network: &Network, mut found: impl FnMut(&str, &Value) -> bool) {
    let (host, token) = (network.host(), network.peers[0].token.secret());
    let mut stream = TcpStream::connect(&host).await.unwrap();
    let request = format!(
        "GET /v1/network/live HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let read = async {
        let (mut text, mut buffer) = (String::new(), [0; 65536]);
        loop {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let mut name = "";
                for line in block.lines() {
                    if let Some(event) = line.strip_prefix("event: ") {
                        name = event;
                    } else if let Some(data) = line.strip_prefix("data: ")
                        && found(name, &serde_json::from_str(data).unwrap())
                    {
                        return;
                    }
                }
            }
        }
    };
    timeout(DEADLINE, read).await.expect("the item comes");
}

#[tokio::test]
async fn live_stream_shows_the_network_and_its_messages() {
    let network = Network::start().await;
    let (anna, bert) = (network.peers[0].id.clone(), network.peers[1].id.clone());
    live(&network, |name, data| {
        let peers = data["peers"].as_array();
        let placed = |p: &Value| p["at"].is_array() && p["here"] == true && p["state"] == "alive";
        name == "network"
            && peers.is_some_and(|all| all.len() == 2 && all.iter().all(placed))
            && data["links"].as_array().unwrap().len() == 1
            && data["components"] == 1
            && data["scope"] == "network"
            && data["seeds"][0]["alive"] == 2
    })
    .await;
    // A message that is published during the stream shows with its arrivals.
    let client = network.client(0);
    let publish = Publish {
        topic: "news".to_owned(),
        content: Content { text: Some("<b>hello</b>".to_owned()), payload_base64: None },
        wait_ms: None,
    };
    let id = client.publish(&publish).await.unwrap().id;
    live(&network, |name, data| {
        name == "message" && data["id"] == id.as_str() && data["text"] == "<b>hello</b>"
    })
    .await;
    let path = format!("/v1/network/messages/{id}");
    until("both have it", async || {
        let spread: Value = serde_json::from_str(&got(&network, &path).await).unwrap();
        let all = spread["arrivals"].as_array().unwrap();
        let way = |a: &Value| a["peer"] == bert.as_str() && a["from"] == anna.as_str();
        all.len() == 2 && all.iter().any(way) && spread["missing"].as_array().unwrap().is_empty()
    })
    .await;
    let whole: Value = serde_json::from_str(&got(&network, "/v1/network").await).unwrap();
    assert_eq!(whole["peers"].as_array().unwrap().len(), 2, "{whole:#}");
    // This server has no director.
    assert_eq!(got(&network, "/v1/network/acts").await, r#"{"acts":[]}"#);
    network.end().await;
}

async fn got(network: &Network, path: &str) -> String {
    let (host, token) = (network.host(), network.peers[0].token.secret());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let (status, body) = network.raw(&request).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[tokio::test]
async fn page_is_served_and_may_use_only_this_server() {
    let network = Network::start().await;
    let host = network.host();
    for (path, begins) in
        [("/", "<!doctype html>"), ("/page/main.js", "//"), ("/page/style.css", ":root")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = network.raw(&request).await;
        assert!(status == 200 && body.starts_with(begins), "{path}: {status}");
        let foreign = |scheme: &str| body.matches(scheme).count();
        let allowed = body.matches("http://www.w3.org/2000/svg").count();
        assert_eq!((foreign("http://"), foreign("https://")), (allowed, 0), "{path}");
    }
    let request =
        format!("GET /page/..%2fCargo.toml HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(network.raw(&request).await.0, 404);
    let rebound = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(network.raw(rebound).await.0, 403);
    network.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_show_the_state_of_the_nodes() {
    let network = Network::start().await;
    let client = network.client(0);
    let publish =
        Publish { topic: "t".into(), content: Content::of(b"hello"), wait_ms: Some(10_000) };
    client.publish(&publish).await.unwrap();

    let open = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", network.host())
    };
    let (status, _) = network.raw(&open("/metrics")).await;
    assert_eq!(status, 401, "they are for those who may look");
    let text = got(&network, "/metrics").await;
    let value = |metric: &str, labels: &[&str]| -> f64 {
        let mut lines = text.lines().filter(|l| {
            l.starts_with(&format!("{metric}{{")) && labels.iter().all(|label| l.contains(label))
        });
        let (Some(line), None) = (lines.next(), lines.next()) else {
            panic!("not one {metric} with {labels:?} in {text}")
        };
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let anna = "node=\"anna\"";
    assert_eq!(value("rumormill_joined", &[anna]), 1.0);
    assert_eq!(value("rumormill_synced", &["role=\"seed\""]), 1.0);
    assert_eq!(value("rumormill_messages_published_total", &[anna]), 1.0);
    assert_eq!(value("rumormill_delivery_delay_seconds_count", &["node=\"bert\""]), 1.0);
    assert_eq!(value("rumormill_delivery_delay_seconds_bucket", &["node=\"bert\"", "+Inf"]), 1.0);
    assert!(value("rumormill_sent_bytes_total", &[anna, "class=\"payload\""]) > 0.0);
    assert_eq!(value("rumormill_seed_connected", &[anna]), 1.0);
    assert!(text.contains("# TYPE rumormill_dropped counter"), "{text}");
    assert!(text.ends_with("# EOF\n"));

    for path in ["/healthz", "/readyz"] {
        assert_eq!(network.raw(&open(path)).await, (200, "ok\n".to_owned()), "{path}");
    }
    // Without its seed a peer still works, but does not take part in the decisions of the network.
    network.seed_node.kill();
    until("the peers notice", async || network.raw(&open("/readyz")).await.0 == 503).await;
    let (status, why) = network.raw(&open("/healthz")).await;
    assert!(status == 503 && why.contains("1 of 3"), "the seed has ended: {status} {why}");
    network.server.remove(network.seed_node.id());
    assert_eq!(network.raw(&open("/healthz")).await.0, 200);
    network.end().await;
}

/// The pages of a list together have all its items.
#[tokio::test]
async fn lists_are_served_in_pages() {
    let network = Network::start().await;
    let (anna, bert) = (network.client(0), network.client(1));
    for n in 0..7 {
        let content = Content::of(format!("{n}").as_bytes());
        anna.publish(&Publish { topic: "t".into(), content, wait_ms: None }).await.unwrap();
    }
    until("all of them at bert", async || bert.messages(100).await.unwrap().len() == 7).await;
    let sequences: Vec<u64> =
        bert.messages(100).await.unwrap().iter().map(|m| m.sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 6]);
    let page = async |path: &str| -> Value {
        serde_json::from_str(&got(&network, &format!("/v1/nodes/bert/{path}")).await).unwrap()
    };
    let (mut pages, mut query) = (Vec::new(), "messages?limit=3".to_owned());
    loop {
        let answer = page(&query).await;
        let items = answer["items"].as_array().unwrap();
        pages.push(items.iter().map(|m| m["sequence"].as_u64().unwrap()).collect::<Vec<_>>());
        let Some(next) = answer["next"].as_str() else { break };
        query = format!("messages?limit=3&cursor={next}");
    }
    assert_eq!(pages, [vec![4, 5, 6], vec![1, 2, 3], vec![0]], "the newest page first");

    let first = page("members?limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = page(&format!("members?limit=1&cursor={next}")).await;
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(second["next"], Value::Null);
    network.end().await;
}

/// The document names every path, and needs no token.
#[tokio::test]
async fn openapi_document_names_every_path() {
    let network = Network::start().await;
    let host = network.host();
    let request =
        format!("GET /openapi.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let (status, body) = network.raw(&request).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&body).unwrap();
    let paths: Vec<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let message = "messages/{publisher}/{epoch}/{sequence}";
    let mut expected: Vec<String> = [
        "events",
        "leave",
        "members",
        "messages",
        message,
        "neighbours",
        "publish",
        "publishers",
        "registry",
        "status",
        "tail",
    ]
    .iter()
    .map(|p| format!("/v1/nodes/{{node}}/{p}"))
    .collect();
    let others =
        ["/healthz", "/metrics", "/readyz", "/v1/network", "/v1/network/acts", "/v1/network/live"];
    expected.extend(others.map(str::to_owned));
    expected.extend(["/v1/network/messages".to_owned(), format!("/v1/network/{message}")]);
    expected.push("/v1/nodes".to_owned());
    expected.sort_unstable();
    let mut paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
    paths.sort_unstable();
    assert_eq!(paths, expected);
    for path in &paths {
        for (method, operation) in document["paths"][path].as_object().unwrap() {
            let described = operation["summary"].as_str().is_some_and(|s| s.len() > 10);
            assert!(described, "{method} {path} says nothing of itself");
        }
    }
    network.end().await;
}

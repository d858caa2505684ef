//! Actions of a user at the page of `rumor up`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use support::{DEADLINE, Place, Running, until};

/// The address of the page, and its token.
struct Page {
    host: String,
    token: String,
}

impl Page {
    /// The page of the run, from the control file of a node.
    fn of(place: &Place) -> Option<Self> {
        let mut files = fs::read_dir(place.run_dir()).ok()?.map_while(Result::ok);
        let file = files.find(|f| f.path().extension().is_some_and(|e| e == "json"))?;
        let file: Value = serde_json::from_str(&fs::read_to_string(file.path()).ok()?).ok()?;
        let host = file["url"].as_str()?.strip_prefix("http://")?.to_owned();
        Some(Page { host, token: file["token"].as_str()?.to_owned() })
    }

    /// Sends a request, and gives the status and the body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let Page { host, token } = self;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn act(&self, what: &str, node: &str) -> u16 {
        self.ask("POST", "/v1/network/acts", &json!({ "do": what, "node": node }).to_string()).0
    }

    fn peer(&self, name: &str) -> Value {
        let (_, network) = self.ask("GET", "/v1/network", "");
        let peers = network["peers"].as_array().cloned().unwrap_or_default();
        peers.into_iter().find(|p| p["name"] == name).unwrap_or_default()
    }
}

#[test]
fn page_kills_freezes_and_adds_nodes() {
    let place = support::new_place();
    let mut up = Running::spawn(place.command(&[
        "up",
        "--peers",
        "8",
        "--for",
        "forever",
        "--messages",
        "0",
        "--json",
    ]));
    let mut page = None;
    until("the run has control files", || {
        page = Page::of(&place);
        page.is_some()
    });
    let page = page.unwrap();
    let names: Vec<String> = (1..=8).map(|n| format!("peer-{n}")).collect();
    until("all are there, with their neighbours", || {
        let (_, network) = page.ask("GET", "/v1/network", "");
        let peers = network["peers"].as_array().unwrap();
        peers.len() == 8
            && peers.iter().all(|p| p["state"] == "alive")
            && network["components"] == 1
    });
    assert_eq!(
        page.ask("GET", "/v1/network/acts", "").1["acts"],
        json!(["add", "kill", "freeze", "thaw", "cut"])
    );

    assert_eq!(page.act("kill", &names[2]), 202);
    until("the seeds agree, with witnesses", || {
        let p = page.peer(&names[2]);
        let witnesses = p["witnesses"].as_array();
        p["state"] == "dead" && p["here"] == false && witnesses.is_some_and(|w| w.len() >= 2)
    });
    let before = page.peer(&names[4])["incarnation"].as_u64();
    assert_eq!(page.act("freeze", &names[4]), 202);
    until("a frozen peer is removed as well", || page.peer(&names[4])["state"] == "dead");
    assert_eq!(page.act("thaw", &names[4]), 202);
    until("it is back with a new incarnation", || {
        let p = page.peer(&names[4]);
        p["state"] == "alive" && p["incarnation"].as_u64() > before
    });
    // A peer that is resumed before it is removed need not be removed for the run to succeed.
    assert_eq!(page.act("freeze", &names[5]), 202);
    assert_eq!(page.act("thaw", &names[5]), 202);
    // A majority of the seeds is left, and still agrees on deaths.
    assert_eq!(page.act("kill", "seed-1"), 202);
    assert_eq!(page.act("kill", &names[6]), 202);
    until("two seeds remove it", || page.peer(&names[6])["state"] == "dead");

    // A peer that is added later joins, and is removed when it is killed.
    assert_eq!(page.ask("POST", "/v1/network/acts", r#"{"do":"add"}"#).0, 202);
    until("it has joined, and has neighbours", || {
        let p = page.peer("peer-9");
        p["state"] == "alive" && p["degree"].as_u64() > Some(0)
    });
    assert_eq!(page.act("kill", "peer-9"), 202);
    until("it is removed", || page.peer("peer-9")["state"] == "dead");
    assert_eq!(page.ask("POST", "/v1/network/acts", r#"{"do":"add"}"#).0, 202);
    until("a second peer is added", || page.peer("peer-10")["state"] == "alive");

    let (status, problem) = page.ask("POST", "/v1/network/acts", r#"{"do":"explode"}"#);
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("explode"), "{problem}");
    assert_eq!(page.act("kill", "no-such-peer"), 404);

    up.signal("-INT");
    let summary: Value = serde_json::from_str(&up.rest()).unwrap();
    assert_eq!(up.wait(), 0, "{summary:#}");
    assert_eq!(summary["false_deaths"], 0, "{summary:#}");
    assert_eq!(summary["errors"], 0, "{summary:#}");
    assert_eq!(summary["peers"], 10, "{summary:#}");
}

//! The view as a terminal of 80 by 24 shows it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use rumormill_http::view::{
    Content, EventLine, FullMessage, MemberLine, MessageLine, NeighbourLine, PeerStatus, SeedLine,
    SeedStatus, Status,
};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::model::Model;
use super::tab::Tab;
use super::update::{Request, Snapshot, Update};
use super::view;

fn id(c: char) -> String {
    c.to_string().repeat(64)
}

fn seed_line(port: u16, registered: bool) -> SeedLine {
    SeedLine {
        address: format!("seed.example:{port}"),
        id: Some(id('9')),
        connected: registered,
        registered,
        reply_delay_ms: registered.then_some(0.4),
        problem: None,
    }
}

fn status(delivered: u64) -> Status {
    Status::Peer(PeerStatus {
        name: "anna".into(),
        id: id('a'),
        pid: 1,
        version: String::new(),
        address: "127.0.0.1:7100".into(),
        addresses: vec!["127.0.0.1:7100".into()],
        state: "joined".into(),
        incarnation: 1,
        epoch: 1,
        uptime_s: 61.5,
        degree: 2,
        target: 3,
        registrations: 2,
        seed_quorum: 2,
        seeds: vec![seed_line(7000, true), seed_line(7001, true), seed_line(7002, false)],
        alive: 4,
        network_size: 4,
        published: 1,
        retained_messages: 2,
        retained_bytes: 2_048,
        links: 4,
        store_problem: None,
        counters: [("messages_delivered".to_owned(), delivered)].into(),
    })
}

fn neighbour(name: &str, degree: u16, suspect: bool) -> NeighbourLine {
    NeighbourLine {
        id: id('b'),
        name: name.into(),
        address: "127.0.0.1:7101".into(),
        dialed: true,
        since_s: 60.0,
        heard_s: 0.5,
        last_reply_s: Some(0.5),
        reply_delay_ms: Some(0.3),
        smoothed_delay_ms: Some(0.4),
        misses: u32::from(suspect) * 3,
        suspect,
        degree,
        target: 5,
    }
}

fn member(name: &str, state: &str) -> MemberLine {
    MemberLine {
        participates: true,
        id: id('c'),
        name: Some(name.into()),
        state: state.into(),
        addresses: vec!["127.0.0.1:7102".into()],
        incarnation: 2,
        degree: 3,
        target: 3,
        witnesses: if state == "dead" { vec![id('a'), id('b')] } else { Vec::new() },
        seeds: Vec::new(),
    }
}

fn message(sequence: u64, topic: &str) -> MessageLine {
    MessageLine {
        id: format!("{}/1/{sequence}", id('b')),
        publisher: id('b'),
        name: Some("bert".into()),
        sequence,
        topic: topic.into(),
        bytes: 11,
        published_us: 1_700_000_000_000_000,
        received_us: 1_700_000_000_001_000,
        hops: 2,
        duplicates: 1,
    }
}

fn snapshot(delivered: u64, at: Instant) -> Update {
    Update::Snapshot(Box::new(Snapshot {
        at,
        status: status(delivered),
        neighbours: vec![neighbour("bert", 2, false), neighbour("carl\u{1b}[2J", 12, true)],
        messages: vec![message(6, "news"), message(7, "orders")],
        members: vec![member("dora", "alive"), member("emil", "dead")],
    }))
}

fn model(tab: Tab) -> Model {
    let mut model = Model::new(tab, true);
    let start = Instant::now();
    model.apply(snapshot(10, start));
    model.apply(snapshot(30, start + Duration::from_secs(2)));
    let event = json!({ "event": "neighbour_up", "name": "bert", "degree": 2 });
    model.apply(Update::Event(EventLine { at_us: 1_700_000_000_000_000, event }));
    model
}

fn shown(model: &mut Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

fn press(model: &mut Model, code: KeyCode) -> Option<Request> {
    model.key(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn type_in(model: &mut Model, text: &str) {
    text.chars().for_each(|c| assert_eq!(press(model, KeyCode::Char(c)), None));
}

fn has(text: &str, what: &[&str]) {
    for w in what {
        assert!(text.contains(w), "{w:?} is not in\n{text}");
    }
}

#[test]
fn view_without_an_answer_says_that_it_asks_the_node() {
    let mut model = Model::new(Tab::Overview, true);
    has(&shown(&mut model), &["asking the node", "q quit"]);
    model.apply(Update::Failed("the node does not answer".into()));
    has(&shown(&mut model), &["the node does not answer"]);
}

#[test]
fn overview_of_a_peer_shows_its_state() {
    let text = shown(&mut model(Tab::Overview));
    has(
        &text,
        &[
            "anna  peer aaaaaaaa  joined  4 alive  up 1 m 1 s",
            "neighbours  2 (target 3)",
            "registered at 2 of 3, 2 needed",
            "seed.example:7002        no link, not registered",
            "delivered 10/s, most 10",
            "neighbour_up  degree=2 name=bert",
        ],
    );
}

#[test]
fn overview_of_a_seed_shows_its_state() {
    let mut model = Model::new(Tab::Overview, false);
    model.apply(Update::Snapshot(Box::new(Snapshot {
        at: Instant::now(),
        status: Status::Seed(SeedStatus {
            name: "seed-1".into(),
            id: id('5'),
            pid: 1,
            version: String::new(),
            address: "127.0.0.1:7000".into(),
            configured: None,
            uptime_s: 5.0,
            synced: false,
            seed_quorum: 2,
            seeds: vec![seed_line(7001, true)],
            alive: 7,
            connected_peers: 6,
            entries: 9,
            cases: 1,
            links: 8,
            store_problem: None,
            counters: Default::default(),
        }),
        neighbours: Vec::new(),
        messages: Vec::new(),
        members: Vec::new(),
    })));
    has(
        &shown(&mut model),
        &[
            "seed-1  seed 55555555  not synced",
            "7 alive, 6 linked here, 9 in the table",
            "1 open case,",
        ],
    );
    press(&mut model, KeyCode::Char('1'));
    has(&shown(&mut model), &["no connections"]);
}

#[test]
fn lists_show_all_items_and_escape_control_characters() {
    let mut model = model(Tab::Connections);
    let text = shown(&mut model);
    has(&text, &["NAME", "bert", "2/5", "0.4 ms", "carl\\u{1b}[2J"]);
    assert!(!text.contains('\u{1b}'));
    press(&mut model, KeyCode::Char('2'));
    let text = shown(&mut model);
    has(&text, &["PUBLISHER", "orders", "news"]);
    assert!(text.find("orders") < text.find("news"), "the newest first");
    press(&mut model, KeyCode::Char('3'));
    has(&shown(&mut model), &["emil", "dead", "cccccccc"]);
    press(&mut model, KeyCode::Tab);
    has(&shown(&mut model), &["neighbour_up", "name=bert"]);
    press(&mut model, KeyCode::Right);
    assert_eq!(model.tab, Tab::Overview);
}

#[test]
fn lists_are_filtered_and_sorted() {
    let mut model = model(Tab::Members);
    type_in(&mut model, "/EMIL");
    let text = shown(&mut model);
    has(&text, &["filter: EMIL", "emil"]);
    assert!(!text.contains("dora"), "{text}");
    press(&mut model, KeyCode::Enter);
    type_in(&mut model, "/x");
    has(&shown(&mut model), &["nothing here has \"EMILx\" in it"]);
    press(&mut model, KeyCode::Esc);
    has(&shown(&mut model), &["dora"]);

    // By the second column, the degree: the largest number first.
    press(&mut model, KeyCode::Char('1'));
    type_in(&mut model, "ss");
    let text = shown(&mut model);
    has(&text, &["DEGREE▾"]);
    assert!(text.find("carl") < text.find("bert"), "{text}");
}

#[test]
fn details_of_a_message_show_its_content() {
    let mut model = model(Tab::Messages);
    let request = press(&mut model, KeyCode::Enter);
    let seven = format!("{}/1/7", id('b'));
    assert_eq!(request, Some(Request::Content(seven.clone())));
    let full = FullMessage {
        id: seven,
        publisher: id('b'),
        name: None,
        sequence: 7,
        topic: "orders".into(),
        bytes: 11,
        published_us: 0,
        from: None,
        received_us: None,
        hops: None,
        content: Content::of(b"two\nlines\x1b"),
    };
    let other = FullMessage { id: "x".into(), ..full.clone() };
    model.apply(Update::Content(Box::new(full)));
    model.apply(Update::Content(Box::new(other)));
    has(&shown(&mut model), &["details", "duplicates         1", "lines\\u{1b}"]);
    // Any key closes them, and does nothing else.
    assert_eq!(press(&mut model, KeyCode::Char('q')), None);
    assert!(model.detail.is_none());

    press(&mut model, KeyCode::Char('3'));
    press(&mut model, KeyCode::End);
    assert_eq!(press(&mut model, KeyCode::Enter), None);
    has(&shown(&mut model), &["witnesses", "aaaaaaaa"]);
}

#[test]
fn paused_view_keeps_its_state_until_quit() {
    let mut model = model(Tab::Overview);
    press(&mut model, KeyCode::Char('p'));
    model.apply(snapshot(99, Instant::now() + Duration::from_secs(9)));
    has(&shown(&mut model), &["PAUSED", "delivered 10/s"]);
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut model, code), Some(Request::Quit));
    }
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    model.edits_filter = true;
    assert_eq!(model.key(Event::Key(control_c)), Some(Request::Quit));
}

#[test]
fn view_fits_any_size_of_terminal() {
    for (width, height) in [(1, 1), (10, 3), (20, 5), (300, 100)] {
        for tab in Tab::ALL {
            let mut model = model(tab);
            press(&mut model, KeyCode::Enter);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view::draw(frame, &mut model)).unwrap();
        }
    }
}

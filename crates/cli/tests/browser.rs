//! The page in a real browser: headless Chromium, through its WebDriver.
//!
//! Pictures of every view, in both themes and at three widths, are left in `target/page/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use support::{DEADLINE, Place, Running, Tool, has_tools, until};

/// A browser with one window.
struct Browser {
    driver: Child,
    address: String,
    session: String,
    window: Client,
}

impl Browser {
    async fn open() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let port = line.split("successfully on port ").nth(1)?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says where it listens");
        // Further output is discarded, because a full pipe would block the driver.
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{port}");
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {
                "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                    "--window-size=1280,900", "--no-first-run", "--disable-component-update",
                    "--disable-background-networking", "--disable-sync"],
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let window = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{address}"))
            .await
            .expect("chromium starts");
        let session = window.session_id().await.unwrap().unwrap();
        Browser { driver, address, session, window }
    }

    /// The value of an expression.
    async fn eval(&self, expression: &str) -> Value {
        self.window.execute(&format!("return {expression};"), Vec::new()).await.unwrap()
    }

    /// Waits until an expression is true.
    async fn until(&self, what: &str, expression: &str) {
        let start = Instant::now();
        while self.eval(expression).await != true {
            if start.elapsed() >= DEADLINE {
                let text = self.eval("document.body.innerText").await;
                panic!("not in time: {what} ({expression}); the page says {text}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a change is drawn: two frames, because a new size is known only in the first.
    async fn frames(&self) {
        let script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));";
        self.window.execute_async(script, Vec::new()).await.unwrap();
    }

    async fn click(&self, selector: &str) {
        self.window.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Replaces the text of a field.
    async fn fill(&self, selector: &str, text: &str) {
        let field = self.window.find(Locator::Css(selector)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// The new entries of one of the browser's logs, through a command that WebDriver itself lacks.
    fn log(&self, kind: &str) -> Vec<Value> {
        let answer = self.command("POST", "/se/log", &json!({ "type": kind }).to_string());
        let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
        answer["value"].as_array().unwrap_or_else(|| panic!("no log {kind}: {answer}")).clone()
    }

    /// A command to the driver, about this session.
    fn command(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let Browser { address, session, .. } = self;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "{method} /session/{session}{path} HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        // The driver keeps the connection open.
        let mut answer = BufReader::new(stream);
        let (mut length, mut line) = (0, String::new());
        while answer.read_line(&mut line)? > 2 {
            let field = line.to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Requires that the page logged no error, and sent requests to the node only.
    fn was_well_behaved(&self, page: &str) {
        let errors: Vec<Value> =
            self.log("browser").into_iter().filter(|e| e["level"] == "SEVERE").collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let mut asked = 0;
        for entry in self.log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] == "Network.requestWillBeSent" {
                let url = message["message"]["params"]["request"]["url"].as_str().unwrap();
                assert!(url.starts_with(page) || url.starts_with("data:"), "it asks {url}");
                asked += 1;
            }
        }
        assert!(asked > 5, "the log of requests is empty");
    }

    /// Saves a picture of the page, and requires that no element is wider than the window.
    async fn picture(&self, directory: &Path, name: &str) {
        let wide = self.eval("document.documentElement.scrollWidth - innerWidth").await;
        assert!(wide.as_i64().unwrap() <= 0, "{name}: {wide} pixels reach out of the window");
        let png = self.window.screenshot().await.unwrap();
        std::fs::write(directory.join(format!("{name}.png")), png).unwrap();
    }
}

impl Drop for Browser {
    /// Ends the session, because the driver does not end the browser by itself.
    fn drop(&mut self) {
        let _ = self.command("DELETE", "", "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The address and the token of the page, from the control file of a node.
fn page_of(place: &Place) -> (String, String) {
    let mut found = None;
    until("the run has control files", || {
        let files = std::fs::read_dir(place.run_dir()).into_iter().flatten().flatten();
        let mut texts = files
            .filter(|f| f.path().extension().is_some_and(|e| e == "json"))
            .filter_map(|f| std::fs::read_to_string(f.path()).ok());
        found = texts.find_map(|t| serde_json::from_str::<Value>(&t).ok());
        found.is_some()
    });
    let file = found.unwrap();
    (file["url"].as_str().unwrap().to_owned(), file["token"].as_str().unwrap().to_owned())
}

/// A network that runs until it is told to end.
fn network_of(place: &Place, peers: usize) -> Running {
    let peers = peers.to_string();
    let args = ["up", "--peers", &peers, "--for", "forever", "--messages", "0", "--json"];
    Running::spawn(place.command(&args))
}

fn pictures() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../page");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

const PEERS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_the_network_and_carries_out_actions() {
    if !has_tools(&[Tool::Browser]) {
        return;
    }
    let place = support::new_place();
    let peers = PEERS.to_string();
    let mut up = network_of(&place, PEERS);
    let (url, token) = page_of(&place);
    let browser = Browser::open().await;
    browser.window.goto(&format!("{url}/#{token}")).await.unwrap();

    // The graph has as many peers as the network.
    let network = "rumor.state.network";
    browser
        .until(
            "all peers are there, in one network",
            &format!(
                "!!{network} && {network}.peers.filter(p => p.state === 'alive').length === {PEERS} \
                 && {network}.links.length >= {PEERS} && {network}.components === 1"
            ),
        )
        .await;
    assert_eq!(browser.eval("document.querySelector('#link').dataset.state").await, "live");
    assert_eq!(browser.eval("document.querySelector('#figure-peers').textContent").await, peers);
    assert_eq!(browser.eval(&format!("{network}.peers.filter(p => p.at).length")).await, PEERS);
    assert_eq!(browser.eval("location.hash").await, "", "the token is not shown");

    // A message that is published here appears, and reaches every peer.
    publish(&browser, "good morning").await;
    browser.until("it has reached all", &reached("good morning", PEERS)).await;
    browser
        .until("its spread is drawn", "document.querySelectorAll('#spread svg').length > 0")
        .await;

    // During a partition a message reaches one half; it reaches the other one after the partition.
    browser.click("#tab-network").await;
    browser.click("#cut").await;
    browser.until("the partition is seen", &format!("{network}.components === 2")).await;
    assert_eq!(browser.eval("document.querySelector('#figure-parts').textContent").await, "2");
    publish(&browser, "are you there").await;
    browser.until("it has reached its half", &reached("are you there", PEERS / 2)).await;
    browser.click("#tab-network").await;
    assert_eq!(browser.eval("document.querySelector('#cut').textContent").await, "End partition");
    browser.picture(&pictures(), "cut-in-two").await;
    browser.click("#cut").await;
    browser.until("the partition is over", &format!("{network}.components === 1")).await;
    browser.click("#tab-messages").await;
    browser.until("the other half has it", &reached("are you there", PEERS)).await;

    // A peer is killed, and the page shows it as dead, with the witnesses and the seeds that
    // agreed.
    browser.click("#tab-network").await;
    browser.fill("#search", "peer-05\n").await;
    browser
        .until("it is chosen", "document.querySelector('#chosen').innerText.includes('peer-05')")
        .await;
    browser
        .window
        .find(Locator::XPath("//div[@id='chosen']//button[text()='Kill']"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    browser
        .until(
            "the page says that it is dead, and names the witnesses",
            "(t => t.includes('✕ dead') && /accused by .*peer-.*agreed by . seeds .seed-/.test(t))\
             (document.querySelector('#chosen').innerText.replaceAll('\\n', ' '))",
        )
        .await;
    let alive = (PEERS - 1).to_string();
    assert_eq!(browser.eval("document.querySelector('#figure-dead').textContent").await, "1");
    assert_eq!(browser.eval("document.querySelector('#figure-peers').textContent").await, alive);

    // A peer that is added at the page is like the others.
    browser.click("#add").await;
    let newcomer = format!("{network}.peers.find(p => p.name === 'peer-13')");
    browser
        .until(
            "it has joined",
            &format!("({newcomer})?.state === 'alive' && {newcomer}.degree > 0"),
        )
        .await;
    browser.click("#tab-members").await;
    browser
        .until(
            "it is in the table",
            "document.querySelector('#members').innerText.includes('peer-13')",
        )
        .await;
    assert_eq!(browser.eval("document.querySelector('#figure-peers').textContent").await, peers);

    browser.click("#tab-network").await;
    save_pictures(&browser).await;
    browser.was_well_behaved(&url);
    drop(browser);

    up.signal("-INT");
    let summary: Value = serde_json::from_str(&up.rest()).unwrap();
    assert_eq!(up.wait(), 0, "{summary:#}");
    assert_eq!(
        (&summary["errors"], &summary["false_deaths"]),
        (&json!(0), &json!(0)),
        "{summary:#}"
    );
}

/// Publishes with the form of the page.
async fn publish(browser: &Browser, text: &str) {
    browser.click("#tab-messages").await;
    browser
        .until(
            "there is a peer that can publish",
            "document.querySelector('#publish-by').options.length > 0",
        )
        .await;
    browser.fill("#publish-text", text).await;
    browser.click("#publish button").await;
}

/// An expression: whether the feed shows that a message has reached this number of peers.
fn reached(text: &str, peers: usize) -> String {
    format!(
        "[...document.querySelectorAll('#feed tr')].some(r => r.innerText.includes('{text}') && \
         r.cells[5].textContent.startsWith('{peers}/'))"
    )
}

/// Saves pictures of every view, in both themes and at three widths.
async fn save_pictures(browser: &Browser) {
    let directory = pictures();
    browser.fill("#search", "peer-02\n").await;
    browser.click("#zoom-fit").await;
    for theme in ["dark", "light"] {
        browser.until("the theme is chosen", &format!(
            "(document.documentElement.dataset.theme === '{theme}') || (document.querySelector('#theme').click(), false)"
        )).await;
        for (width, height) in [(390, 844), (820, 1180), (1440, 900)] {
            browser.window.set_window_size(width, height).await.unwrap();
            for view in ["network", "messages", "members", "rates"] {
                browser.click(&format!("#tab-{view}")).await;
                browser
                    .until(
                        "the view is shown",
                        &format!("!document.querySelector('#{view}').hidden"),
                    )
                    .await;
                browser.frames().await;
                browser.picture(&directory, &format!("{view}-{theme}-{width}")).await;
            }
        }
    }
}

/// A thousand peers, and how long their frames take. Not in CI: it takes minutes without
/// optimization.
///
/// ```text
/// cargo test --release -p rumormill-cli --test browser -- --ignored --nocapture
/// ```
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and has to be run with --release"]
async fn page_draws_a_thousand_peers() {
    if !has_tools(&[Tool::Browser]) {
        return;
    }
    let place = support::new_place();
    let mut up = network_of(&place, 1000);
    let (url, token) = page_of(&place);
    let own = |up: &Running| processor_time(up.child.id());
    let browser = Browser::open().await;
    // First the network alone, then with a browser that shows it.
    until("all have joined", || {
        let ran = place.run(&["members", "--node", "seed-1", "--json"]);
        ran.code == 0 && ran.json().as_array().is_some_and(|m| m.len() == 1000)
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (alone, over) = (own(&up), Duration::from_secs(10));
    tokio::time::sleep(over).await;
    let alone = (own(&up) - alone) / over.as_secs_f64();

    browser.window.goto(&format!("{url}/#{token}")).await.unwrap();
    browser
        .until(
            "all are drawn",
            "!!rumor.state.network && rumor.state.network.peers.filter(p => p.at).length === 1000",
        )
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let watched = own(&up);
    tokio::time::sleep(over).await;
    let watched = (own(&up) - watched) / over.as_secs_f64();

    browser.click("#tab-messages").await;
    browser
        .until("a peer can publish", "document.querySelector('#publish-by').options.length > 0")
        .await;
    browser.fill("#publish-text", "to a thousand").await;
    browser.click("#publish button").await;
    browser.until("it has reached all", &reached("to a thousand", 1000)).await;
    browser.click("#tab-network").await;
    let drawn = frames(&place, &browser, over).await;
    println!("{drawn}; {alone:.2} cores alone, {watched:.2} with the page open");
    browser.picture(&pictures(), "a-thousand").await;
    // A denser network than the law makes of a thousand peers: links between any two, drawn as the
    // others.
    browser
        .eval(
            "(() => { const show = rumor.graph.show; rumor.graph.show = function(n) { \
             const p = n.peers.length, more = Array.from({ length: 5000 - n.links.length }, (_, i) => \
             [i * 7919 % p, (i * 104729 + 13) % p, i % 2]); \
             show.call(this, { ...n, links: n.links.concat(more) }); }; return true; })()",
        )
        .await;
    browser.until("there are 5000 links", "rumor.graph.links.length === 5000").await;
    println!("{}", frames(&place, &browser, over).await);
    browser.was_well_behaved(&url);
    drop(browser);
    up.signal("-INT");
    up.rest();
}

/// The time to draw a frame while five messages a second are published.
async fn frames(place: &Place, browser: &Browser, over: Duration) -> String {
    browser.eval("(rumor.graph.frames = { count: 0, spent: 0, worst: 0 })").await;
    let since = Instant::now();
    while since.elapsed() < over {
        place.run(&["send", "--node", "peer-0001", "again"]).ok();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let frames = browser.eval("rumor.graph.frames").await;
    let links = browser.eval("rumor.graph.links.length").await;
    let n = frames["count"].as_f64().unwrap();
    format!(
        "1000 peers, {links} links, messages flowing: {n} frames in {over:?}, {:.2} ms to draw one, {} ms at most",
        frames["spent"].as_f64().unwrap() / n,
        frames["worst"]
    )
}

/// Processor time of a process, in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    // utime and stime, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

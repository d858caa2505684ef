//! `rumor send`

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use rumormill::proto::limits::{MAX_PAYLOAD, MAX_TOPIC};
use rumormill_http::Client;
use rumormill_http::view::{Content, Publish, ReceiptLine, Status};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::{escape, out};
use rumormill_units::count::counted;
use rumormill_units::duration;

use crate::control::NodeArgs;
use crate::text::short_id;

/// Publish a message through a running peer
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor send \"deploy finished\"
  rumor send --topic alerts \"disk full on db-3\"
  rumor send --wait \"stop all writes\"      (until every live peer holds it)
  tar c notes | rumor send -              (reads standard input)

Without --wait the command ends when the peer has the message; other peers may not have it yet, and
the peer's data directory has it a moment later.

With --wait, the live peers that have had a neighbour count. The exit code is 1 if not all of them
were known to hold the message in time; the others are named.")]
pub(crate) struct SendArgs {
    /// The message; `-` reads standard input, byte for byte
    text: String,
    /// Topic of the message
    #[arg(long, short, default_value = "", value_parser = topic)]
    topic: String,
    /// Wait until every live peer holds the message, and print how many do
    #[arg(long, short)]
    wait: bool,
    /// How long to wait (at most 60s)
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait")]
    #[arg(value_parser = wait_timeout)]
    timeout: Duration,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: SendArgs) -> Outcome {
    let client = args.node.peer_client()?;
    let payload = if args.text == "-" { read_stdin()? } else { args.text.into_bytes() };
    let wait_ms = args.wait.then(|| u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX));
    let request = Publish { topic: args.topic, content: Content::of(&payload), wait_ms };
    let published = client.publish(&request).await?;
    if args.node.json {
        out::json_pretty(&published)?;
    }
    let held = published.receipt.as_ref().is_some_and(|r| r.complete);
    if args.wait && published.receipt.as_ref().is_some_and(|r| r.live == 1) {
        // The receipt counts no other member, because the peer knows none.
        require_joined(&client).await?;
    }
    if !args.node.json {
        let text = published.receipt.as_ref().map(receipt_text);
        out::print(&text.unwrap_or_else(|| format!("{}\n", published.id)))?;
    }
    if args.wait && !held {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "not all live peers were known to hold it within {}; it goes on spreading",
                duration::show(args.timeout)
            ),
        ));
    }
    Ok(Exit::Ok)
}

/// The receipt as text: `held by 63 of 63 live peers in 41 ms`, then the missing peers, then those
/// that died or left meanwhile.
fn receipt_text(receipt: &ReceiptLine) -> String {
    let ReceiptLine { held, live, after_us, .. } = receipt;
    let ms = *after_us as f64 / 1000.0;
    let digits = if ms < 10.0 { 1 } else { 0 };
    let mut text = format!("held by {held} of {live} live peers in {ms:.digits$} ms\n");
    text += &missing_text(receipt);
    for d in &receipt.departed {
        let name = d.name.as_deref().unwrap_or_else(|| short_id(&d.id));
        let name = escape::text(name);
        text += &match d.state.as_str() {
            "dead" => format!(
                "{name} died meanwhile: reported by {}, agreed by {} seeds\n",
                d.witnesses.iter().map(|w| short_id(w)).collect::<Vec<_>>().join(", "),
                d.seeds.len()
            ),
            _ => format!("{name} left meanwhile\n"),
        };
    }
    text
}

/// The missing peers as text: `missing: web-3 (suspected for 3 s), db-1`.
fn missing_text(receipt: &ReceiptLine) -> String {
    const MAX_NAMED: usize = 10;
    if receipt.complete {
        return String::new();
    }
    // Before the names are known, and in large networks, the receipt has only their number.
    let Some(missing) = receipt.missing.as_ref().filter(|missing| !missing.is_empty()) else {
        return match receipt.live.saturating_sub(receipt.held) {
            0 => "missing: not known yet\n".to_owned(),
            n => format!("missing: {}, not known by name\n", counted(n, "peer")),
        };
    };
    let named = missing.iter().take(MAX_NAMED).map(|m| {
        let name = escape::text(&m.name);
        match m.suspected_ms {
            Some(ms) => {
                let time = Duration::from_secs(ms.div_ceil(1000));
                format!("{name} (suspected for {})", duration::show(time))
            }
            None => name,
        }
    });
    let mut text = format!("missing: {}", named.collect::<Vec<_>>().join(", "));
    if missing.len() > MAX_NAMED {
        text += &format!(" and {} more", missing.len() - MAX_NAMED);
    }
    text + "\n"
}

/// Fails if the peer has not joined, because it knows no other member then.
async fn require_joined(client: &Client) -> Outcome<()> {
    let Status::Peer(status) = client.status().await? else { return Ok(()) };
    if status.seeds.is_empty() || status.state == "joined" {
        return Ok(());
    }
    let message = format!(
        "no other peer holds it: the peer has not joined the network (it is {}, registered at {} of {}); it \
         sends the message when it has joined (`rumor doctor` says what is in the way)",
        escape::text(&status.state),
        status.registrations,
        counted(status.seeds.len(), "seed")
    );
    Err(Failure::new(Exit::Failed, message))
}

fn topic(text: &str) -> Result<String, String> {
    if text.len() > MAX_TOPIC {
        return Err(format!("it takes {} bytes, and a topic has at most {MAX_TOPIC}", text.len()));
    }
    Ok(text.to_owned())
}

fn wait_timeout(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(60);
    let time = duration::parse(text)?;
    if time > longest {
        return Err(format!("it must be at most {}", duration::show(longest)));
    }
    Ok(time)
}

fn read_stdin() -> Outcome<Vec<u8>> {
    let mut payload = Vec::new();
    let limit = MAX_PAYLOAD as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut payload).map_err(|e| {
        Failure::new(Exit::Failed, format!("cannot read the message from standard input: {e}"))
    })?;
    if payload.len() > MAX_PAYLOAD {
        return Err(Failure::new(
            Exit::Failed,
            format!("standard input is over {MAX_PAYLOAD} bytes; send it in pieces"),
        ));
    }
    Ok(payload)
}

//! `rumor status`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use rumormill_http::view::{PeerStatus, SeedLine, SeedStatus, Status};
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out::Paint;
use rumormill_terminal::{escape, out};
use rumormill_units::count::counted;
use rumormill_units::duration;

use crate::control::NodeArgs;

/// Show the state of a running node
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor status
  rumor status --node peer-03
  rumor status --node seed-1 --json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Show the counters as well (--json always has them)
    #[arg(long, short)]
    counters: bool,
}

pub(crate) async fn run(args: StatusArgs) -> Outcome {
    let status = args.node.client()?.status().await?;
    if args.node.json {
        out::json_pretty(&status)?;
    } else {
        let paint = Paint::stdout();
        let (mut text, counters) = match &status {
            Status::Peer(s) => (peer(s, paint), &s.counters),
            Status::Seed(s) => (seed(s, paint), &s.counters),
        };
        if args.counters {
            text += &counter_lines(counters);
        }
        out::print(&text)?;
    }
    Ok(Exit::Ok)
}

fn peer(s: &PeerStatus, paint: Paint) -> String {
    let mut text = head("peer", &s.name, &s.id, s.pid, paint);
    let state = match s.state.as_str() {
        "joined" => paint.green("joined"),
        other => paint.yellow(&escape::text(other)),
    };
    let _ = writeln!(
        text,
        "  state        {state}, incarnation {}, up {}",
        s.incarnation,
        duration::show(Duration::from_secs_f64(s.uptime_s.max(0.0)))
    );
    text += &store_line(s.store_problem.as_deref(), paint);
    let _ = writeln!(text, "  listens at   {}", s.address);
    let _ = writeln!(text, "  reached at   {}", s.addresses.join(", "));
    let _ = writeln!(text, "  neighbours   {} (target {})", s.degree, s.target);
    let _ = writeln!(
        text,
        "  registered   at {} of {} ({} needed)",
        s.registrations,
        counted(s.seeds.len(), "seed"),
        s.seed_quorum
    );
    text += &seed_lines(&s.seeds, "registered", "not registered");
    let _ = writeln!(
        text,
        "  network      {} alive here, {} say the seeds",
        counted(s.alive, "member"),
        counted(s.network_size, "peer")
    );
    let _ = writeln!(
        text,
        "  messages     {} published, {} retained ({})",
        s.published,
        s.retained_messages,
        counted(s.retained_bytes, "byte")
    );
    text
}

fn seed(s: &SeedStatus, paint: Paint) -> String {
    let mut text = head("seed", &s.name, &s.id, s.pid, paint);
    let state = if s.synced {
        paint.green("answers for the network")
    } else {
        paint.yellow("not yet compared with the other seeds")
    };
    let _ = writeln!(
        text,
        "  state        {state}, up {}",
        duration::show(Duration::from_secs_f64(s.uptime_s.max(0.0)))
    );
    text += &store_line(s.store_problem.as_deref(), paint);
    let _ = writeln!(text, "  listens at   {}", s.address);
    let _ = writeln!(
        text,
        "  registry     {} alive, {} of them linked here, {} in the table",
        counted(s.alive, "peer"),
        s.connected_peers,
        s.entries
    );
    let _ = writeln!(
        text,
        "  deaths       {}, {} needed for a certificate",
        counted(s.cases, "open case"),
        counted(s.seed_quorum, "vote")
    );
    if !s.seeds.is_empty() {
        let _ = writeln!(text, "  other seeds");
        text += &seed_lines(&s.seeds, "compared", "not compared");
    }
    text
}

fn head(role: &str, name: &str, id: &str, pid: u32, paint: Paint) -> String {
    format!("{} ({role}, process {pid})\n  id           {id}\n", paint.bold(&escape::text(name)))
}

/// The line about a store that does not work; empty while it works.
fn store_line(problem: Option<&str>, paint: Paint) -> String {
    problem.map_or_else(String::new, |why| {
        let state = paint.red("nothing can be written to the data directory");
        format!("  store        {state}: {}\n", escape::text(why))
    })
}

fn seed_lines(seeds: &[SeedLine], yes: &str, no: &str) -> String {
    let mut text = String::new();
    for s in seeds {
        let link = if s.connected { "linked" } else { "no link" };
        let state = if s.registered { yes } else { no };
        let delay = s.reply_delay_ms.map(|d| format!(", {d:.1} ms")).unwrap_or_default();
        let _ = writeln!(text, "    {:<24} {link}, {state}{delay}", escape::text(&s.address));
    }
    text
}

fn counter_lines(counters: &BTreeMap<String, u64>) -> String {
    let mut text = "  counters\n".to_owned();
    for (name, n) in counters {
        let _ = writeln!(text, "    {:<40} {n}", escape::text(name));
    }
    text
}

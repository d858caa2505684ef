//! The program `rumormill-compare`: runs the same work over Rumormill and other systems, and prints
//! one table.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod compare;
mod links;
mod member;
mod metric;
mod plan;
mod process;
mod report;
mod scoreboard;
mod stamp;
mod systems;
mod table;
mod versions;
mod work;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, Command, CompareArgs};
use plan::Work;
use systems::MemberSetup;

/// The same allocator for all systems.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a run in which a measurement failed.
const FAILED: u8 = 1;
/// Exit code of a wrong command line.
const USAGE: u8 = 2;
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Without threads yet: this call does not return unless it fails.
    let outcome = match command {
        Command::Tie { parent, command } => process::tie(parent, &command).map(|()| 0),
        command => block_on(run(command)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("rumormill-compare: {e:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn block_on(command: impl Future<Output = Result<u8>>) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(command);
    // A task that still runs must not delay the end of the program.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command) -> Result<u8> {
    match command {
        Command::Throughput(args) => compare(&args, &[Work::Throughput]).await,
        Command::Delay(args) => compare(&args, &[Work::Delay]).await,
        Command::Idle(args) => compare(&args, &[Work::Idle]).await,
        Command::Detection(args) => compare(&args, &[Work::Detection]).await,
        Command::All(args) => compare(&args, &Work::ALL).await,
        Command::Worker { parent, job } => {
            process::end_with_parent(parent)?;
            let job = serde_json::from_str(&job).context("cannot read the work to do")?;
            print(&serde_json::to_string(&worker::run(&job).await?)?)?;
            Ok(0)
        }
        Command::Member { parent, system, index, seed } => {
            process::end_with_parent(parent)?;
            member::run(system, MemberSetup { index, seeds: seed }).await?;
            Ok(0)
        }
        Command::Tie { parent, command } => process::tie(parent, &command).map(|()| 0),
    }
}

async fn compare(args: &CompareArgs, works: &[Work]) -> Result<u8> {
    let (plan, mut systems) = (args.plan(), args.systems());
    systems.retain(|system| works.iter().any(|work| system.can(*work)));
    let checked = plan.check().and_then(|()| {
        anyhow::ensure!(!systems.is_empty(), "none of the systems named can do this work");
        Ok(())
    });
    if let Err(e) = checked {
        eprintln!("rumormill-compare: {e:#}");
        return Ok(USAGE);
    }
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let report = tokio::select! {
        report = compare::run(plan, args.runs, works, &systems) => report,
        _ = interrupt.recv() => return Ok(interrupted()),
        _ = terminate.recv() => return Ok(interrupted()),
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { report.text() };
    print(text.trim_end())?;
    Ok(if report.has_failed() { FAILED } else { 0 })
}

fn interrupted() -> u8 {
    eprintln!(
        "rumormill-compare: interrupted; the measurements are incomplete and are not printed"
    );
    INTERRUPTED
}

/// Prints a text and a line break to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}

//! The program `rumor`: runs and controls nodes of a Rumormill network.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod bench;
mod commands;
mod console;
mod control;
mod doctor;
mod escape;
mod exit;
mod hello;
mod launch;
mod log;
mod out;
mod plot;
mod rlimit;
mod settings;
mod signals;
mod sim;
mod supervise;
mod table;
mod top;
mod up;
mod usage;
mod utc;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use commands::{
    bench as bench_command, clean, completions, config, doctor as doctor_command, get, leave, man,
    members, messages, neighbours, peer, plot as plot_command, seed, send, sim as sim_command,
    status, tail, top as top_command, up as up_command,
};
use exit::{Exit, Failure, Outcome};

/// Many small allocations of many sizes on several threads: half the memory and less time than
/// with the allocator of most systems.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rumormill::silence_caught_panics();
    let variable = |name: &str| std::env::var_os(name);
    let outcome = match settings::layer(std::env::args_os().collect(), &variable) {
        Ok(layered) => match parse(&layered) {
            Ok(command) => run(command),
            Err(code) => return code,
        },
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            if let Some(error) = error {
                out::say(format!(
                    "{} {}",
                    out::Paint::stderr().red("rumor:"),
                    exit::in_words(&error)
                ));
            }
            exit.into()
        }
    }
}

/// The command; or the exit code, where the command line asked for help or is wrong.
fn parse(layered: &settings::Layered) -> Result<Command, ExitCode> {
    Cli::try_parse_from(&layered.arguments).map(|cli| cli.command).map_err(|e| {
        // If nobody reads it, nothing is lost.
        let _ = e.print();
        // What a file or the environment says is configuration.
        if let Some(by) = settings::told_by(&e, layered).filter(|_| e.use_stderr()) {
            out::say(format!("\nwith {by}"));
            return Exit::Config.into();
        }
        ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(Exit::Usage as u8))
    })
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Clean(args) => clean::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Config(args) => config::run(args),
        Command::Man(args) => man::run(&args),
        Command::Up(args) => block_on(Threads::Many, up_command::run(*args)),
        Command::Bench(args) => block_on(Threads::Many, bench_command::run(*args)),
        Command::Sim(args) => sim_command::run(&args),
        Command::Seed(args) => block_on(Threads::Many, seed::run(*args)),
        Command::Peer(args) => block_on(Threads::Many, peer::run(*args)),
        Command::Status(args) => block_on(Threads::One, status::run(args)),
        Command::Members(args) => block_on(Threads::One, members::run(args)),
        Command::Neighbours(args) => block_on(Threads::One, neighbours::run(args)),
        Command::Messages(args) => block_on(Threads::One, messages::run(args)),
        Command::Get(args) => block_on(Threads::One, get::run(args)),
        Command::Send(args) => block_on(Threads::One, send::run(args)),
        Command::Tail(args) => block_on(Threads::One, tail::run(args)),
        Command::Top(args) => block_on(Threads::One, top_command::run(args)),
        Command::Plot(args) => block_on(Threads::One, plot_command::run(*args)),
        Command::Doctor(args) => block_on(Threads::One, doctor_command::run(args)),
        Command::Leave(args) => block_on(Threads::One, leave::run(args)),
    }
}

/// How many threads a command needs.
enum Threads {
    /// One request and its answer.
    One,
    /// Nodes: as many as there are processors.
    Many,
}

fn block_on(threads: Threads, command: impl Future<Output = Outcome>) -> Outcome {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(command);
    // What still runs now (a stuck disk, a name lookup) must not hold the program up.
    runtime.shutdown_background();
    outcome
}

//! The program `rumor`: runs and controls nodes of a Rumormill network.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod commands;
mod console;
mod control;
mod doctor;
mod log;
mod settings;
mod supervise;
mod text;
mod top;
mod up;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out;
use rumormill_terminal::program::{Threads, block_on, finish, parse_error};

use cli::{Cli, Command};
use commands::{
    clean, completions, config, doctor as doctor_command, get, leave, man, members, messages,
    neighbours, peer, seed, send, status, tail, top as top_command, up as up_command,
};

/// Many small allocations of many sizes on several threads: half the memory and less time than
/// with the allocator of most systems.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rumormill::silence_caught_panics();
    let variable = |name: &str| std::env::var_os(name);
    let layered = match settings::layer(&Cli::command(), std::env::args_os().collect(), &variable) {
        Ok(layered) => layered,
        Err(failure) => return finish("rumor", Err(failure)),
    };
    match parse(&layered) {
        Ok(command) => finish("rumor", run(command)),
        Err(code) => code,
    }
}

/// The command; or the exit code, if the command line asks for help or is wrong.
fn parse(layered: &settings::Layered) -> Result<Command, ExitCode> {
    Cli::try_parse_from(&layered.arguments).map(|cli| cli.command).map_err(|e| {
        let code = parse_error(&e);
        // A wrong value from a file or from the environment is wrong configuration.
        match settings::sources_of(&e, layered).filter(|_| e.use_stderr()) {
            Some(sources) => {
                out::say(format!("\nwith {sources}"));
                Exit::Config.into()
            }
            None => code,
        }
    })
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Clean(args) => clean::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Config(args) => config::run(args, &Cli::command(), Cli::check),
        Command::Man(args) => man::run(&args, Cli::command()),
        Command::Up(args) => block_on(Threads::Many, up_command::run(*args)),
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
        Command::Doctor(args) => block_on(Threads::One, doctor_command::run(args, Cli::command())),
        Command::Leave(args) => block_on(Threads::One, leave::run(args)),
    }
}

//! The frame of a program: the runtime of a command, and the exit code of its outcome.

use std::process::ExitCode;

use crate::exit::{Exit, Failure, Outcome, error_text};
use crate::out::{self, Paint};

/// Prints why a command failed, under the name of the program, and gives the exit code.
pub fn finish(program: &str, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            if let Some(error) = error {
                let program = Paint::stderr().red(&format!("{program}:"));
                out::say(format!("{program} {}", error_text(&error)));
            }
            exit.into()
        }
    }
}

/// Prints what clap has to say about a command line (its help, or what is wrong), and gives the
/// exit code.
pub fn parse_error(e: &clap::Error) -> ExitCode {
    // A closed standard stream leaves nothing to do but to end.
    let _ = e.print();
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(Exit::Usage as u8))
}

/// How many threads a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One, for a command that sends requests and waits for answers.
    One,
    /// As many as there are processors, for a command that runs nodes.
    Many,
}

/// Runs a command on a runtime.
///
/// # Errors
/// The runtime cannot be started, or the command fails.
pub fn block_on(threads: Threads, command: impl Future<Output = Outcome>) -> Outcome {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(command);
    // A task that still runs (a stuck disk, a name lookup) must not delay the end of the program.
    runtime.shutdown_background();
    outcome
}

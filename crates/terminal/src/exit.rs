//! How the programs end: every exit code, in one place.

use std::fmt;
use std::process::ExitCode;

use rumormill::seeds_file::SeedsFileError;
use rumormill::{BindError, StartError};
use rumormill_http::ClientError;

/// An exit code. `--help` lists those that the program can end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to do.
    Ok = 0,
    /// The command failed, or a run found faults.
    Failed = 1,
    /// The command line is wrong. clap exits with the same code.
    Usage = 2,
    /// A configuration file, a key or a name in it is wrong.
    Config = 3,
    /// An address cannot be listened on.
    Bind = 4,
    /// A data directory cannot be used.
    Storage = 5,
    /// No node is running, or it cannot be reached.
    NoNode = 6,
    /// The network could not be joined in time.
    NotJoined = 7,
    /// A peer has left, and no other node is known to hold all that it published, or that others
    /// handed over to it while it was leaving.
    Unconfirmed = 8,
    /// Another process has the same identity and started earlier.
    DuplicateIdentity = 9,
    /// Ctrl-C ended the command before it was done.
    Interrupted = 130,
}

impl Exit {
    /// All codes, in the order of their numbers.
    pub const ALL: [Exit; 11] = [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::Config,
        Exit::Bind,
        Exit::Storage,
        Exit::NoNode,
        Exit::NotJoined,
        Exit::Unconfirmed,
        Exit::DuplicateIdentity,
        Exit::Interrupted,
    ];

    const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "done",
            Exit::Failed => "failed, or a run found faults",
            Exit::Usage => "wrong usage",
            Exit::Config => "wrong configuration file, key or pin",
            Exit::Bind => "an address cannot be listened on",
            Exit::Storage => "a data directory cannot be used",
            Exit::NoNode => "no running node found, or it cannot be reached",
            Exit::NotJoined => "the network was not joined in the time given",
            Exit::Unconfirmed => {
                "a peer has left, and no other node is known to hold all that it published or took over"
            }
            Exit::DuplicateIdentity => {
                "another process with the same identity (a copied data directory) started earlier"
            }
            Exit::Interrupted => "interrupted, or ended at once by a second signal",
        }
    }
}

/// The text that lists exit codes in `--help` and in the manual.
pub fn exit_codes_help(codes: &[Exit]) -> String {
    let lines = codes.iter().map(|code| format!("\n  {:<3}  {}", *code as u8, code.meaning()));
    format!("Exit codes:{}", lines.collect::<String>())
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The reason why a command did not do what it was asked to do, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The message for the user; `None` if there is none to print (a closed pipe).
    pub error: Option<anyhow::Error>,
}

/// The result of a command.
pub type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// A failure with its code and its message.
    pub fn new(exit: Exit, error: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Failure { exit, error: Some(anyhow::Error::msg(error)) }
    }

    /// The same failure, with a second message behind its own.
    #[must_use]
    pub fn and_also(self, more: &impl fmt::Display) -> Self {
        let error = self.error.map(|e| anyhow::Error::msg(format!("{e:#}; and {more}")));
        Failure { error, ..self }
    }

    /// The reader of standard output has closed it: `rumor tail | head` is no error.
    pub const fn closed_pipe() -> Self {
        Failure { exit: Exit::Ok, error: None }
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    /// Turns an error into a [`Failure`] with this code.
    ///
    /// # Errors
    /// The error that `self` holds.
    fn or_exit(self, exit: Exit) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Outcome<T> {
        self.map_err(|e| Failure { exit, error: Some(e.into()) })
    }
}

impl From<BindError> for Failure {
    fn from(e: BindError) -> Self {
        Failure { exit: Exit::Bind, error: Some(e.into()) }
    }
}

impl From<SeedsFileError> for Failure {
    fn from(e: SeedsFileError) -> Self {
        Failure { exit: Exit::Config, error: Some(e.into()) }
    }
}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        let exit = match &e {
            StartError::Bind(_) => Exit::Bind,
            StartError::DataDir { .. }
            | StartError::DiskFull { .. }
            | StartError::Locked { .. }
            | StartError::KeyFile { .. }
            | StartError::OtherIdentity { .. }
            | StartError::OtherRole { .. }
            | StartError::Store { .. } => Exit::Storage,
            StartError::TooManySeeds(_)
            | StartError::TooManyAddresses(_)
            | StartError::OwnIndex { .. } => Exit::Config,
            _ => Exit::Failed,
        };
        Failure { exit, error: Some(e.into()) }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Self {
        let exit = match &e {
            e if e.is_unreachable() => Exit::NoNode,
            ClientError::Refused(problem) if problem.status == 504 => Exit::Unconfirmed,
            _ => Exit::Failed,
        };
        Failure { exit, error: Some(e.into()) }
    }
}

/// An error and its causes in one line. A cause whose text is already part of the line is left out,
/// because many libraries repeat the cause in their own message.
pub fn error_text(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        text
    })
}

//! How the program ends: every exit code, in one place.

use std::fmt;
use std::process::ExitCode;

use rumormill::seeds_file::SeedsFileError;
use rumormill::{BindError, StartError};
use rumormill_http::ClientError;

/// An exit code of the program. `rumor --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Ok = 0,
    /// It failed, or a run found faults.
    Failed = 1,
    /// The command line is wrong. (Also what clap exits with.)
    Usage = 2,
    /// A configuration file, a key or a name in it is wrong.
    Config = 3,
    /// An address cannot be listened on.
    Bind = 4,
    /// A data directory cannot be used.
    Storage = 5,
    /// No running node, or it cannot be reached.
    NoNode = 6,
    /// The network could not be joined in time.
    NotJoined = 7,
    /// A peer has left, and no other node is known to hold all that it published, or that others handed over to it while
    /// it was leaving.
    Unconfirmed = 8,
    /// Another process has the same identity and started earlier.
    DuplicateIdentity = 9,
    /// Ended by Ctrl-C before it was done.
    Interrupted = 130,
}

/// The codes, for `--help` and the manual.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed, or a run found faults
  2    wrong usage
  3    wrong configuration file, key or pin
  4    an address cannot be listened on
  5    a data directory cannot be used
  6    no running node found, or it cannot be reached
  7    the network was not joined in the time given
  8    a peer has left, and no other node is known to hold all that it published or took over
  9    another process with the same identity (a copied data directory) started earlier
  130  interrupted, or ended at once by a second signal";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why the program ends otherwise than asked, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// `None` where nothing is left to say (a closed pipe).
    pub(crate) error: Option<anyhow::Error>,
}

/// What a command comes to.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// A failure with its code and what to say.
    pub(crate) fn new(
        exit: Exit,
        error: impl fmt::Display + fmt::Debug + Send + Sync + 'static,
    ) -> Self {
        Failure { exit, error: Some(anyhow::Error::msg(error)) }
    }

    /// The same, and what else went wrong after it.
    pub(crate) fn and_also(self, more: &impl fmt::Display) -> Self {
        let error = self.error.map(|e| anyhow::Error::msg(format!("{e:#}; and {more}")));
        Failure { error, ..self }
    }

    /// Whoever read the output has had enough: `rumor tail | head` is no error.
    pub(crate) const fn closed_pipe() -> Self {
        Failure { exit: Exit::Ok, error: None }
    }
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
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

/// An error and its causes in one line. Causes that the text before them tells already are left out:
/// many libraries put the cause into their own message as well.
pub(crate) fn in_words(error: &anyhow::Error) -> String {
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

//! Errors of starting a node and of calling it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rumormill_proto::Role;
use rumormill_proto::limits::{MAX_ADDRESSES, MAX_SEEDS};

use crate::publish::ReceiptError;

/// A listening socket could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process listens at this address.
    #[error("{0} is taken by another process: choose another port, or port 0 to have one chosen")]
    AddressInUse(SocketAddr),
    /// The operating system refuses it.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A socket that the caller passed in cannot be used.
    #[error("the socket handed over cannot be used as a listener: {0}")]
    Socket(#[source] io::Error),
}

/// A node did not start. No part of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No listening socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory cannot be created, read or written.
    #[error("cannot use the data directory {path}: {source}; it must exist or be creatable, and \
             be writable by this user", path = path.display())]
    DataDir {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The disk of the data directory is full.
    #[error("cannot write to {path}: the disk is full; free some space, or use a data directory \
             on another disk", path = path.display())]
    DiskFull {
        /// The directory, or the file in it.
        path: PathBuf,
    },
    /// Another process has the data directory open.
    #[error("{path} is in use by another process: stop that one, or give this one a data \
             directory of its own", path = path.display())]
    Locked {
        /// The locked file.
        path: PathBuf,
    },
    /// The key file has no valid key.
    #[error("{path} is not a key file: {problem}; restore it from a backup, or remove it to get a \
             new identity", path = path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The error in it.
        problem: String,
    },
    /// The data directory belongs to another identity than the given one.
    #[error("{path} holds the identity {found}, but {given} was given: use one of the two, or \
             another data directory", path = path.display())]
    OtherIdentity {
        /// The key file.
        path: PathBuf,
        /// The short id in the key file.
        found: String,
        /// The short id that was given.
        given: String,
    },
    /// The data directory belongs to a node of the other role: two nodes would share its key.
    #[error("{path} exists: this directory belongs to another node, which is not a {role}; give \
             each node its own data directory", path = path.display())]
    OtherRole {
        /// The state file of that node.
        path: PathBuf,
        /// The role that was to start.
        role: Role,
    },
    /// The store cannot be opened or read.
    #[error("cannot open the store {path}: {problem}. To start without it, move it away: a seed \
             learns its registry again from the others, a peer loses the messages it kept, \
             and may get others twice",
             path = path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The error in it.
        problem: String,
    },
    /// More seeds than a network may have.
    #[error("{0} seeds are given, a network has at most {MAX_SEEDS}")]
    TooManySeeds(usize),
    /// More addresses than a peer's record can hold.
    #[error("{0} addresses are given to be advertised, a peer has at most {MAX_ADDRESSES}")]
    TooManyAddresses(usize),
    /// `own_index` names no seed.
    #[error("own index {index} names none of the {seeds} seeds (the first one is 0)")]
    OwnIndex {
        /// The given index.
        index: usize,
        /// The number of seeds.
        seeds: usize,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
    /// A default that is not valid in this version.
    #[error(transparent)]
    Config(#[from] rumormill_proto::ConfigError),
    /// A default that is not valid in this version.
    #[error(transparent)]
    Name(#[from] rumormill_proto::NameError),
    /// The runtime is shutting down.
    #[error("the tokio runtime does not run tasks any more: {0}")]
    Runtime(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

impl StartError {
    /// The error for a failed use of a data directory.
    pub(crate) fn for_data_dir(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StartError::DiskFull { path }
            }
            _ => StartError::DataDir { path, source },
        }
    }
}

/// The node has ended and answers no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node has stopped")]
pub struct StoppedError;

/// Why a message was not published. Nothing was sent, and no sequence number was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The core refused the message, or cannot take one now.
    #[error(transparent)]
    Refused(#[from] rumormill_proto::PublishError),
    /// The node has ended.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
    /// A receipt was requested and is not available.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

impl PublishError {
    /// Whether the only reason is a full send window: see
    /// [`Node::try_publish`](crate::Node::try_publish).
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, PublishError::Refused(rumormill_proto::PublishError::Busy))
    }
}

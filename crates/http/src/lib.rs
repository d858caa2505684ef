//! The control API of running nodes: HTTP and JSON on loopback.
//!
//! A program that runs nodes starts a [`Server`], adds its nodes, and puts a [`ControlFile`] for
//! each into a [`RunDir`]. Another program of the same user finds them there and talks to them
//! with a [`Client`]. The module [`view`] has the requests and answers.
//!
//! Only the owner of the control file can read the token and use the API. A page in a browser on
//! the same machine cannot, even if it guesses the port: requests need the token, and a request
//! that names a foreign host (DNS rebinding) or carries an `Origin` (a page sent it) is refused
//! first.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod control_file;
pub mod limits;
mod metrics;
pub mod network;
mod nodes;
mod page;
mod paging;
mod problem;
mod run_dir;
mod server;
mod token;
pub mod view;

pub use client::{Client, ClientError, EventStream, StreamItem, TailRequest};
pub use control_file::{ControlFile, ControlFileGuard};
pub use nodes::Handle;
pub use paging::Page;
pub use problem::Problem;
pub use run_dir::{RUN_DIR_VARIABLE, RunDir, RunDirError};
pub use server::{Access, Director, OperatorAction, ServeError, Server};
pub use token::Token;

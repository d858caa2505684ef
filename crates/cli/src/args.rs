//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{
    clean, completions, config, doctor, get, leave, man, members, messages, neighbours, peer, seed,
    send, status, tail, top, up,
};
use rumormill_terminal::exit::{Exit, exit_codes_help};

/// Gossip among peers: membership, failure detection and broadcast without a broker
#[derive(Debug, Parser)]
#[command(name = "rumor", version, max_term_width = 100)]
#[command(after_help = exit_codes_help(&Exit::ALL))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Box<up::UpArgs>),
    Seed(Box<seed::SeedArgs>),
    Peer(Box<peer::PeerArgs>),
    Status(status::StatusArgs),
    Members(members::MembersArgs),
    #[command(visible_alias = "neighbors")]
    Neighbours(neighbours::NeighboursArgs),
    Messages(messages::MessagesArgs),
    Get(get::GetArgs),
    Send(send::SendArgs),
    Tail(tail::TailArgs),
    Top(top::TopArgs),
    Leave(leave::LeaveArgs),
    Doctor(doctor::DoctorArgs),
    Config(config::ConfigArgs),
    Clean(clean::CleanArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, clean, completions, config, doctor, get, leave, man, members, messages, neighbours,
    peer, plot, seed, send, sim, status, tail, top, up,
};
use crate::exit::EXIT_CODES;

/// Gossip among peers: membership, failure detection and broadcast without a broker
#[derive(Debug, Parser)]
#[command(name = "rumor", version, after_help = EXIT_CODES, max_term_width = 100)]
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
    Plot(Box<plot::PlotArgs>),
    Bench(Box<bench::BenchArgs>),
    Sim(Box<sim::SimArgs>),
    Clean(clean::CleanArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

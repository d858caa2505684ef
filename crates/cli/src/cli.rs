//! The command line.

use clap::{ArgMatches, FromArgMatches as _, Parser, Subcommand};
use rumormill_terminal::exit::{Exit, OrExit as _, Outcome, exit_codes_help};

use crate::commands::{
    clean, completions, config, doctor, get, leave, man, members, messages, neighbours, peer, seed,
    send, status, tail, top, up,
};

/// Gossip among peers: membership, failure detection and broadcast without a broker
#[derive(Debug, Parser)]
#[command(name = "rumor", version, max_term_width = 100)]
#[command(after_help = exit_codes_help(&Exit::ALL))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
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

impl Cli {
    /// Reports what is wrong with the arguments of a command before it runs.
    ///
    /// # Errors
    /// The arguments contradict each other, or name a file that is not as it should be.
    pub(crate) fn check(matches: &ArgMatches) -> Outcome<()> {
        match Cli::from_arg_matches(matches).or_exit(Exit::Config)?.command {
            Command::Up(args) => args.check(),
            Command::Peer(args) => args.check(),
            Command::Seed(args) => args.check(),
            _ => Ok(()),
        }
    }
}

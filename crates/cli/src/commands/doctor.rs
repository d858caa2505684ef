//! `rumor doctor`

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use futures_util::future::join_all;
use rumormill_launch::args::read_network_key;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::running::RunDirArgs;

use crate::control::named_or_all;
use crate::doctor::{self, Finding, Level, Target};
use crate::settings;

/// Find out what is wrong with the nodes of this machine, or with the seeds of a configuration
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 1 if a check finds that something does not work; notes do not change it.

Examples:
  rumor doctor                        (all nodes that run here)
  rumor doctor --node peer-03
  rumor doctor --config config.txt    (can its seeds be reached from here?)
  rumor doctor --json | jq '.[].findings[] | select(.level != \"ok\")'"
)]
pub(crate) struct DoctorArgs {
    /// Only this node, by its name or id
    #[arg(long, short, value_name = "NAME", conflicts_with = "config")]
    node: Option<String>,
    /// Instead of nodes, try the seeds that this file names: which node answers there, with which
    /// key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The key of a private network, to try its seeds with [default: what --config says, if it is
    /// TOML]
    #[arg(long, value_name = "FILE", requires = "config")]
    network_key_file: Option<PathBuf>,
    #[command(flatten)]
    run_dir: RunDirArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: DoctorArgs, cli: Command) -> Outcome {
    let targets = match &args.config {
        Some(file) => {
            let seeds = settings::read_seeds(file)?;
            let key = args
                .network_key_file
                .clone()
                .map_or_else(|| key_of(&cli, file), |f| Ok(Some(f)))?;
            let key = key.as_deref().map(read_network_key).transpose()?;
            vec![doctor::check_seeds(&file.display().to_string(), &seeds, key.as_ref()).await]
        }
        None => nodes(&args).await?,
    };
    if args.json {
        out::json_pretty(&targets)?;
    } else {
        out::print(&text(&targets, Paint::stdout()))?;
    }
    let worst = targets.iter().flat_map(|p| &p.findings).map(|f| f.level).max();
    Ok(if worst == Some(Level::Wrong) { Exit::Failed } else { Exit::Ok })
}

/// The file of the network key that a settings file names for its peers.
fn key_of(cli: &Command, file: &Path) -> Outcome<Option<PathBuf>> {
    if !settings::is_settings(file) {
        return Ok(None);
    }
    let of_peers = settings::File::read(file)?.of(cli, "peer")?;
    let key = of_peers.into_iter().find(|s| s.name == "network-key-file");
    Ok(key.and_then(|k| k.values.into_iter().next()).map(PathBuf::from))
}

async fn nodes(args: &DoctorArgs) -> Outcome<Vec<Target>> {
    let files = named_or_all(args.node.as_deref(), &args.run_dir)?;
    // At once, so that a node that does not answer delays the others only by the timeout.
    Ok(join_all(files.iter().map(doctor::check_node)).await)
}

fn text(targets: &[Target], paint: Paint) -> String {
    let mut text = String::new();
    for target in targets {
        text += &format!("{}\n", paint.bold(&target.name));
        for f in &target.findings {
            text += &line(f, paint);
        }
    }
    let count =
        |level| targets.iter().flat_map(|p| &p.findings).filter(|f| f.level == level).count();
    let (wrong, noted) = (count(Level::Wrong), count(Level::Note));
    text + &match (wrong, noted) {
        (0, 0) => "all is well\n".to_owned(),
        _ => format!("{wrong} wrong, {noted} to be noted\n"),
    }
}

fn line(f: &Finding, paint: Paint) -> String {
    let mark = match f.level {
        Level::Ok => paint.green("ok   "),
        Level::Note => paint.yellow("note "),
        Level::Wrong => paint.red("WRONG"),
    };
    let mut text = format!("  {mark}  {:<13} {}\n", f.check, f.found);
    if let Some(advice) = &f.advice {
        text += &format!("{:23}{advice}\n", "");
    }
    text
}

//! `rumor config`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Subcommand};
use rumormill::seeds_file;
use rumormill_terminal::escape;
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::table::Table;
use rumormill_units::count::counted;
use serde::Serialize;

use crate::settings::{self, COMMANDS, File, Origin, origin_text};

/// Check a settings file, or show where each setting comes from
#[derive(Debug, Args)]
#[command(
    after_help = "A setting is a flag of `rumor peer`, `seed` or `up` by its long name. The first of these that says \
something counts:
  the command line      --preset wan
  the environment       RUMOR_PRESET=wan
  the settings file     preset = \"wan\"     (--config rumor.toml, or RUMOR_CONFIG; in [peer], [seed] or [up]
                                          for that command, else for all)
  the default

Examples:
  rumor config check rumor.toml
  rumor config show peer --config rumor.toml
  rumor config show peer --config rumor.toml --preset lan --json"
)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a settings file is right
    #[command(after_help = "Examples:\n  rumor config check rumor.toml")]
    Check {
        /// The file
        file: PathBuf,
    },
    /// Show every setting of a command, and where its value comes from
    #[command(
        after_help = "Examples:\n  rumor config show peer\n  rumor config show seed --config rumor.toml --json"
    )]
    Show {
        /// Which command
        #[arg(value_parser = COMMANDS)]
        command: String,
        /// The flags of the command, as it would be run with them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Reports what is wrong with a command line that was parsed.
pub(crate) type Check = fn(&ArgMatches) -> Outcome<()>;

pub(crate) fn run(args: ConfigArgs, cli: &Command, check_command: Check) -> Outcome {
    match args.action {
        Action::Check { file } => check(&file, cli, check_command),
        Action::Show { command, flags, json } => show(cli, &command, flags, json),
    }
}

fn check(path: &std::path::Path, cli: &Command, check_command: Check) -> Outcome {
    if !settings::is_settings(path) {
        let seeds = seeds_file::read(path)?;
        out::print(&format!("{}: a list of {}\n", path.display(), counted(seeds.len(), "seed")))?;
        return Ok(Exit::Ok);
    }
    let file = File::read(path)?;
    let seeds = settings::read_seeds(path)?;
    let mut lines = Vec::new();
    for name in COMMANDS {
        lines.extend(file.of(cli, name)?.into_iter().map(|s| s.line));
        let typed = ["rumor", name].into_iter().map(OsString::from);
        let config = [OsString::from("--config"), path.as_os_str().to_owned()];
        let layered = settings::layer(cli, typed.chain(config).collect(), &|_| None)?;
        let matches = parse(cli, &layered)?;
        let checked = check_command(&matches);
        checked.map_err(|f| Failure { exit: Exit::Config, ..f })?;
    }
    lines.sort_unstable();
    lines.dedup();
    let (seeds, settings) = (counted(seeds.len(), "seed"), counted(lines.len(), "setting"));
    out::print(&format!("{}: {seeds}, {settings}\n", path.display()))?;
    Ok(Exit::Ok)
}

/// Parses a command line with all its layers, as the program itself does.
fn parse(cli: &Command, layered: &settings::Layered) -> Outcome<clap::ArgMatches> {
    let matches = cli.clone().try_get_matches_from(&layered.arguments);
    matches.map_err(|e| parse_failure(&e, layered))
}

fn parse_failure(e: &clap::Error, layered: &settings::Layered) -> Failure {
    let mut text = e.to_string();
    let sources = settings::sources_of(e, layered);
    if let Some(sources) = &sources {
        text = format!("{}\n(with {sources})", text.trim_end());
    }
    let exit = if sources.is_some() { Exit::Config } else { Exit::Usage };
    Failure::new(exit, text.trim_start_matches("error: ").to_owned())
}

/// One setting and its value.
#[derive(Debug, Serialize)]
struct ShownSetting {
    setting: String,
    /// Absent if the setting has no value.
    value: Option<String>,
    /// `command line`, `environment`, `file` or `default`.
    from: &'static str,
    /// The environment variable, or FILE:LINE.
    r#where: Option<String>,
}

fn show(cli: &Command, name: &str, mut flags: Vec<OsString>, json: bool) -> Outcome {
    // `--json` after the name of the command is parsed as one of its flags.
    let behind = flags.iter().position(|f| f == "--json").map(|at| flags.remove(at)).is_some();
    let json = json || behind;
    let mut typed = vec![OsString::from("rumor"), OsString::from(name)];
    typed.append(&mut flags);
    let layered = settings::layer(cli, typed, &|variable| std::env::var_os(variable))?;
    // A missing flag (--config) does not prevent the others from being shown; a wrong one does.
    match cli.clone().try_get_matches_from(&layered.arguments) {
        Err(e) if e.use_stderr() && e.kind() != ErrorKind::MissingRequiredArgument => {
            return Err(parse_failure(&e, &layered));
        }
        _ => {}
    }
    let matches = cli
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(&layered.arguments)
        .or_exit(Exit::Usage)?;
    let Some((_, matches)) = matches.subcommand() else {
        return Err(Failure::new(Exit::Usage, "no command is named"));
    };
    let command = settings::command(cli, name)
        .ok_or_else(|| Failure::new(Exit::Usage, format!("{name} has no settings")))?;
    let mut shown = Vec::new();
    for arg in settings::settings(&command) {
        let Some(long) = arg.get_long() else { continue };
        let values = matches.get_raw(arg.get_id().as_str());
        let value = values
            .map(|v| v.map(|one| one.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "));
        let origin = match (layered.origins.get(long), matches.value_source(arg.get_id().as_str()))
        {
            (Some(origin), _) => origin.clone(),
            (None, Some(clap::parser::ValueSource::CommandLine)) => Origin::CommandLine,
            (None, Some(clap::parser::ValueSource::EnvVariable)) => {
                let variable = arg.get_env().unwrap_or_default().to_string_lossy().into_owned();
                Origin::Environment(variable)
            }
            _ => Origin::Default,
        };
        let (from, place) = match &origin {
            Origin::CommandLine => ("command line", None),
            Origin::Environment(variable) => ("environment", Some(variable.clone())),
            Origin::File(..) => ("file", Some(origin_text(&origin))),
            Origin::Default => ("default", None),
        };
        shown.push(ShownSetting { setting: long.to_owned(), value, from, r#where: place });
    }
    if json {
        out::json_pretty(&shown)?;
    } else {
        let mut table = Table::new(vec!["SETTING", "VALUE", "FROM"]);
        for s in &shown {
            let value = s.value.as_deref().filter(|v| !v.is_empty()).unwrap_or("-");
            let from = s.r#where.as_deref().map_or_else(|| s.from.to_owned(), escape::text);
            table.row(vec![s.setting.clone(), escape::text(value), from]);
        }
        out::print(&table.render(Paint::stdout()))?;
    }
    Ok(Exit::Ok)
}

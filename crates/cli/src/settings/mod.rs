//! Where the settings of `peer`, `seed` and `up` come from: the command line, then the environment
//! (`RUMOR_…`), then a file (`--config rumor.toml`), then the defaults.
//!
//! What the environment and the file say becomes arguments of the command, behind those that were
//! typed: so each setting is a flag, is checked as that flag is, and has its one description.

mod commands;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use rumormill::proto::SeedAddress;
use rumormill::seeds_file;

use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};

pub(crate) use commands::{COMMANDS, command, settings};
use commands::{find, variable};
pub(crate) use file::{File, is_settings};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was typed.
    CommandLine,
    /// This variable.
    Environment(String),
    /// This line of the file.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

/// A command line with what the other layers add.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) arguments: Vec<OsString>,
    /// Where each added setting comes from, by the name of its flag.
    pub(crate) origins: BTreeMap<String, Origin>,
}

/// Adds what the environment and the file say.
///
/// # Errors
/// The file cannot be read, is no TOML, or names something that is no setting.
pub(crate) fn layer(
    cli: &Command,
    typed: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Outcome<Layered> {
    let untouched = |arguments| Layered { arguments, origins: BTreeMap::new() };
    // Lenient: what is wrong with the command line is told when it is parsed for good.
    let lenient = cli.clone().ignore_errors(true).try_get_matches_from(&typed);
    let Some((name, matches)) = lenient.as_ref().ok().and_then(ArgMatches::subcommand) else {
        return Ok(untouched(typed));
    };
    let Some(command) = COMMANDS.contains(&name).then(|| command(cli, name)).flatten() else {
        return Ok(untouched(typed));
    };
    let mut layers =
        Layers { command: &command, matches, added: Vec::new(), origins: BTreeMap::new() };

    let from_environment = environment("RUMOR_CONFIG").filter(|v| !v.is_empty());
    let typed_config = matches.get_raw("config").and_then(|mut v| v.next()).map(OsStr::to_owned);
    let origin = Origin::Environment("RUMOR_CONFIG".to_owned());
    let from_environment = from_environment.filter(|_| {
        let config = command.get_arguments().find(|a| a.get_id() == "config");
        config.is_some_and(|arg| !layers.is_settled(arg, &origin))
    });
    if let (None, Some(config)) = (&typed_config, &from_environment) {
        layers.add("config", config, origin);
    }
    for arg in settings(&command) {
        let Some(long) = arg.get_long() else { continue };
        let variable = variable(long);
        if let Some(value) = environment(&variable).filter(|v| !v.is_empty()) {
            layers.add_flag(arg, &value, Origin::Environment(variable))?;
        }
    }
    let config = typed_config.or(from_environment).map(PathBuf::from);
    let file = config.filter(|path| is_settings(path));
    if let Some(path) = &file {
        let settings = File::read(path)?;
        for setting in settings.of(cli, name)? {
            let arg = find(&command, &setting.name);
            let Some(arg) = arg else { continue };
            for value in &setting.values {
                let origin = Origin::File(path.clone(), setting.line);
                layers.add_flag(arg, OsStr::new(value), origin)?;
            }
        }
    }
    let Layers { added, origins, .. } = layers;
    // Right behind the name of the command: what was typed stays as it is.
    let place = typed.iter().position(|a| a == name).map_or(typed.len(), |p| p + 1);
    let mut arguments = typed;
    arguments.splice(place..place, added);
    Ok(Layered { arguments, origins })
}

struct Layers<'a> {
    command: &'a Command,
    matches: &'a ArgMatches,
    added: Vec<OsString>,
    origins: BTreeMap<String, Origin>,
}

impl Layers<'_> {
    /// Whether something was said about this flag, or by a layer above about one that excludes it, or that
    /// it excludes. Two of one layer that exclude each other are a mistake there, and told as one.
    fn is_settled(&self, arg: &Arg, by: &Origin) -> bool {
        let typed = |arg: &Arg| {
            let source = self.matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
            source.is_some()
                && self.matches.value_source(arg.get_id().as_str())
                    != Some(ValueSource::DefaultValue)
        };
        let added = |arg: &Arg| self.origins.get(arg.get_long().unwrap_or_default());
        let above = |arg: &Arg| {
            typed(arg) || added(arg).is_some_and(|o| discriminant(o) != discriminant(by))
        };
        let excludes = |a: &Arg, b: &Arg| {
            self.command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id())
        };
        let mut others = self.command.get_arguments().filter(|other| above(other));
        typed(arg)
            || added(arg).is_some()
            || others.any(|other| excludes(arg, other) || excludes(other, arg))
    }

    fn add_flag(&mut self, arg: &Arg, value: &OsStr, origin: Origin) -> Outcome<()> {
        let long = arg.get_long().unwrap_or_default();
        let same = matches!(
            (self.origins.get(long), &origin),
            (Some(Origin::File(_, a)), Origin::File(_, b)) if a == b
        );
        if !same && self.is_settled(arg, &origin) {
            return Ok(());
        }
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            match value.to_str() {
                Some("true" | "1" | "yes") => self.added.push(format!("--{long}").into()),
                Some("false" | "0" | "no") => {}
                _ => {
                    let what = origin_text(&origin);
                    let value = value.to_string_lossy().into_owned();
                    return Err(Failure::new(
                        Exit::Config,
                        format!("{what}: {long} is true or false, not {value:?}"),
                    ));
                }
            }
            self.origins.insert(long.to_owned(), origin);
        } else {
            self.add(long, value, origin);
        }
        Ok(())
    }

    fn add(&mut self, long: &str, value: &OsStr, origin: Origin) {
        let mut flag = OsString::from(format!("--{long}="));
        flag.push(value);
        self.added.push(flag);
        self.origins.insert(long.to_owned(), origin);
    }
}

/// In words: `rumor.toml:7`, `the environment (RUMOR_PRESET)`.
pub(crate) fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::CommandLine => "the command line".to_owned(),
        Origin::Environment(variable) => format!("the environment ({variable})"),
        Origin::File(path, line) => format!("{}:{line}", path.display()),
        Origin::Default => "default".to_owned(),
    }
}

/// Where the values come from that a parser did not like, to be told with its error: those that it names,
/// as far as they were not typed.
pub(crate) fn told_by(e: &clap::Error, layered: &Layered) -> Option<String> {
    let named = named(e);
    let said = layered.origins.iter().filter(|(long, _)| named.contains(long.as_str()));
    let all: Vec<String> =
        said.map(|(long, o)| format!("--{long} by {}", origin_text(o))).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The flags that an error is about.
fn named(e: &clap::Error) -> BTreeSet<String> {
    let flag = |text: &String| {
        let long = text.trim_start_matches("--").split([' ', '=']).next();
        long.unwrap_or_default().to_owned()
    };
    [ContextKind::InvalidArg, ContextKind::PriorArg]
        .into_iter()
        .filter_map(|kind| e.get(kind))
        .flat_map(|value| match value {
            ContextValue::String(one) => vec![flag(one)],
            ContextValue::Strings(all) => all.iter().map(flag).collect(),
            _ => Vec::new(),
        })
        .collect()
}

/// Reads the seeds of the network, from a list of seeds or from a settings file.
///
/// # Errors
/// The file cannot be read, or does not name seeds as it should.
pub(crate) fn read_seeds(path: &Path) -> Outcome<Vec<SeedAddress>> {
    if is_settings(path) {
        let named = File::read(path)?.seeds()?;
        return seeds_file::parse(&named).or_exit(Exit::Config).map_err(|mut f| {
            f.error = f.error.map(|e| e.context(format!("seeds of {}", path.display())));
            f
        });
    }
    Ok(seeds_file::read(path)?)
}

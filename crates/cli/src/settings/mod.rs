//! The sources of the settings of `peer`, `seed` and `up`: the command line, then the environment
//! (`RUMOR_…`), then a file (`--config rumor.toml`), then the defaults.
//!
//! Values from the environment and from the file become arguments of the command, unless the user
//! typed that flag. So each setting is a flag, is checked as that flag is, and has one description.

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

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user typed the flag.
    CommandLine,
    /// This environment variable.
    Environment(String),
    /// This line of this file.
    File(PathBuf, usize),
    /// No source names the setting.
    Default,
}

/// A command line with the arguments that the environment and the file add.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) arguments: Vec<OsString>,
    /// The source of each added argument, by the name of its flag.
    pub(crate) origins: BTreeMap<String, Origin>,
}

/// Adds the settings of the environment and of the file to a command line.
///
/// # Errors
/// The file cannot be read, is not TOML, or names something that is not a setting.
pub(crate) fn layer(
    cli: &Command,
    typed: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Outcome<Layered> {
    let untouched = |arguments| Layered { arguments, origins: BTreeMap::new() };
    // Errors are ignored here: the final parse of the command line reports them.
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
    // Right after the name of the command, so that the typed arguments keep their order.
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
    /// Whether this flag has a value already, or a layer above has a value for a flag that
    /// conflicts with it. Two conflicting flags of the same layer are a mistake of the user, which
    /// the final parse reports.
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

/// The source as text: `rumor.toml:7`, `the environment (RUMOR_PRESET)`.
pub(crate) fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::CommandLine => "the command line".to_owned(),
        Origin::Environment(variable) => format!("the environment ({variable})"),
        Origin::File(path, line) => format!("{}:{line}", path.display()),
        Origin::Default => "default".to_owned(),
    }
}

/// The sources of the values that a parse error names, as text, as far as the user did not type
/// them.
pub(crate) fn sources_of(e: &clap::Error, layered: &Layered) -> Option<String> {
    let named = flags_of(e);
    let added = layered.origins.iter().filter(|(long, _)| named.contains(long.as_str()));
    let all: Vec<String> =
        added.map(|(long, o)| format!("--{long} by {}", origin_text(o))).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The flags that an error names.
fn flags_of(e: &clap::Error) -> BTreeSet<String> {
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
/// The file cannot be read, or its list of seeds is malformed.
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

//! A settings file: TOML, with the settings of all commands first, and a table for each command.

use std::path::{Path, PathBuf};

use clap::Command;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::commands::{COMMANDS, command, find, settings};

/// The list of seeds, which is not a setting.
const SEEDS: &str = "seeds";
/// Largest settings file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The part of a setting's name that must agree with a misspelt one: "foo" is not a misspelt "for",
/// nor "json" a misspelt "join-within".
const MIN_SIMILARITY: f64 = 0.7;

/// Whether a path names a settings file (`.toml`), rather than a list of seeds.
pub(crate) fn is_settings(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// The values as a user would type them.
    pub(crate) values: Vec<String>,
    pub(crate) line: usize,
}

/// A settings file and its text.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// # Errors
    /// The file cannot be read, or is too large.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let failed =
            |what: String| Failure::new(Exit::Config, format!("{}: {what}", path.display()));
        let size =
            std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?.len();
        if size > MAX_BYTES {
            return Err(failed(format!(
                "the file has {size} bytes, and a settings file has at most {MAX_BYTES}"
            )));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
        Ok(File { path: path.to_owned(), text })
    }

    fn line(&self, at: usize) -> usize {
        self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
    }

    fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Failure {
        let line = self.line(at);
        Failure::new(Exit::Config, format!("{}:{line}: {what}", self.path.display()))
    }

    fn table(&self) -> Outcome<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text)
            .map_err(|e| self.wrong(e.span().map_or(0, |s| s.start), e.message()))
    }

    /// The settings of a command: those of its table, and those of all commands that the table does
    /// not repeat.
    ///
    /// # Errors
    /// The file is not TOML, or names something that is not a setting.
    pub(crate) fn of(&self, cli: &Command, name: &str) -> Outcome<Vec<Setting>> {
        let table = self.table()?;
        let (mut common, mut own) = (Vec::new(), Vec::new());
        for (key, value) in table.get_ref() {
            let (at, key) = (key.span().start, key.get_ref().as_ref());
            match value.get_ref() {
                _ if key == SEEDS => {}
                DeValue::Table(inner) if COMMANDS.contains(&key) => {
                    let all = self.settings_of(cli, inner, &[key])?;
                    if key == name {
                        own = all;
                    }
                }
                _ => {
                    let setting = self.setting(cli, at, key, value, &COMMANDS)?;
                    if command(cli, name).is_some_and(|c| find(&c, key).is_some()) {
                        common.push(setting);
                    }
                }
            }
        }
        common.retain(|c| own.iter().all(|o| o.name != c.name));
        own.extend(common);
        Ok(own)
    }

    fn settings_of(
        &self,
        cli: &Command,
        table: &DeTable<'_>,
        commands: &[&str],
    ) -> Outcome<Vec<Setting>> {
        let one = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            self.setting(cli, key.span().start, key.get_ref().as_ref(), value, commands)
        };
        table.iter().map(one).collect()
    }

    /// Reads one setting, which one of these commands must have.
    fn setting(
        &self,
        cli: &Command,
        at: usize,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        commands: &[&str],
    ) -> Outcome<Setting> {
        let known =
            commands.iter().filter_map(|c| command(cli, c)).any(|c| find(&c, key).is_some());
        if !known {
            let all: Vec<String> = commands
                .iter()
                .filter_map(|c| command(cli, c))
                .flat_map(|c| {
                    settings(&c).filter_map(|a| a.get_long().map(str::to_owned)).collect::<Vec<_>>()
                })
                .collect();
            let similar = all
                .into_iter()
                .map(|one| (strsim::normalized_damerau_levenshtein(&one, key), one))
                .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .map(|(_, one)| one);
            let hint = similar.map_or_else(String::new, |one| format!(", perhaps {one}"));
            let of =
                commands.iter().map(|c| format!("`rumor {c}`")).collect::<Vec<_>>().join(" or ");
            return Err(self.wrong(
                at,
                format!(
                    "{key:?} is not a setting of {of}{hint}; `rumor config show {}` lists them",
                    commands.first().unwrap_or(&"peer")
                ),
            ));
        }
        let values = self.values(value)?;
        Ok(Setting { name: key.to_owned(), values, line: self.line(at) })
    }

    fn values(&self, value: &Spanned<DeValue<'_>>) -> Outcome<Vec<String>> {
        match value.get_ref() {
            DeValue::Array(all) => {
                let each = all.iter().map(|one| self.values(one));
                Ok(each.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
            }
            DeValue::Table(_) => Err(self.wrong(
                value.span().start,
                "a table must be named up, peer or seed; a setting is a text, a number, true or false, or a \
                 list of these",
            )),
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Boolean(is) => Ok(vec![is.to_string()]),
            // A number as it is written in the file.
            _ => Ok(vec![self.text.get(value.span()).unwrap_or_default().to_owned()]),
        }
    }

    /// The seeds, one per line as in a list of seeds.
    ///
    /// # Errors
    /// The file names no seeds, or not as a list of texts.
    pub(crate) fn seeds(&self) -> Outcome<String> {
        let table = self.table()?;
        let found = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == SEEDS);
        let Some((_, value)) = found else {
            let what = "no seeds are named: write seeds = [\"HOST:PORT\", …] above all tables";
            return Err(self.wrong(0, what));
        };
        let DeValue::Array(_) = value.get_ref() else {
            return Err(
                self.wrong(value.span().start, "seeds is a list: seeds = [\"HOST:PORT\", …]")
            );
        };
        Ok(self.values(value)?.join("\n"))
    }
}

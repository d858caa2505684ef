//! What a program prints, in the form in which it is compared with snapshots. What changes from run
//! to run (keys, ports, times, rates) is replaced by a word.

use insta::Settings;
use serde_json::Value;

use crate::run::{Place, Ran};

/// A run as a terminal would show it, with its exit code if that is not 0.
pub fn shown(program: &str, ran: &Ran) -> String {
    let mut text = format!("$ {program} {}\n", ran.command);
    for line in ran.out.lines().chain(ran.err.lines()) {
        text += &narrow(line);
        text.push('\n');
    }
    if ran.code != 0 {
        text += &format!("(exit code {})\n", ran.code);
    }
    text
}

/// A line with its columns two spaces apart, because their width depends on their content.
pub fn narrow(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let cells = line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    " ".repeat(indent) + &cells.collect::<Vec<_>>().join("  ")
}

/// The settings of snapshots, with words for keys, addresses, times and paths.
pub fn filters(place: &Place, version: &str) -> Settings {
    let mut s = Settings::clone_current();
    s.set_prepend_module_to_snapshot(false);
    s.set_omit_expression(true);
    s.add_filter(&regex_of(place.path().to_str().unwrap()), "[place]");
    s.add_filter(r"\b[0-9a-f]{64}\b", "[key]");
    // Milliseconds since 1970, when the process started.
    s.add_filter(r"\b1[0-9]{12}\b", "[epoch]");
    s.add_filter(r"(127\.0\.0\.1|\[::1\]):\d+", "[address]");
    // Which of the two peers dialled the other is chance.
    s.add_filter(r"[01] of 1 neighbour connected", "[some] of 1 neighbour connected");
    s.add_filter(r"\b(accepted|dialled) ", "[made] ");
    s.add_filter(r"process \d+", "process [pid]");
    s.add_filter(r"\d\d:\d\d:\d\d(\.\d+)?", "[time]");
    s.add_filter(r"\b\d+(\.\d+)? ?(ms|us|s|min|h)\b", "[delay]");
    // A delay is unknown before the first answer.
    s.add_filter(r"ago  -", "ago  [delay]");
    s.add_filter(r"registered, \[delay\]", "registered");
    s.add_filter(r"\b\d+(\.\d+)? (KiB|MiB|GiB)\b", "[size]");
    s.add_filter(version, "[version]");
    s
}

fn regex_of(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") })
        .collect()
}

/// The names of all fields and the kinds of their values.
pub fn shape(value: &Value) -> String {
    let mut lines = Vec::new();
    add_shape("", value, &mut lines);
    lines.dedup();
    lines.join("\n") + "\n"
}

fn add_shape(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(_) if path.ends_with(".counters") => lines.push(format!("{path}: numbers")),
        Value::Object(fields) => {
            for (field, value) in fields {
                add_shape(&format!("{path}.{field}"), value, lines);
            }
        }
        Value::Array(items) => match items.first() {
            Some(first) => add_shape(&format!("{path}[]"), first, lines),
            None => lines.push(format!("{path}: empty")),
        },
        Value::Null => lines.push(format!("{path}: null")),
        Value::Bool(_) => lines.push(format!("{path}: yes or no")),
        Value::Number(_) => lines.push(format!("{path}: number")),
        Value::String(_) => lines.push(format!("{path}: text")),
    }
}

/// The help of a program and of every command below it, each with the name of its snapshot.
pub fn help_pages(program: &str, place: &Place) -> Vec<(String, String)> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut pages = Vec::new();
    while let Some(path) = commands.get(pages.len()).cloned() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let ran = place.run(&args).ok();
        let listed = ran.out.split("Commands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            let word = line.split_whitespace().next().unwrap_or_default();
            let is_name = line.as_bytes().get(2).is_some_and(u8::is_ascii_lowercase);
            if is_name && word != "help" {
                commands.push(path.iter().cloned().chain([word.to_owned()]).collect());
            }
        }
        let name = if path.is_empty() { program.to_owned() } else { path.join("-") };
        pages.push((format!("help-{name}"), shown(program, &ran)));
    }
    pages
}

//! The pages of the repository: targets of links exist, and so do the tests and files that the
//! pages name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// All files with this extension under a directory, without what builds leave there.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let is_source = !name.starts_with('.') && name != "target" && name != "corpus";
                open.extend(is_source.then_some(path));
            } else if name.ends_with(extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The pages by their paths in the repository.
fn pages() -> BTreeMap<String, String> {
    let root = Path::new(ROOT);
    let pages = files(root, ".md").into_iter().map(|path| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    });
    let pages: BTreeMap<_, _> = pages.collect();
    assert!(pages.contains_key("README.md") && pages.contains_key("docs/GUARANTEES.md"));
    pages
}

/// The code spans (text between single backticks) outside of fenced blocks.
fn code_spans(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The names of all functions in the sources.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&Path::new(ROOT).join("crates"), ".rs") {
        let text = std::fs::read_to_string(path).unwrap();
        for (at, _) in text.match_indices("fn ") {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name: String = text[at + 3..].chars().take_while(|c| is_name(*c)).collect();
            names.insert(name);
        }
    }
    names
}

/// Whether a word has the form of a test's name, with at least so many underscores.
fn is_test_name(word: &str, underscores: usize) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(is_name) && word.matches('_').count() >= underscores
}

#[test]
fn relative_links_in_pages_lead_to_files_and_headings() {
    let pages = pages();
    let mut broken = Vec::new();
    for (page, text) in &pages {
        let directory = Path::new(ROOT).join(page).parent().unwrap().to_owned();
        let outside: String = text.split("```").step_by(2).collect();
        for link in outside.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { Path::new(ROOT).join(page) } else { directory.join(file) };
            let has_heading = || {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                text.lines().any(|l| l.starts_with('#') && anchor(l) == heading)
            };
            if !target.exists() || (!heading.is_empty() && !has_heading()) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The anchor of a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn tests_and_files_that_pages_name_exist() {
    let functions = functions();
    let mut absent = Vec::new();
    for (page, text) in pages() {
        // The changelog speaks of earlier versions.
        if page == "CHANGELOG.md" {
            continue;
        }
        for span in code_spans(&text) {
            let is_metric = span.starts_with("rumormill_");
            if is_test_name(&span, 4) && !is_metric && !functions.contains(&span) {
                absent.push(format!("{page}: no function {span}"));
            }
            let is_path = ["crates/", "docs/", "tools/", "fuzz/", "monitoring/"]
                .iter()
                .any(|start| span.starts_with(start));
            let is_pattern = span.contains(['*', ' ', '<', 'N', '…']);
            if is_path && !is_pattern && !Path::new(ROOT).join(&span).exists() {
                absent.push(format!("{page}: no file {span}"));
            }
        }
    }
    assert!(absent.is_empty(), "pages name what does not exist:\n{}", absent.join("\n"));
}

#[test]
fn index_of_decisions_names_every_page() {
    let pages = pages();
    let index = &pages["docs/adr/README.md"];
    for page in pages.keys().filter_map(|p| p.strip_prefix("docs/adr/")) {
        assert!(
            page == "README.md" || index.contains(&format!("({page})")),
            "{page} is not listed"
        );
    }
}

/// The rows of docs/REQUIREMENTS.md: the id, and the whole row.
fn requirements() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("{ROOT}/docs/REQUIREMENTS.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let id = line.strip_prefix("| ")?.split(' ').next()?;
        is_requirement(id).then(|| (id.to_owned(), line.to_owned()))
    });
    rows.collect()
}

/// Whether a word is an id such as `G1` or `P13`.
fn is_requirement(word: &str) -> bool {
    let mut chars = word.chars();
    let is_kind = chars.next().is_some_and(|c| "GSPAFB".contains(c));
    let number = chars.as_str();
    is_kind && (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn every_requirement_names_a_test_or_says_that_it_is_missing() {
    let (rows, functions) = (requirements(), functions());
    assert!(rows.len() > 40, "{rows:?}");
    for (id, row) in rows {
        let spans = code_spans(&row);
        let named: Vec<&String> = spans.iter().filter(|s| is_test_name(s, 2)).collect();
        for test in &named {
            assert!(functions.contains(*test), "{id}: no function {test}");
        }
        let has_test = !named.is_empty() || spans.iter().any(|s| s.ends_with(".rs"));
        assert!(has_test || row.contains("not yet"), "{id} names no test: {row}");
    }
}

#[test]
fn every_requirement_that_a_test_or_scenario_cites_has_a_row() {
    let rows = requirements();
    let root = Path::new(ROOT).join("crates");
    for path in [files(&root, ".rs"), files(&root, ".toml")].concat() {
        let text = std::fs::read_to_string(&path).unwrap();
        // Citations stand in parentheses, as in "(G1, P2)".
        for inside in text.split('(').skip(1).filter_map(|rest| rest.split(')').next()) {
            let mut ids = inside.split([',', ';']).map(str::trim);
            if inside.len() < 40 && ids.clone().all(is_requirement) {
                assert!(ids.all(|id| rows.contains_key(id)), "{}: ({inside})", path.display());
            }
        }
    }
}

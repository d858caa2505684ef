//! The command line as a whole: help, completions and manual pages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use support::new_place;

#[test]
fn help_of_every_command_has_examples() {
    let place = new_place();
    let help = place.run(&["--help"]).ok().out;
    assert!(help.contains("Exit codes:"), "{help}");
    for command in ["bench", "sim", "plot", "completions", "man"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let help = place.run(&[command, "--help"]).ok().out;
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn completions_and_manual_pages_are_complete() {
    let place = new_place();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).ok().out;
        assert!(script.contains("overlays") && script.contains("rumor-lab"), "{shell}");
    }
    assert!(place.run(&["man"]).ok().out.contains(".TH rumor-lab 1"));
    let ran = place.run(&["man", "pages"]).ok();
    assert!(ran.out.contains("9 pages written to pages"), "{ran:#?}");
    let page = fs::read_to_string(place.path().join("pages/rumor-lab-sim-compare.1")).unwrap();
    assert!(page.contains("rumor\\-lab\\-sim\\-compare"), "{page}");
}

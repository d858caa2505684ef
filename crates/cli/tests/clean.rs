//! `rumor clean`, and other commands that need no network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

#[test]
fn clean_removes_only_logs_and_names_them() {
    let place = support::new_place();
    let logs = place.path().join("logs");
    for dir in ["seeds", "peers", "other"] {
        fs::create_dir_all(logs.join(dir)).unwrap();
    }
    let ours = ["seeds/s.log", "seeds/s.degrees.log.1", "peers/p.log", "peers/p.messages.log"];
    let others = ["peers/notes.txt", "other/x.log", "top.log"];
    for file in ours.iter().chain(&others) {
        fs::write(logs.join(file), "1234").unwrap();
    }
    let asked = place.run(&["clean"]);
    assert_eq!(asked.code, 2, "{asked:#?}");
    assert!(asked.err.contains("4 log files (16 B)") && asked.err.contains("--yes"), "{asked:#?}");
    assert!(ours.iter().all(|f| logs.join(f).exists()));

    let ran = place.run(&["clean", "--yes"]).ok();
    for file in ours {
        assert!(!logs.join(file).exists() && ran.out.contains(file), "{ran:#?}");
    }
    assert!(others.iter().all(|f| logs.join(f).exists()));
    assert!(ran.out.contains("removed 4 log files"), "{ran:#?}");
    assert!(!logs.join("seeds").exists());
    assert!(place.run(&["clean", "--yes"]).ok().out.contains("no logs in logs"));
}

#[test]
fn every_command_has_help_with_examples() {
    let place = support::new_place();
    let help = place.run(&["--help"]).ok().out;
    assert!(help.contains("Exit codes:") && help.contains("130  interrupted"), "{help}");
    let commands = [
        "up",
        "seed",
        "peer",
        "status",
        "members",
        "neighbours",
        "messages",
        "get",
        "send",
        "config",
        "doctor",
        "tail",
        "top",
        "leave",
        "clean",
        "completions",
        "man",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let help = place.run(&[command, "--help"]).ok().out;
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn completions_and_manual_pages_are_complete() {
    let place = support::new_place();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).ok().out;
        assert!(script.contains("neighbours"), "{shell}");
    }
    assert!(place.run(&["man"]).ok().out.contains(".TH rumor 1"));
    let ran = place.run(&["man", "pages"]).ok();
    assert!(ran.out.contains("20 pages written to pages"), "{ran:#?}");
    assert!(
        place.path().join("pages/rumor-config-show.1").exists(),
        "subcommands have pages as well"
    );
    let page = fs::read_to_string(place.path().join("pages/rumor-up.1")).unwrap();
    assert!(page.contains("rumor\\-up") && page.contains("Victims are taken"), "{page}");
}

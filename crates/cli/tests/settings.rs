//! Settings from the command line, the environment and a file, and `rumor config`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use support::{Ran, Running, until};

const FILE: &str = r#"
seeds = ["127.0.0.1:7101", "127.0.0.1:7102"]
preset = "wan"
messages = 3

[peer]
preset = "classic"
name = "anna"
every = "250ms"
advertise = ["127.0.0.1:7401", "127.0.0.1:7402"]

[seed]
port = 7101
"#;

/// The value, the layer and the place of a setting, from `rumor config show --json`.
fn setting(ran: &Ran, name: &str) -> (String, String, String) {
    let all = ran.json();
    let one = all.as_array().unwrap().iter().find(|s| s["setting"] == name);
    let one = one.unwrap_or_else(|| panic!("no setting {name}"));
    let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    (text(&one["value"]), text(&one["from"]), text(&one["where"]))
}

#[test]
fn first_layer_with_a_value_wins() {
    let place = support::new_place();
    let file = place.write("rumor.toml", FILE);
    let show = |command: &str, more: &[&str], variables: &[(&str, &str)]| {
        let args = [&["config", "show", command, "--config", &file, "--json"], more].concat();
        let mut rumor = place.command(&args);
        rumor.envs(variables.iter().copied());
        Ran::of(&args, rumor.output().unwrap()).ok()
    };
    let is = |(value, from, at): (String, String, String), expected: [&str; 2], line: &str| {
        assert_eq!([value.as_str(), from.as_str()], expected);
        assert!(at.ends_with(line), "{at}");
    };
    let ran = show("peer", &[], &[]);
    is(setting(&ran, "preset"), ["classic", "file"], "rumor.toml:7");
    is(setting(&ran, "messages"), ["3", "file"], "rumor.toml:4");
    is(setting(&ran, "advertise"), ["127.0.0.1:7401 127.0.0.1:7402", "file"], ":10");
    is(setting(&ran, "every"), ["250ms", "file"], ":9");
    let ran = show("seed", &[], &[]);
    is(setting(&ran, "preset"), ["wan", "file"], ":3");
    is(setting(&ran, "port"), ["7101", "file"], ":13");

    let variables = [("RUMOR_PRESET", "lan"), ("RUMOR_NAME", "bert"), ("RUMOR_DATA_DIR", "/x")];
    let ran = show("peer", &["--name", "carl"], &variables);
    is(setting(&ran, "preset"), ["lan", "environment"], "RUMOR_PRESET");
    is(setting(&ran, "name"), ["carl", "command line"], "-");
    is(setting(&ran, "data-dir"), ["/x", "environment"], "RUMOR_DATA_DIR");

    // Without these layers the defaults are shown, also as a table.
    let ran = place.run(&["config", "show", "peer", "--json"]).ok();
    is(setting(&ran, "preset"), ["lan", "default"], "-");
    let ran = place.run(&["config", "show", "peer"]).ok();
    assert!(ran.out.starts_with("SETTING") && ran.out.contains("preset"), "{}", ran.out);
}

/// A value is ignored if its flag conflicts with one of a higher layer, whichever of the two flags
/// declares the conflict.
#[test]
fn value_in_conflict_with_a_higher_layer_is_ignored() {
    let place = support::new_place();
    let file = place.write(
        "rumor.toml",
        "seeds = [\"127.0.0.1:7101\"]\n[peer]\nlisten = \"127.0.0.1:7401\"\n\
         [seed]\nport = 7101\n[up]\nhttp = \"127.0.0.1:7501\"\n",
    );
    let show = |command: &str, more: &[&str], variables: &[(&str, &str)]| {
        let args = [&["config", "show", command, "--json"], more].concat();
        let mut rumor = place.command(&args);
        rumor.envs(variables.iter().copied());
        Ran::of(&args, rumor.output().unwrap()).ok()
    };
    let from = |ran: &Ran, name: &str| setting(ran, name).1;
    let ran = show("peer", &["--config", &file, "--port", "7400"], &[]);
    assert_eq!(
        (from(&ran, "port"), from(&ran, "listen")),
        ("command line".into(), "default".into())
    );
    let ran = show("seed", &["--config", &file, "--all"], &[]);
    assert_eq!((from(&ran, "all"), from(&ran, "port")), ("command line".into(), "default".into()));
    let ran = show("up", &["--config", &file, "--processes"], &[("RUMOR_HTTP", "127.0.0.1:1")]);
    assert_eq!(from(&ran, "http"), "default");
    let ran = show("up", &["--seeds", "5"], &[("RUMOR_CONFIG", &file)]);
    assert_eq!((setting(&ran, "seeds").0, from(&ran, "http")), ("5".into(), "default".into()));
    // The environment takes precedence over the file.
    let ran = show("peer", &["--config", &file], &[("RUMOR_PORT", "7400")]);
    assert_eq!(
        (from(&ran, "port"), from(&ran, "listen")),
        ("environment".into(), "default".into())
    );

    // Within one layer a conflict is a mistake.
    let both =
        place.write("both.toml", "seeds = [\"a:1\"]\n[peer]\nport = 1\nlisten = \"[::]:1\"\n");
    let ran = place.run(&["peer", "--config", &both]);
    assert!(ran.code == 3 && ran.err.contains("cannot be used with"), "{ran:#?}");
}

#[test]
fn wrong_setting_in_a_file_is_reported_with_its_line() {
    let place = support::new_place();
    let file = place.write("rumor.toml", FILE);
    let ran = place.run(&["config", "check", &file]).ok();
    assert!(ran.out.ends_with("2 seeds, 7 settings\n"), "{}", ran.out);
    let list = place.write("config.txt", "127.0.0.1:1\n");
    assert!(place.run(&["config", "check", &list]).ok().out.contains("a list of 1 seed"));

    let seeds = "seeds = [\"127.0.0.1:1\"]\n";
    let wrong = [
        ("preset = \"wan\"", "no seeds are named"),
        ("seeds = 3", ":1: seeds is a list"),
        ("seeds = [\"nowhere\"]", "\"nowhere\""),
        ("preset = \"wan\"\nseeds = [", ":2"),
        (&format!("{seeds}preest = \"wan\""), ":2: \"preest\" is not a setting of"),
        (
            &format!("{seeds}[peer]\nnmae = \"a\""),
            ":3: \"nmae\" is not a setting of `rumor peer`, perhaps name",
        ),
        (&format!("{seeds}[peers]\nname = \"a\""), ":2"),
        (&format!("{seeds}preset = \"moon\""), "moon"),
        (&format!("{seeds}[peer]\nevery = -3"), "every"),
        (&format!("{seeds}[up]\nprocesses = \"maybe\""), "processes is true or false"),
    ];
    for (text, expected) in wrong {
        let file = place.write("wrong.toml", text);
        let ran = place.run(&["config", "check", &file]);
        assert!(ran.code == 3 && ran.err.contains(expected), "{text}: {ran:#?}");
        assert!(!ran.err.contains("panicked"), "{ran:#?}");
    }
    let ran = place.run(&[
        "peer",
        "--config",
        &place.write("wrong.toml", &format!("{seeds}preset = \"moon\"")),
    ]);
    assert!(
        ran.code == 3 && ran.err.contains("moon") && ran.err.contains("wrong.toml:2"),
        "{ran:#?}"
    );
    assert_eq!(place.run(&["config", "check", "/nowhere/rumor.toml"]).code, 3);
}

#[test]
fn nodes_start_with_a_settings_file() {
    let place = support::new_place();
    let port = support::free_port();
    let file = place.write(
        "rumor.toml",
        &format!(
            "seeds = [\"127.0.0.1:{port}\"]\nlog-dir = \"logs\"\n[seed]\nport = {port}\n\
             [peer]\nname = \"anna\"\nmessages = 0\n"
        ),
    );
    let mut seed = place.command(&["seed"]);
    seed.env("RUMOR_CONFIG", &file);
    let _seed = Running::spawn(seed);
    let _anna = Running::spawn(place.command(&["peer", "--config", &file]));
    until("anna has joined", || {
        let ran = place.run(&["status", "--node", "anna", "--json"]);
        ran.code == 0 && ran.json()["state"] == "joined"
    });
}

//! Wrong input and failures: the message of the program, and its exit code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;

use support::{Place, Ran, Running, free_port, until};

/// Runs a command that must fail with this exit code and these parts of the message, and print
/// nothing to standard output.
#[track_caller]
fn fails(place: &Place, args: &[&str], code: i32, fragments: &[&str]) -> Ran {
    let ran = place.run(args);
    assert_eq!(ran.code, code, "{ran:#?}");
    for fragment in fragments {
        assert!(ran.err.contains(fragment), "no {fragment:?} in {ran:#?}");
    }
    assert!(ran.out.is_empty(), "{ran:#?}");
    assert!(!ran.err.contains("panicked"), "{ran:#?}");
    ran
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = support::new_place();
    let config = place.write("two.txt", "127.0.0.1:1\n127.0.0.1:2\n");
    let table: &[(&[&str], &[&str])] = &[
        (&["frobnicate"], &["unrecognized subcommand 'frobnicate'"]),
        (&["up", "--frobnicate"], &["unexpected argument '--frobnicate'"]),
        (&["up", "--kill", "3"], &["--kill", "N@TIME, such as 3@20s"]),
        (&["up", "--kill", "1@5"], &["a number with a unit"]),
        (&["up", "--kill", "0@5s"], &["N is 0"]),
        (&["up", "--peers", "3", "--kill", "3@1s"], &["3 victims of 3 peers"]),
        (&["up", "--for", "10s", "--stop", "1@20s"], &["the run ends after 10 s"]),
        (&["up", "--for", "soon"], &["`forever`"]),
        (&["up", "--peers", "0"], &["0 is not in 1.."]),
        (&["up", "--preset", "fast"], &["choose classic, lan or wan"]),
        (&["up", "--retention", "lots"], &["--retention", "such as 64MiB"]),
        (&["peer", "--config", "x", "--retention-age", "soon"], &["a number with a unit"]),
        (&["up", "--log-level", "a=b=c", "--peers", "1"], &["--log-level", "use error, warn"]),
        (&["peer"], &["--config"]),
        (&["peer", "--config", "x", "--name", "a\u{1b}b"], &["--name", "cannot contain"]),
        (&["peer", "--config", "x", "--listen", "here"], &["--listen"]),
        (&["seed", "--config", &config], &["--port or --host", "127.0.0.1:1, 127.0.0.1:2"]),
        (&["seed", "--config", &config, "--port", "3"], &["names no seed with the port 3"]),
        (&["seed", "--config", &config, "--all", "--port", "1"], &["cannot be used with"]),
        (&["get", "nonsense"], &["PEER/EPOCH/SEQUENCE"]),
        (&["send"], &["<TEXT>"]),
        (&["completions", "tcsh"], &["possible values"]),
    ];
    for (args, fragments) in table {
        fails(&place, args, 2, fragments);
    }
}

#[test]
fn wrong_configuration_exits_with_3() {
    let place = support::new_place();
    let bad = place.write("bad.txt", "127.0.0.1:7000\n\n127.0.0.1:99999\n");
    let empty = place.write("empty.txt", "# no seed\n");
    let twice = place.write("twice.txt", "localhost:7000\nLOCALHOST:7000\n");
    fails(&place, &["up", "--retention", "1KiB"], 2, &["--retention", "1 MiB and 1 TiB"]);
    let small = place.write("small.toml", "seeds = [\"127.0.0.1:1\"]\nretention = \"1KiB\"\n");
    fails(&place, &["peer", "--config", &small], 3, &["1 MiB and 1 TiB", "small.toml:2"]);
    let named = place.write("named.toml", "seeds = [\"127.0.0.1:1\"]\nname = \"a\\u0007b\"\n");
    fails(&place, &["config", "check", &named], 3, &["cannot contain", "named.toml:2"]);
    let nameless = place.write("nameless.toml", "seeds = [\"127.0.0.1:1\"]\nname = \"\"\n");
    fails(&place, &["peer", "--config", &nameless], 3, &["nameless.toml:2"]);
    let open = place.write("open.toml", "seeds = [\"127.0.0.1:1\"]\nhttp = \"0.0.0.0:80\"\n");
    fails(&place, &["config", "check", &open], 3, &["not a loopback address"]);
    let pinned = place.write("pinned.txt", &format!("127.0.0.1:7000#{}\n", "0f".repeat(32)));
    let good = place.write("good.txt", "127.0.0.1:1\n");
    let key = place.write("key.txt", "not a key\n");
    let table: &[(&[&str], &[&str])] = &[
        (&["peer", "--config", "nowhere.txt"], &["cannot read nowhere.txt", "No such file"]),
        (&["peer", "--config", &bad], &["line 3", "127.0.0.1:99999", "expected 1 to 65535"]),
        (&["seed", "--all", "--config", &bad], &["line 3"]),
        (&["up", "--config", &bad], &["line 3"]),
        (&["peer", "--config", &empty], &["no seed is named"]),
        (&["peer", "--config", &twice], &["line 2", "already named in line 1"]),
        (&["up", "--config", &pinned], &["pins 127.0.0.1:7000", "remove the pins"]),
        (
            &["peer", "--config", &good, "--network-key-file", &key],
            &["key.txt", "64 hexadecimal characters"],
        ),
        (
            &["peer", "--config", &good, "--network-key-file", "nowhere.key"],
            &["nowhere.key", "cannot read the network key"],
        ),
    ];
    for (args, fragments) in table {
        fails(&place, args, 3, fragments);
    }
}

#[test]
fn seed_with_another_identity_than_its_pin_exits_with_3() {
    let place = support::new_place();
    let pin = "0f".repeat(32);
    let config = place.write("config.txt", &format!("127.0.0.1:{}#{pin}\n", free_port()));
    fails(&place, &["seed", "--config", &config], 3, &["pins", &pin, "correct the pin"]);
}

#[test]
fn taken_port_exits_with_4() {
    let place = support::new_place();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let config = place.write("config.txt", &format!("{address}\n"));
    let says: &[&str] = &[&address, "is taken by another process"];
    for args in [
        &["seed", "--config", &config][..],
        &["seed", "--config", &config, "--all"],
        &["peer", "--config", &config, "--port", &port],
        &["peer", "--config", &config, "--listen", &address],
        &["up", "--config", &config, "--peers", "1"],
        &["up", "--config", &config, "--peers", "1", "--processes"],
    ] {
        fails(&place, args, 4, says);
    }
    let elsewhere = place.write("elsewhere.txt", "192.0.2.1:7000\n");
    fails(&place, &["seed", "--config", &elsewhere], 4, &["cannot listen on 192.0.2.1:7000"]);
}

#[test]
fn unusable_data_directory_exits_with_5() {
    let place = support::new_place();
    // A file in the place of the directory stops even the superuser.
    let file = place.write("file", "");
    let inside = format!("{file}/data");
    let config = place.write("config.txt", &format!("127.0.0.1:{}\n", free_port()));
    for role in ["seed", "peer"] {
        fails(
            &place,
            &[role, "--config", &config, "--data-dir", &inside],
            5,
            &["cannot use the data directory", &inside],
        );
    }
}

#[test]
fn data_directory_in_use_exits_with_5() {
    let place = support::new_place();
    let data = place.path().join("data").to_str().unwrap().to_owned();
    let config = place.write("config.txt", &format!("127.0.0.1:{}\n", free_port()));
    let args = ["peer", "--config", &config, "--data-dir", &data, "--supervised"];
    let mut first = place.start(&[&args[..], &["--listen", "127.0.0.1:0"]].concat());
    first.go_on();
    fails(
        &place,
        &["peer", "--config", &config, "--data-dir", &data],
        5,
        &["is in use by another process"],
    );
}

/// Its key would be two nodes at once.
/// The database library panics where it meets some of these pages.
#[test]
fn damaged_store_exits_with_5_and_does_not_panic() {
    const PAGE: usize = 4096;
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let data = place.path().join("data");
    let args = ["peer", "--config", &config, "--supervised", "--listen", "127.0.0.1:0"];
    let mut peer = place
        .start(&[&args[..], &["--name", "anna", "--data-dir", data.to_str().unwrap()]].concat());
    peer.go_on();
    for n in 0..30 {
        place.run(&["send", "--node", "anna", &format!("{n} {}", "x".repeat(1000))]).ok();
    }
    peer.close_stdin();
    peer.wait();

    let file = data.join("peer.redb");
    let whole = std::fs::read(&file).unwrap();
    let config = place.write("no-seed.txt", "127.0.0.1:1\n");
    let mut caught = 0;
    for seed in 1..=12_u64 {
        let mut state = seed;
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(PAGE) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if state >> 61 == 0 {
                *byte = (state >> 40) as u8;
            }
        }
        std::fs::write(&file, bytes).unwrap();
        let ran = place.run(&[
            "peer",
            "--config",
            &config,
            "--listen",
            "127.0.0.1:0",
            "--join-within",
            "200ms",
            "--data-dir",
            data.to_str().unwrap(),
        ]);
        assert!(ran.code == 5 || ran.code == 7, "{ran:#?}");
        assert!(!ran.err.contains("panicked") && !ran.err.contains("RUST_BACKTRACE"), "{ran:#?}");
        if ran.err.contains("the file is damaged") {
            assert!(ran.code == 5 && ran.err.contains("move it away"), "{ran:#?}");
            caught += 1;
        }
    }
    assert!(caught > 0, "none of these files makes the database library panic");
}

#[test]
fn data_directory_of_the_other_role_exits_with_5() {
    let place = support::new_place();
    let data = place.path().join("data").to_str().unwrap().to_owned();
    let config = place.write("config.txt", &format!("127.0.0.1:{}\n", free_port()));
    let of = |role| [role, "--config", &config, "--data-dir", &data];
    let mut seed = Running::spawn(place.command(&of("seed")));
    until("the seed runs", || place.run(&["status"]).code == 0);
    fails(&place, &of("peer"), 5, &["seed.redb exists", "another node", "its own data directory"]);
    // Also while the seed does not run; then it runs again.
    seed.signal("-INT");
    seed.wait();
    fails(&place, &of("peer"), 5, &["seed.redb exists"]);
    let _seed = Running::spawn(place.command(&of("seed")));
    until("the seed runs again", || place.run(&["status"]).code == 0);
}

#[test]
fn command_without_a_running_node_exits_with_6() {
    let place = support::new_place();
    for args in
        [&["status"][..], &["members"], &["messages"], &["send", "x"], &["tail"], &["leave"]]
    {
        fails(&place, args, 6, &["no node is running", "rumor up"]);
    }
    let (_seed, config) = place.seed();
    let _peer = place.peer(&config, "anna");
    fails(&place, &["status"], 2, &["several nodes are running", "--node", "anna", "seed-1"]);
    fails(&place, &["status", "--node", "carl"], 6, &["\"carl\"", "anna"]);
}

#[test]
fn join_without_running_seeds_exits_with_7() {
    let place = support::new_place();
    let address = format!("127.0.0.1:{}", free_port());
    let config = place.write("config.txt", &format!("{address}\n"));
    fails(
        &place,
        &["peer", "--config", &config, "--join-within", "1s"],
        7,
        &["not registered at a majority of the seeds", &address, "refused"],
    );
}

#[test]
fn join_at_a_seed_with_another_network_key_exits_with_7() {
    let place = support::new_place();
    let (seed, _config) = place.seed();
    let address = seed.listening["listening"].as_str().unwrap();
    let wrong = place.write("wrong.txt", &format!("{address}#{}\n", "0f".repeat(32)));
    fails(
        &place,
        &["peer", "--config", &wrong, "--join-within", "2s"],
        7,
        &["not registered", address, "another key"],
    );
}

#[test]
fn node_runs_without_a_log_that_cannot_be_written() {
    let place = support::new_place();
    let file = place.write("file", "");
    let ran = place
        .run(&[
            "up",
            "--peers",
            "2",
            "--seeds",
            "1",
            "--messages",
            "1",
            "--after",
            "0",
            "--log-dir",
            &file,
        ])
        .ok();
    assert!(ran.err.contains("cannot write the log"), "{ran:#?}");
    assert!(ran.err.contains("the node goes on without it"), "{ran:#?}");
}

#[test]
fn run_directory_writable_by_others_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = support::new_place();
    std::fs::create_dir(place.run_dir()).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.run_dir(), open).unwrap();
    fails(&place, &["status"], 6, &["only this user can write to", "--run-dir"]);
}

#[test]
fn closed_standard_output_is_no_error() {
    let place = support::new_place();
    let mut command = place.command(&["completions", "bash"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_before_the_end_of_a_run_exits_with_130() {
    let place = support::new_place();
    let mut up =
        Running::spawn(place.command(&["up", "--peers", "2", "--seeds", "1", "--for", "1h"]));
    let two_peers = || {
        let files = std::fs::read_dir(place.run_dir());
        files.is_ok_and(|f| f.count() >= 3)
    };
    until("the network runs", two_peers);
    up.signal("-INT");
    assert_eq!(up.wait(), 130);
    assert_eq!(std::fs::read_dir(place.run_dir()).unwrap().count(), 0);
}

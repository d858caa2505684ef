//! The program in a terminal of 80 by 24 (tmux): the console of a peer, and `rumor top`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use support::{Place, Tool, has_tools, until};

/// A terminal, and the program in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn run(place: &Place, args: &[&str]) -> Self {
        let name = format!("tmux-{}", args.join("-").replace(|c: char| !c.is_alphanumeric(), ""));
        let rumor = env!("CARGO_BIN_EXE_rumor");
        let program =
            format!("'{rumor}' '{}'; echo \"ended with $?\"; sleep 600", args.join("' '"));
        Self::open(place, &name, &program)
    }

    /// A terminal with a shell that controls jobs.
    fn shell(place: &Place) -> Self {
        Self::open(place, "tmux-shell", "exec sh -i")
    }

    fn open(place: &Place, name: &str, program: &str) -> Self {
        let terminal = Terminal { socket: place.path().join(name).to_str().unwrap().to_owned() };
        let run_dir = format!("RUMOR_RUN_DIR={}", place.run_dir().display());
        let directory = place.path().to_str().unwrap();
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "-c",
            directory,
            "-e",
            &run_dir,
            "-e",
            "RUST_LOG=",
            "sh",
            "-c",
            program,
        ]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let ran = Command::new("tmux").args(["-u", "-S", &self.socket]).args(args).output();
        let ran = ran.expect("tmux runs");
        assert!(ran.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of this is on the screen.
    fn shows(&self, what: &[&str]) {
        let mut screen = String::new();
        let there = support::holds(|| {
            screen = self.screen();
            what.iter().all(|w| screen.contains(w))
        });
        assert!(there, "{what:?} is not on the screen:\n{screen}");
    }

    /// Keys by their names for tmux: `Enter`, `C-c`, or a character.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn ended(&self, code: i32) {
        self.shows(&[&format!("ended with {code}")]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}

/// Two peers that are neighbours; the first one is in a terminal.
fn two(place: &Place, config: &str) -> (Terminal, support::Running) {
    let bert = place.peer(config, "bert");
    let anna = Terminal::run(place, &["peer", "--config", config, "--name", "anna"]);
    until("they are neighbours", || {
        let ran = place.run(&["neighbours", "--node", "anna", "--json"]);
        ran.code == 0 && ran.json().as_array().unwrap().len() == 1
    });
    (anna, bert)
}

#[test]
fn console_opens_views_with_1_and_2_and_leaves_with_other_input() {
    if !has_tools(&[Tool::Tmux]) {
        return;
    }
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let (anna, _bert) = two(&place, &config);
    anna.shows(&["1 + Enter: connections, 2 + Enter: messages"]);
    anna.press(&["1", "Enter"]);
    anna.shows(&["anna  peer", "joined", "DEGREE", "bert", "q quit"]);
    // The same keys change the page in the view.
    anna.press(&["2"]);
    anna.shows(&["no messages are retained"]);
    place.run(&["send", "--node", "bert", "--topic", "greetings", "hi"]).ok();
    anna.shows(&["PUBLISHER", "bert", "greetings"]);
    anna.press(&["q"]);
    // The console is back, and the peer still runs.
    anna.shows(&["listens at", "1 + Enter: connections, 2 + Enter: messages"]);
    assert!(!anna.screen().contains("PUBLISHER"), "{}", anna.screen());
    anna.press(&["2", "Enter"]);
    anna.shows(&["PUBLISHER", "greetings"]);
    anna.press(&["C-c"]);
    anna.shows(&["listens at"]);

    anna.press(&["x", "Enter"]);
    anna.ended(0);
    let left = || {
        let members = place.run(&["members", "--node", "seed-1", "--json"]).ok().json();
        members.as_array().unwrap().iter().any(|m| m["name"] == "anna" && m["state"] == "left")
    };
    until("anna has left the network", left);
}

/// The kernel stops a process that reads the terminal from the background, with all its links.
#[test]
fn peer_in_the_background_runs_on_and_can_be_brought_to_the_foreground() {
    if !has_tools(&[Tool::Tmux]) {
        return;
    }
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let shell = Terminal::shell(&place);
    let rumor = env!("CARGO_BIN_EXE_rumor");
    shell.press(&[&format!("'{rumor}' peer --config '{config}' --name anna &"), "Enter"]);
    let state = || {
        let ran = place.run(&["status", "--node", "anna", "--json"]);
        (ran.code == 0).then(|| ran.json()["state"].clone())
    };
    until("anna has joined", || state().is_some_and(|s| s == "joined"));
    shell.shows(&["watch it at"]);
    // The shell gets the typed line.
    shell.press(&["echo one two", "Enter"]);
    shell.shows(&["\none two"]);
    assert!(state().is_some(), "it does not answer any more:\n{}", shell.screen());
    shell.press(&["jobs", "Enter"]);
    shell.shows(&["Running"]);
    shell.press(&["fg", "Enter"]);
    shell.press(&["x", "Enter"]);
    until("anna has left", || state().is_none());
}

#[test]
fn end_of_input_makes_the_peer_leave() {
    if !has_tools(&[Tool::Tmux]) {
        return;
    }
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let anna = Terminal::run(&place, &["peer", "--config", &config, "--name", "anna"]);
    until("anna runs", || place.run(&["status", "--node", "anna"]).code == 0);
    anna.shows(&["1 + Enter"]);
    anna.press(&["C-d"]);
    anna.ended(0);
}

#[test]
fn top_shows_each_page_of_a_node() {
    if !has_tools(&[Tool::Tmux]) {
        return;
    }
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let (anna, bert) = two(&place, &config);
    let top = Terminal::run(&place, &["top", "--node", "bert"]);
    top.shows(&["bert  peer", "joined", "2 alive", "neighbours  1 (", "delivered", "q quit"]);
    top.press(&["1"]);
    top.shows(&["NAME", "anna", "DELAY"]);
    place.run(&["send", "--node", "anna", "--topic", "greetings", "good morning"]).ok();
    top.press(&["2"]);
    top.shows(&["greetings", "anna"]);
    top.press(&["Enter"]);
    top.shows(&["details", "good morning"]);
    top.press(&["Enter", "3", "/"]);
    top.shows(&["filter:"]);
    top.press(&["a", "n", "n", "Enter"]);
    top.shows(&["anna", "alive"]);
    // The filtered line, and the title.
    until("the filter applies", || top.screen().matches("alive ").count() == 2);
    top.press(&["4"]);
    anna.press(&["x", "Enter"]);
    top.shows(&["neighbour_down", "name=anna"]);
    // The view fits a small terminal, and follows changes of its size.
    top.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    top.shows(&["bert  peer", "neighbour_down"]);
    drop(bert);
    top.shows(&["bert"]);
    top.press(&["0"]);
    top.press(&["q"]);
    top.ended(0);

    let seed = Terminal::run(&place, &["top", "--node", "seed-1", "members"]);
    seed.shows(&["seed-1  seed", "synced", "anna", "left"]);
    seed.press(&["C-c"]);
    seed.ended(0);
}

#[test]
fn top_without_a_terminal_names_the_commands_to_use() {
    let place = support::new_place();
    let (_seed, _) = place.seed();
    let ran = place.run(&["top"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.err.contains("needs a terminal") && ran.err.contains("rumor status"), "{ran:#?}");
}

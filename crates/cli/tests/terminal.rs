//! A peer in a terminal: what it shows when asked, and how it leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Place, until};

/// A program in a terminal of its own.
struct Terminal {
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn run(place: &Place, args: &[&str]) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
        let side = || OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let mut command = place.rumor(args);
        command.stdin(side()).stdout(side()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let keys = File::from(main);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shared) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut chunk) {
                shared.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        Terminal { keys, screen, child }
    }

    fn shows(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).contains(text)
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_shows_connections_two_shows_messages_and_anything_else_leaves() {
    let place = Place::new();
    let (_seed, config) = place.seed();
    let _bert = place.peer(&config, "bert");
    let mut anna = Terminal::run(&place, &["peer", "--config", &config, "--name", "anna"]);
    let neighbours = || {
        let ran = place.run(&["neighbours", "--node", "anna", "--json"]);
        ran.code == 0 && ran.json().as_array().unwrap().len() == 1
    };
    until("they are neighbours", neighbours);
    anna.press("1\n");
    until("the connection is shown", || anna.shows("1 neighbours") && anna.shows("bert"));

    place.run(&["send", "--node", "bert", "--topic", "greetings", "hi"]).ok();
    until("the message is there", || {
        place.run(&["messages", "--node", "anna", "--json"]).json().as_array().unwrap().len() == 1
    });
    anna.press("2\n");
    until("the message is shown", || anna.shows("1 messages") && anna.shows("greetings"));

    anna.press("q\n");
    assert_eq!(anna.end(), Some(0));
    let left = || {
        let members = place.run(&["members", "--node", "seed-1", "--json"]).ok().json();
        members.as_array().unwrap().iter().any(|m| m["name"] == "anna" && m["state"] == "left")
    };
    until("anna has said goodbye", left);
}

#[test]
fn the_end_of_input_leaves_too() {
    let place = Place::new();
    let (_seed, config) = place.seed();
    let mut anna = Terminal::run(&place, &["peer", "--config", &config, "--name", "anna"]);
    until("anna runs", || place.run(&["status", "--node", "anna"]).code == 0);
    anna.press("\u{4}"); // Ctrl-D
    assert_eq!(anna.end(), Some(0));
}

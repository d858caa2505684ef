use std::collections::BTreeMap;
use std::fs;

use super::logs::LogDir;

fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const A: &str = "aaaaaaaa";
const B: &str = "bbbbbbbb";
const C: &str = "cccccccc";

#[test]
fn last_degree_of_each_living_peer_counts() {
    let id = |short: &str| short.repeat(8);
    let line = |second: u32, id: &str, degree: u32| {
        format!("2026-02-26T19:39:{second:02}.000Z {id}=>{degree}\n")
    };
    let newer =
        line(24, &id(A), 4) + &line(25, &id(C), 9) + "(3 events before this line were missed)\n";
    let older = line(20, &id(A), 2) + &line(22, &id(B), 7) + "not a line\n\u{fffd}é=>3\n";
    let other = line(21, &id(A), 3) + &line(23, &id(B), 5);
    let gone = "2026-02-26T19:39:26.000Z WARN  removed carl (x) (cccccccc) (life 1) as dead\n";
    let dir = dir(&[
        ("seeds/s-1.degrees.log", &newer),
        ("seeds/s-1.degrees.log.1", &older),
        ("seeds/s-2.degrees.log", &other),
        ("seeds/s-2.log", gone),
    ]);
    let logs = LogDir::read(dir.path()).unwrap();
    assert_eq!(logs.degrees().unwrap().bins(), [(4, 1), (5, 1)]);
    assert_eq!(logs.graph().unwrap(), None);
    assert!(logs.describe().contains("2026-02-26T19:39:25.000Z, without 1 dead or left"));
}

#[test]
fn link_counts_unless_one_end_logged_its_removal() {
    let up = |s: u32, name: &str, id: &str| {
        format!(
            "2026-02-26T19:39:{s:02}.000Z INFO  {name} ({id}) is a neighbour now: 1 of 3 wanted\n"
        )
    };
    let down = |s: u32, name: &str, id: &str| {
        format!("2026-02-26T19:39:{s:02}.000Z INFO  {name} ({id}) is no neighbour any more: x\n")
    };
    let anna =
        up(1, "b (r) t", B) + &up(2, "carl", C) + &down(3, "carl", C) + &up(4, "far", "dddddddd");
    let bert = up(1, "anna", A) + &up(2, "carl", C);
    let carl = up(1, "anna", A) + &up(2, "b (r) t", B);
    let dead = "2026-02-26T19:39:09.000Z WARN  eve (eeeeeeee) is dead (life 1), reported by b\n";
    let carl = carl + &up(5, "eve", "eeeeeeee") + dead;
    let dir = dir(&[
        ("peers/anna.log", &anna),
        ("peers/b__r__t.log", &bert),
        ("peers/carl.log", &carl),
        ("peers/carl.messages.log", "[2026-02-26 19->39.24]:127.0.0.1: Message 0 [hi]\n"),
        ("peers/eve.log", &up(6, "carl", C)),
    ]);
    let logs = LogDir::read(dir.path()).unwrap();
    let graph = logs.graph().unwrap().unwrap();
    // anna, b, carl and far: anna-b, anna-far, b-carl.
    assert_eq!(graph.len(), 4);
    assert_eq!(graph.edges().collect::<Vec<_>>(), [(0, 1), (0, 3), (1, 2)]);
    assert!(logs.degrees().is_none());
}

/// The log files of a run with these seeds and peers, which are all neighbours of each other.
fn run(minute: u32, seeds: &[(&str, &str)], peers: &[(&str, &str)]) -> BTreeMap<String, String> {
    let line = |second: u32, text: &str| {
        format!("2026-02-26T19:{minute:02}:{second:02}.000Z INFO  {text}\n")
    };
    let begin = |who: &str, id: &str, role: &str| {
        line(1, &format!("{who} ({id}) begins as a {role}, version 0.1.0, at 127.0.0.1:1"))
    };
    let mut files = BTreeMap::new();
    let mut degrees = String::new();
    for (name, id) in peers {
        let mut text = begin(name, id, "peer");
        for (other, of) in peers.iter().filter(|o| o.1 != *id) {
            text += &line(5, &format!("{other} ({of}) is a neighbour now: 1 of 3 wanted"));
        }
        files.insert(format!("peers/{name}.log"), text);
        let degree = peers.len() - 1;
        degrees += &format!("2026-02-26T19:{minute:02}:06.000Z {}=>{degree}\n", id.repeat(8));
    }
    for (name, id) in seeds {
        files.insert(format!("seeds/{name}.log"), begin(name, id, "seed"));
        files.insert(format!("seeds/{name}.degrees.log"), degrees.clone());
    }
    files
}

fn shown(runs: &[BTreeMap<String, String>]) -> (usize, usize, Vec<(u64, u64)>) {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (name, text) in runs.iter().flatten() {
        files.entry(name).or_default().push_str(text);
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let dir = dir(&files);
    let logs = LogDir::read(dir.path()).unwrap();
    let graph = logs.graph().unwrap().unwrap();
    (graph.len(), graph.edges().count(), logs.degrees().unwrap().bins().to_vec())
}

#[test]
fn last_of_several_networks_in_one_directory_counts() {
    const D: &str = "dddddddd";
    let first =
        run(1, &[("s-1", "11111111"), ("s-2", "22222222")], &[("a", A), ("b", B), ("c", C)]);
    let two = (2, 1, vec![(1, 2)]);
    let second = run(2, &[("s-1", "33333333")], &[("a", D), ("b", "eeeeeeee")]);
    assert_eq!(shown(&[first.clone(), second]), two);
    // A seed with its old key, with a new key, and with the old key again.
    let keyless = run(2, &[("s-1", "33333333")], &[("a", D), ("b", B)]);
    let again = run(3, &[("s-1", "11111111")], &[("a", A), ("b", B)]);
    assert_eq!(shown(&[first.clone(), keyless, again]), two);
    // The same seeds and peers: all lines are of the present network.
    let restarted = run(2, &[("s-1", "11111111")], &[("a", A), ("b", B), ("c", C)]);
    assert_eq!(shown(&[first, restarted]), (3, 3, vec![(2, 3)]));
}

#[test]
fn directory_without_logs_is_an_error() {
    let dir = dir(&[("peers/readme.txt", "nothing")]);
    let error = LogDir::read(dir.path()).unwrap_err();
    assert!(error.contains("holds no logs"), "{error}");
}

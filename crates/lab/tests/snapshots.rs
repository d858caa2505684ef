//! The output of every command, as text and as JSON. Values that change from run to run are
//! replaced by a word; the rest is compared with `snapshots/`. After an intended change,
//! `INSTA_UPDATE=always cargo test -p rumormill-lab --test snapshots` writes the files anew, to be
//! read in the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use insta::{Settings, assert_snapshot};
use rumormill_testing::{Place, Ran, filters, help_pages, shape};
use support::new_place;

fn shown(ran: &Ran) -> String {
    rumormill_testing::shown("rumor-lab", ran)
}

fn settings(place: &Place) -> Settings {
    filters(place, env!("CARGO_PKG_VERSION"))
}

#[test]
fn commands_without_network_print_their_text() {
    let place = new_place();
    let runs: [&[&str]; 3] =
        [&["plot", "degrees", "-o", "x.svg"], &["sim", "--builtin", "no-such"], &["unheard-of"]];
    let text: Vec<String> = runs.iter().map(|args| shown(&place.run(args))).collect();
    settings(&place).bind(|| {
        assert_snapshot!("no-network", text.join("\n"));
        assert_snapshot!("sim-list", shown(&place.run(&["sim", "--list"])));
    });
}

/// The snapshots say which figures there are; their values are the subject of other tests.
#[test]
fn sim_and_plot_print_every_field() {
    let place = new_place();
    let sim = ["sim", "--builtin", "join", "--nodes", "20", "--replicates", "0"];
    let sim_json: Vec<&str> = sim.iter().copied().chain(["--json"]).collect();
    let report = place.run(&sim_json);
    place.write("report.json", &report.out);
    settings(&place).bind(|| assert_snapshot!("sim-json", shape(&report.json())));
    let mut s = settings(&place);
    s.add_filter(r"\d+(,\d\d\d)*(\.\d+)?", "#");
    s.add_filter(r"[0-9a-f#]{6,}", "#");
    s.bind(|| {
        assert_snapshot!("sim", shown(&place.run(&sim)));
        assert_snapshot!(
            "sim-compare",
            shown(&place.run(&["sim", "compare", "report.json", "report.json"]))
        );
        assert_snapshot!(
            "plot",
            shown(&place.run(&["plot", "degrees", "report.json", "-o", "d.svg"]))
        );
    });
}

#[test]
fn every_command_prints_its_help() {
    let place = new_place();
    let pages = help_pages("rumor-lab", &place);
    assert!(pages.len() >= 9, "{}", pages.len());
    settings(&place).bind(|| {
        for (name, text) in pages {
            assert_snapshot!(name, text);
        }
    });
}

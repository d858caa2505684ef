//! Tests of all pictures: each is a well-formed document of the requested size with all its text.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use resvg::usvg::roxmltree::{Document, Node};
use rumormill_analysis::{
    Arrival, Fit, FitOptions, Graph, Histogram, Message, Propagation, ZetaLaw,
};

use crate::*;

/// A picture with test data.
type Drawing = (&'static str, Box<dyn Fn(&PictureOptions) -> Result<Picture, PlotError>>);

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn zeta(n: u64) -> Histogram {
    ZetaLaw::new(2.5, 3, Some(60)).unwrap().sample(n, &mut rng(n))
}

/// A ring with chords to a few hubs.
fn wheel(n: u32) -> Graph {
    let mut edges: Vec<(u32, u32)> = (0..n).map(|i| (i, (i + 1) % n)).collect();
    edges.extend((5..n - 1).filter(|i| i % 3 == 0).map(|i| (i % 4, i)));
    Graph::new(n as usize, &edges).unwrap()
}

/// Messages whose n-th delivery takes about n² microseconds; one of them does not reach all peers.
fn spread(messages: usize, peers: usize) -> Propagation {
    let one = |m: usize| {
        let arrival = |i: usize| Arrival {
            micros: 900 + (i * i * (m + 3)) as u64,
            hops: 1 + (i / 20) as u32,
            fewest: Some(1 + (i / 25) as u32),
            duplicates: u32::from(i.is_multiple_of(9)),
            bytes: 100,
        };
        let got = if m == 1 { peers - 3 } else { peers };
        Message { expected: peers, arrivals: (0..got).map(arrival).collect() }
    };
    let all: Vec<Message> = (0..messages).map(one).collect();
    Propagation::new(&all, &[0.5, 0.9, 0.99, 1.0], 200).unwrap()
}

fn drawings() -> Vec<Drawing> {
    let options = FitOptions { replicates: 20, ..FitOptions::default() };
    let histogram = zeta(400);
    let fit = Fit::new(&histogram, &options).map_err(|e| e.to_string());
    let data = Degrees { histogram, fit };
    let delays: Vec<u64> = (0..500).map(|i| 700 + i * i / 3).collect();
    vec![
        ("degrees", Box::new(move |options| degrees(&data, options))),
        ("graph", Box::new(|options| graph(&wheel(80), options))),
        ("propagation", Box::new(|options| propagation(&spread(6, 100), options))),
        ("latency", Box::new(move |options| latency(Latency::Delays(&delays), options))),
        ("spread", Box::new(|options| latency(Latency::Spread(&spread(6, 100)), options))),
        ("robustness", Box::new(|options| robustness(&curves(&wheel(80)), Some(80), options))),
    ]
}

fn picture_options(size: &str, theme: Theme) -> PictureOptions {
    PictureOptions { size: size.parse().unwrap(), theme, title: None, source: "a test".to_owned() }
}

/// All text of a document; also checks the other parts of the document.
#[track_caller]
fn checked(picture: &Picture) -> String {
    let document = Document::parse(picture.svg()).unwrap();
    let root = document.root_element();
    assert!(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let (width, height) = (picture.size.width * 10, picture.size.height * 10);
    let mut text = String::new();
    for node in document.descendants().filter(Node::is_element) {
        for attribute in node.attributes().filter(|a| a.name() != "font-family") {
            let value = attribute.value();
            for bad in ["NaN", "inf"] {
                assert!(!value.contains(bad), "{} = {value}", attribute.name());
            }
        }
        let number = |name| node.attribute(name).map(|v: &str| v.parse::<f64>().unwrap());
        for (name, end) in [("x", width), ("cx", width), ("y", height), ("cy", height)] {
            let position = number(name).unwrap_or(0.0);
            assert!((0.0..=f64::from(end)).contains(&position), "{name} = {position}");
        }
        if node.has_tag_name(("http://www.w3.org/2000/svg", "text")) {
            text.push_str(node.text().unwrap_or("").trim());
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_picture_is_well_formed_in_every_size_and_theme() {
    for (name, draw) in drawings() {
        for size in ["480x360", "1200x800", "700x1400", "3000x500"] {
            for theme in [Theme::Light, Theme::Dark] {
                let picture = draw(&picture_options(size, theme)).unwrap();
                let text = checked(&picture);
                assert!(
                    text.contains("a test") && text.lines().count() > 5,
                    "{name} {size}: {text}"
                );
            }
        }
    }
}

#[test]
fn same_input_gives_same_bytes() {
    for (name, draw) in drawings() {
        let options = picture_options("600x400", Theme::Dark);
        let (one, other) = (draw(&options).unwrap(), draw(&options).unwrap());
        assert_eq!(one, other, "{name}");
        assert!(one.png().unwrap() == other.png().unwrap(), "{name}");
    }
}

#[test]
fn png_has_the_requested_size_and_contains_the_text() {
    let blank = |title: &str| PictureOptions {
        title: Some(title.to_owned()),
        source: String::new(),
        ..picture_options("640x480", Theme::Light)
    };
    for (name, draw) in drawings() {
        let png = draw(&blank("W")).unwrap().bytes(Format::Png).unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n", "{name}");
        assert_eq!(&png[12..16], b"IHDR");
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        assert_eq!((number(16), number(20)), (640, 480));
        // The letters of the title are drawn whatever fonts are installed on this machine.
        let other = draw(&blank("WWWWWWWW")).unwrap().png().unwrap();
        assert!(png != other, "{name}");
    }
}

#[test]
fn hostile_text_is_escaped_in_the_picture() {
    let title = "</text><script>alert(1)</script> & \"quotes\" \u{0}\u{1b}[2J\u{202e}北京";
    for (name, draw) in drawings() {
        let options = PictureOptions {
            title: Some(title.to_owned()),
            source: format!("dy=\"-0.5ex\" ]]> <!-- {}", "x".repeat(5000)),
            ..picture_options("900x600", Theme::Light)
        };
        let picture = draw(&options).unwrap();
        checked(&picture);
        assert!(!picture.svg().contains("<script"), "{name}");
        let document = Document::parse(picture.svg()).unwrap();
        let element = document.descendants().find(|n| n.tag_name().name() == "title").unwrap();
        let expected = title.replace(['\u{0}', '\u{1b}', '\u{202e}'], "\u{fffd}");
        assert_eq!(element.text(), Some(expected.as_str()));
        picture.png().unwrap();
    }
}

#[test]
fn degrees_show_the_figures_of_the_fit() {
    let histogram = zeta(2000);
    let options = FitOptions { replicates: 50, ..FitOptions::default() };
    let fit = Fit::new(&histogram, &options).unwrap();
    let data = Degrees { histogram, fit: Ok(fit.clone()) };
    let text = checked(&degrees(&data, &picture_options("1200x800", Theme::Light)).unwrap());
    let text = text.replace('\n', " ");
    for wanted in [
        "Degrees of 2000 peers".to_owned(),
        "degree k".to_owned(),
        "P(K ≥ k)".to_owned(),
        "n = 2000".to_owned(),
        format!("α = {:.3} ± {:.3}", fit.alpha, fit.alpha_error),
        format!("α = {:.3} ± {:.3}", fit.bounded_alpha, fit.bounded_alpha_error),
        format!("KS = {:.4}", fit.ks),
        format!("KS = {:.4}, p = {:.2}", fit.bounded_ks, fit.bounded_p.unwrap()),
        format!("{} to {}", fit.bounded_xmin, fit.bounded_xmax),
        format!("Verdict: {}", fit.verdict),
        format!("Verdict: {}", fit.bounded_verdict),
    ] {
        assert!(text.contains(&wanted), "no {wanted:?} in {text}");
    }
}

#[test]
fn failed_fit_is_reported_in_the_picture() {
    let ring: Vec<(u32, u32)> = (0..30).map(|i| (i, (i + 1) % 30)).collect();
    let equal = Degrees::new(Graph::new(30, &ring).unwrap().degrees());
    let text = checked(&degrees(&equal, &picture_options("1200x800", Theme::Light)).unwrap());
    assert!(
        text.replace('\n', " ").contains("No power law was fitted: all values in the tail are 2")
    );
    let few = Degrees::new(Histogram::from_counts([(0, 2), (1, 2), (2, 1)]));
    let text = checked(&degrees(&few, &picture_options("1200x800", Theme::Dark)).unwrap());
    assert!(text.contains("2 peers of degree 0"), "{text}");
}

#[test]
fn missing_data_are_reported_as_error() {
    let options = PictureOptions::default();
    let says = |e: PlotError, what: &str| assert!(e.to_string().contains(what), "{e}");
    says(degrees(&Degrees::new(Histogram::default()), &options).unwrap_err(), "no peers");
    let alone = Histogram::from_counts([(0, 1)]);
    says(degrees(&Degrees::new(alone), &options).unwrap_err(), "1 peer without any neighbour");
    says(graph(&Graph::default(), &options).unwrap_err(), "no peers");
    says(robustness(&[], None, &options).unwrap_err(), "no peers");
    says(latency(Latency::Delays(&[]), &options).unwrap_err(), "no deliveries");
    let lost = [Message { expected: 3, arrivals: Vec::new() }];
    let lost = Propagation::new(&lost, &[0.5], 10).unwrap();
    says(propagation(&lost, &options).unwrap_err(), "1 message, none of which was delivered");
    says(latency(Latency::Spread(&lost), &options).unwrap_err(), "none of which was delivered");
}

#[test]
fn smallest_possible_data_make_a_picture() {
    let options = picture_options("800x600", Theme::Light);
    for nodes in [1, 2, 3] {
        let edges: Vec<(u32, u32)> = (1..nodes).map(|i| (0, i)).collect();
        let small = Graph::new(nodes as usize, &edges).unwrap();
        checked(&graph(&small, &options).unwrap());
        checked(&robustness(&curves(&small), None, &options).unwrap());
        if nodes > 1 {
            checked(&degrees(&Degrees::new(small.degrees()), &options).unwrap());
        }
    }
    for delays in [&[0][..], &[5], &[0, 0], &[1, 1_000_000_000]] {
        checked(&latency(Latency::Delays(delays), &options).unwrap());
    }
    for micros in [0, 1, 1_000_000_000_000] {
        let arrivals = vec![Arrival { micros, hops: 1, ..Arrival::default() }];
        let message = Message { expected: 1, arrivals };
        let one = Propagation::new(&[message], &[0.5, 1.0], 10).unwrap();
        checked(&propagation(&one, &options).unwrap());
        checked(&latency(Latency::Spread(&one), &options).unwrap());
    }
}

#[test]
fn too_large_graph_is_drawn_in_part_and_the_picture_says_so() {
    // A hub with more leaves than are drawn; small circles are quick to lay out.
    let nodes = MAX_DRAWN_NODES as u32 + 500;
    let edges: Vec<(u32, u32)> = (1..nodes).map(|i| (0, i)).collect();
    let large = Graph::new(nodes as usize, &edges).unwrap();
    let picture = graph(&large, &picture_options("600x400", Theme::Light)).unwrap();
    let text = checked(&picture).replace('\n', " ");
    assert!(text.contains("a sample") && text.contains("largest hub"), "{text}");
    let circles = picture.svg().matches("<circle").count();
    assert!((MAX_DRAWN_NODES..2 * MAX_DRAWN_NODES + 20).contains(&circles), "{circles}");
}

#[test]
fn report_with_missing_or_invalid_fields_is_read_as_far_as_possible() {
    let report = Report::read(
        r#"{"scenario": "calm", "seed": 3, "peers": 4, "preset": "lan", "news": [1],
            "degrees": [[1, 3], [3, 1]], "degrees_fit": null, "degrees_fit_error": "too few",
            "graph": {"nodes": 4, "edges": [[0, 1], [0, 2], [0, 3]]}, "trace_hash": "00"}"#,
    )
    .unwrap();
    assert_eq!(report.source(), "simulation: scenario calm, 4 peers, preset lan, seed 3");
    assert_eq!(report.degrees().unwrap().unwrap().fit, Err("too few".to_owned()));
    assert_eq!(report.graph().unwrap().unwrap().len(), 4);
    let (computed, peers) = report.robustness().unwrap().unwrap();
    assert_eq!((computed.len(), peers), (3, Some(4)));
    assert_eq!(report.propagation, None);
    let counted = Report { degrees: None, ..report };
    let histogram = counted.degrees().unwrap().unwrap().histogram;
    assert_eq!(histogram.bins(), [(1, 3), (3, 1)]);

    // The types of this crate round-trip through JSON, and a fit with a number that JSON cannot
    // express is computed again.
    let data = Degrees::new(zeta(300));
    let fit = data.fit.clone().unwrap();
    let mut json = serde_json::json!({ "degrees": data.histogram.bins(), "degrees_fit": fit,
        "propagation": spread(2, 20), "robustness": curves(&wheel(20)) });
    let report = Report::read(&json.to_string()).unwrap();
    // Compared as text: JSON may differ in the last digit.
    let read = report.degrees().unwrap().unwrap();
    assert_eq!(read.histogram, data.histogram);
    assert_eq!(read.fit.unwrap().to_string(), fit.to_string());
    assert_eq!(report.propagation.unwrap().times, spread(2, 20).times);
    assert_eq!(report.robustness.len(), 3);
    json["degrees_fit"]["lognormal"]["p"] = serde_json::Value::Null;
    let report = Report::read(&json.to_string()).unwrap();
    assert_eq!(report.degrees().unwrap().unwrap().fit.unwrap().to_string(), fit.to_string());

    assert_eq!(Report::read("{}").unwrap().degrees().unwrap(), None);
    let broken = r#"{"graph": {"nodes": 2, "edges": [[0, 2]]}}"#;
    let error = Report::read(broken).unwrap().graph().unwrap_err().to_string();
    assert!(error.contains("node 2"), "{error}");
    let several = Report::read("{\"peers\": 3}\n{\"peers\": 4}\n").unwrap_err().to_string();
    assert!(several.contains("several reports"), "{several}");
    let error = Report::read("{\"peers\": \"many\"}").unwrap_err().to_string();
    assert!(error.contains("invalid type") && error.contains("line 1"), "{error}");
}

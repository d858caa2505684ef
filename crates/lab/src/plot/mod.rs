//! `rumor-lab plot`: pictures from a simulation report, from logs, or of the running network.

pub(crate) mod args;
mod graph;
mod kind;
mod logs;
mod network;

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use rumormill_analysis::{Graph, Propagation};
use rumormill_plot::{
    Curves, Degrees, Format, Latency, Picture, PictureOptions, PlotError, Report,
};
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::{escape, out};

use args::{PlotArgs, RUNNING};
use kind::Kind;
use logs::LogDir;
use network::Network;

/// Largest report, in bytes: a larger file is not a report.
const MAX_REPORT_BYTES: u64 = 1024 * 1024 * 1024;

/// Draws the picture that the command line asks for, and writes it to a file.
pub(crate) async fn run(args: PlotArgs) -> Outcome {
    // A wrong file name is an error before any data is read.
    let format = Format::of(&args.output).or_exit(Exit::Usage)?;
    let source =
        Source::open(&args.from, args.kind, args.node.as_deref(), args.run_dir.run_dir.as_deref())
            .await?;
    let theme = args.theme.theme();
    let look =
        PictureOptions { size: args.size, theme, title: args.title, source: source.describe() };
    let picture = picture(&source, args.kind, &look)?;
    let bytes = picture.bytes(format).map_err(failed)?;
    write(&args.output, &bytes)?;
    let shown = escape::text(&args.output.display().to_string());
    out::print(&format!("{shown} written\n"))?;
    Ok(Exit::Ok)
}

fn failed(e: PlotError) -> Failure {
    Failure::new(Exit::Failed, e)
}

fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    std::fs::write(path, bytes).map_err(|e| {
        let path = escape::text(&path.display().to_string());
        Failure::new(Exit::Failed, format!("cannot write {path}: {e}"))
    })
}

/// The source of the data.
#[derive(Debug)]
enum Source {
    /// The name of a report in messages, and the report.
    Report(String, Box<Report>),
    /// A directory of logs.
    Logs(LogDir),
    /// The running network.
    Running(Network),
}

impl Source {
    /// Reads the data that a kind of picture needs.
    async fn open(
        from: &Path,
        kind: Kind,
        node: Option<&str>,
        run_dir: Option<&Path>,
    ) -> Outcome<Self> {
        let name = escape::text(&from.display().to_string());
        let failed = |e: String| Failure::new(Exit::Failed, e);
        if from == Path::new("-") {
            let name = "standard input".to_owned();
            let json = read(io::stdin().lock(), &name).map_err(failed)?;
            return report(name, &json);
        }
        if from == Path::new(RUNNING) && !from.exists() {
            return Ok(Source::Running(Network::ask(kind, node, run_dir).await?));
        }
        if from.is_dir() {
            return Ok(Source::Logs(LogDir::read(from).map_err(failed)?));
        }
        let file = fs::File::open(from).map_err(|e| {
            failed(format!(
                "cannot read {name}: {e}; give a report of `rumor-lab sim --json`, a directory of logs, \
                 or `{RUNNING}`"
            ))
        })?;
        let json = read(file, &name).map_err(failed)?;
        report(name, &json)
    }

    /// The description of the source, for the line below the title.
    fn describe(&self) -> String {
        match self {
            Source::Report(_, report) => report.source(),
            Source::Logs(logs) => logs.describe(),
            Source::Running(network) => network.describe(),
        }
    }

    fn degrees(&self) -> Result<Option<Degrees>, String> {
        match self {
            Source::Report(name, report) => report.degrees().map_err(|e| format!("{name}: {e}")),
            Source::Logs(logs) => Ok(logs.degrees().map(Degrees::new)),
            Source::Running(network) => Ok(network.degrees().map(Degrees::new)),
        }
    }

    fn graph(&self) -> Result<Option<Graph>, String> {
        match self {
            Source::Report(name, report) => report.graph().map_err(|e| format!("{name}: {e}")),
            Source::Logs(logs) => logs.graph(),
            Source::Running(network) => network.graph(),
        }
    }

    fn robustness(&self) -> Result<Option<Curves>, String> {
        if let Source::Report(name, report) = self {
            return report.robustness().map_err(|e| format!("{name}: {e}"));
        }
        let curves = |g: Graph| (rumormill_plot::curves(&g), Some(g.len() as u64));
        Ok(self.graph()?.map(curves))
    }

    fn propagation(&self) -> Result<Option<Propagation>, String> {
        match self {
            Source::Report(_, report) => Ok(report.propagation.clone()),
            Source::Logs(_) => Ok(None),
            Source::Running(network) => network.propagation().map(Some),
        }
    }

    /// The error that the source has no data for a picture, with the sources that have it.
    fn missing_data(&self, kind: Kind) -> String {
        let kind = kind.name();
        match self {
            Source::Report(name, _) => {
                let why = if matches!(kind, "propagation" | "latency") {
                    "the run published no messages; a run with messages has it"
                } else {
                    "its graph was too large to be listed, or not requested; a smaller run has it"
                };
                format!("{name} has no data for {kind}: {why}, and a running network")
            }
            Source::Logs(logs) if matches!(kind, "propagation" | "latency") => format!(
                "{} has no data for {kind}: logs say when messages were published, not when they \
                 arrived; a report of `rumor-lab sim --json` has it, and a running network",
                logs.name()
            ),
            Source::Logs(logs) => format!(
                "{} has no data for {kind}: there is no log of a seed's degrees or of a peer's \
                 neighbours in it; a report of `rumor-lab sim --json` has it, and a running network",
                logs.name()
            ),
            Source::Running(_) => format!(
                "the running network has no data for {kind}; a report of `rumor-lab sim --json` has it"
            ),
        }
    }
}

fn read(input: impl io::Read, name: &str) -> Result<String, String> {
    let mut text = String::new();
    let cannot = |e: io::Error| format!("cannot read {name}: {e}");
    input.take(MAX_REPORT_BYTES).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

fn report(name: String, json: &str) -> Outcome<Source> {
    if json.trim().is_empty() {
        let error = format!("{name} is empty: it has no report");
        return Err(Failure::new(Exit::Failed, error));
    }
    match Report::read(json) {
        Ok(report) => Ok(Source::Report(name, Box::new(report))),
        Err(e) => Err(Failure::new(Exit::Failed, format!("{name}: {e}"))),
    }
}

/// Draws the picture.
fn picture(source: &Source, kind: Kind, look: &PictureOptions) -> Outcome<Picture> {
    let failed = |e: String| Failure::new(Exit::Failed, e);
    let lacking = || failed(source.missing_data(kind));
    let drawn = match kind {
        Kind::Degrees => {
            let degrees = source.degrees().map_err(failed)?.ok_or_else(lacking)?;
            rumormill_plot::degrees(&degrees, look)
        }
        Kind::Graph => {
            let graph = source.graph().map_err(failed)?.ok_or_else(lacking)?;
            rumormill_plot::graph(&graph, look)
        }
        Kind::Robustness => {
            let (curves, peers) = source.robustness().map_err(failed)?.ok_or_else(lacking)?;
            rumormill_plot::robustness(&curves, peers, look)
        }
        Kind::Propagation => {
            let spread = source.propagation().map_err(failed)?.ok_or_else(lacking)?;
            rumormill_plot::propagation(&spread, look)
        }
        Kind::Latency => {
            if let Source::Running(network) = source {
                rumormill_plot::latency(Latency::Delays(&network.delays()), look)
            } else {
                let spread = source.propagation().map_err(failed)?.ok_or_else(lacking)?;
                rumormill_plot::latency(Latency::Spread(&spread), look)
            }
        }
    };
    drawn.map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests;

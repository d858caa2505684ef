//! `rumor plot`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rumormill_plot::{Format, PictureOptions, PlotError, Size, Theme};

use crate::control::RunDirArgs;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::plot::{self, Kind, Source};
use crate::{escape, out};

/// Draw a picture of a network: its degrees, its links, how messages spread, what holds it together
///
/// degrees: how many peers have at least so many neighbours, with the power laws fitted to it.
/// propagation: which share of the peers a message has reached, and when. latency: how long after
/// publishing messages are delivered. graph: who is linked with whom. robustness: what stays
/// connected as peers fail, or as the best connected ones are removed first.
///
/// A simulation report has all of them, if its graph was not too large to be listed. A running
/// network has all of them too, of the nodes that run on this machine. Logs have degrees, graph and
/// robustness; they do not say when messages arrived.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor plot degrees -o degrees.svg                      (of the network that runs here)
  rumor plot graph logs -o graph.png --theme dark        (of the logs of rumor up or rumor peer)
  rumor plot propagation report.json -o spread.svg       (of a report of rumor sim --json)
  rumor plot robustness - -o robustness.png < report.json
  rumor plot latency -o delays.png --size 2400x1600 --title \"Delays on the test network\"")]
pub(crate) struct PlotArgs {
    /// What to draw
    #[arg(
        value_enum,
        hide_possible_values = true,
        value_name = "degrees|propagation|latency|graph|robustness"
    )]
    kind: Kind,
    /// A report of `rumor sim --json`, `-` for one on standard input, a directory of logs, or
    /// `running` for the network that runs here
    #[arg(value_name = "FROM", default_value = plot::RUNNING)]
    from: PathBuf,
    /// Where to: a name that ends in .svg or .png
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Colours: dark on white, or light on dark
    #[arg(long, value_enum, default_value_t = ThemeName::Light)]
    theme: ThemeName,
    /// What to write above the picture [default: what it shows]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Width and height in pixels, 480x360 to 6000x6000
    #[arg(long, value_name = "WxH", default_value_t)]
    size: Size,
    /// Of a running network: name or id of the node whose word on members and degrees counts
    /// [default: a seed that runs here, otherwise a peer]
    #[arg(long, short, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    run_dir: RunDirArgs,
}

/// The colours, as they are called on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ThemeName {
    Light,
    Dark,
}

pub(crate) async fn run(args: PlotArgs) -> Outcome {
    // Told before anything is asked or read.
    let format = Format::of(&args.output).or_exit(Exit::Usage)?;
    let theme = match args.theme {
        ThemeName::Light => Theme::Light,
        ThemeName::Dark => Theme::Dark,
    };
    let source =
        Source::open(&args.from, args.kind, args.node.as_deref(), args.run_dir.run_dir.as_deref())
            .await?;
    let look =
        PictureOptions { size: args.size, theme, title: args.title, source: source.describe() };
    let picture = plot::picture(&source, args.kind, &look)?;
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

//! `rumor neighbours`

use clap::Args;
use rumormill_http::view::NeighbourLine;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out::Paint;
use rumormill_terminal::table::Table;
use rumormill_terminal::{escape, out};
use rumormill_units::count::counted;

use crate::control::NodeArgs;
use crate::text::short_id;

/// List the neighbours of a peer
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor neighbours
  rumor neighbours --node peer-03 --json")]
pub(crate) struct NeighboursArgs {
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: NeighboursArgs) -> Outcome {
    let neighbours = args.node.peer_client()?.neighbours().await?;
    if args.node.json {
        out::json_pretty(&neighbours)?;
    } else {
        out::print(&text(&neighbours, Paint::stdout()))?;
    }
    Ok(Exit::Ok)
}

/// A table of neighbours.
pub(crate) fn text(neighbours: &[NeighbourLine], paint: Paint) -> String {
    let mut table = Table::new(vec![
        "NAME", "ID", "ADDRESS", "LINK", "SINCE", "HEARD", "DELAY", "MISSES", "DEGREE",
    ]);
    for n in neighbours {
        table.row(vec![
            escape::text(&n.name),
            short_id(&n.id).to_owned(),
            n.address.clone(),
            if n.dialed { "dialled" } else { "accepted" }.to_owned(),
            format!("{:.0} s", n.since_s),
            format!("{:.1} s ago", n.heard_s),
            n.reply_delay_ms.map_or_else(|| "-".to_owned(), |d| format!("{d:.1} ms")),
            if n.suspect { format!("{} (suspect)", n.misses) } else { n.misses.to_string() },
            format!("{} of {}", n.degree, n.target),
        ]);
    }
    table.render(paint) + &format!("{}\n", counted(neighbours.len(), "neighbour"))
}

//! `rumor members`

use clap::Args;
use rumormill_http::view::MemberLine;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out::Paint;
use rumormill_terminal::table::Table;
use rumormill_terminal::{escape, out};
use rumormill_units::count::counted;

use crate::control::NodeArgs;
use crate::text::short_id;

/// List the members a node knows; at a seed, its registry
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor members
  rumor members --node seed-1
  rumor members --json | jq '.[] | select(.state == \"dead\")'")]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: MembersArgs) -> Outcome {
    let members = args.node.client()?.members().await?;
    if args.node.json {
        out::json_pretty(&members)?;
    } else {
        out::print(&text(&members))?;
    }
    Ok(Exit::Ok)
}

fn text(members: &[MemberLine]) -> String {
    let mut table = Table::new(vec![
        "NAME",
        "ID",
        "STATE",
        "INCARNATION",
        "DEGREE",
        "TARGET",
        "ADDRESS",
        "WITNESSES",
    ]);
    for m in members {
        let witnesses: Vec<&str> = m.witnesses.iter().map(|w| short_id(w)).collect();
        table.row(vec![
            m.name.as_deref().map_or_else(|| "-".to_owned(), escape::text),
            short_id(&m.id).to_owned(),
            m.state.clone(),
            m.incarnation.to_string(),
            m.degree.to_string(),
            m.target.to_string(),
            m.addresses.first().cloned().unwrap_or_else(|| "-".to_owned()),
            witnesses.join(" "),
        ]);
    }
    let alive = members.iter().filter(|m| m.state == "alive").count();
    table.render(Paint::stdout())
        + &format!("{}, {alive} alive\n", counted(members.len(), "member"))
}

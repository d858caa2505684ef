//! `rumor bench`: how fast a network of this library is, and how fast it could be.

mod board;
mod ceiling;
mod cost;
mod delays;
mod drive;
mod figures;
mod load;
mod measure;
mod network;
mod order;
mod plan;
mod progress;
mod relay;
mod report;
mod source;
mod stamp;
mod tap;

use crate::exit::{Exit, Outcome};
use crate::launch::NetworkArgs;
use crate::out::{self, Paint};
use crate::signals::Stops;
use figures::Figures;
use plan::Plan;
pub(crate) use plan::{Ceiling, Wishes};
use progress::Progress;

/// Measures as wished, and says what came of it.
pub(crate) async fn run(wishes: Wishes, network: &NetworkArgs, json: bool) -> Outcome {
    let plan = Plan::new(&wishes)?;
    let mut stops = Stops::catch()?;
    let figures = tokio::select! {
        figures = measure(&plan, network) => figures?,
        () = stops.next() => {
            out::say("rumor: interrupted; nothing was measured to its end");
            return Ok(Exit::Interrupted);
        }
    };
    if json {
        out::json_pretty(&figures)?;
    } else {
        out::print(&figures.text(Paint::stdout()))?;
    }
    Ok(if figures.faults().is_empty() { Exit::Ok } else { Exit::Failed })
}

/// The network first: its memory is counted from what the process needs without it.
async fn measure(plan: &Plan, network: &NetworkArgs) -> Outcome<Figures> {
    let mut progress = Progress::new();
    let measured = measure::measure(plan, network, &mut progress).await?;
    let height = ceiling::measure(plan, &mut progress).await?;
    Ok(Figures::new(plan, network.common.preset, &measured, height.as_ref()))
}

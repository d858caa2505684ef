//! As many messages as the system carries, with a window of messages in flight.

use anyhow::Result;

use super::load::Network;
use crate::metric::Sample;
use crate::plan::Plan;
use crate::systems::System;

/// Messages that are timed: none, because that would slow the deliveries.
pub(crate) const TIMED: usize = 0;

/// Measures deliveries per second, and what they cost.
pub(crate) async fn measure<S: System>(network: Network<S>, plan: &Plan) -> Result<Sample> {
    network.warm_up(plan).await?;
    let sample = network.publish_window(plan).await?;
    network.stop().await;
    Ok(sample)
}

//! The parts of a simulation report that pictures need.

use rumormill_analysis::{Fit, Graph, GraphError, Histogram, Propagation, Robustness};
use serde::Deserialize;
use serde_json::Value;

use crate::degrees::Degrees;
use crate::robustness::{Curves, curves};

/// Why a text is not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The text is not JSON, or a field has the wrong form.
    #[error("not a simulation report: {0}")]
    Json(#[from] serde_json::Error),
    /// The text has several reports, as a campaign writes them.
    #[error("several reports, one per line: choose one of them, for example with `head -n 1`")]
    Several,
    /// The list of edges is not a graph.
    #[error("the report has an invalid graph: {0}")]
    Graph(#[from] GraphError),
}

/// A report. Unknown fields are ignored, and every field may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: Option<String>,
    /// The seed of the run.
    pub seed: Option<u64>,
    /// Number of peers.
    pub peers: Option<u64>,
    /// The preset of the protocol's times.
    pub preset: Option<String>,
    /// The distribution of degrees: pairs of a degree and a number of peers.
    pub degrees: Option<Vec<(u64, u64)>>,
    /// The fit to the degrees, in the form of [`Fit`].
    pub degrees_fit: Option<Value>,
    /// Why there is no fit.
    pub degrees_fit_error: Option<String>,
    /// The links at the end of the run.
    pub graph: Option<GraphReport>,
    /// The spread of messages.
    pub propagation: Option<Propagation>,
    /// The connectivity as peers are removed; empty if it was not measured.
    pub robustness: Vec<Robustness>,
}

/// A graph in a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GraphReport {
    /// Number of nodes.
    pub nodes: usize,
    /// Pairs of indices of nodes.
    pub edges: Vec<(u32, u32)>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// If the text is not one JSON object, or a field has the wrong form.
    pub fn read(json: &str) -> Result<Self, ReportError> {
        serde_json::from_str(json).map_err(|e| {
            let first: Result<Self, _> =
                serde_json::from_str(json.trim_start().lines().next().unwrap_or_default());
            if first.is_ok() { ReportError::Several } else { e.into() }
        })
    }

    /// The robustness curves, computed from the graph if the report has none, and the number of its
    /// peers. `None` if the report has neither curves nor graph.
    ///
    /// # Errors
    ///
    /// If the list of edges is not a graph.
    pub fn robustness(&self) -> Result<Option<Curves>, ReportError> {
        let graph = self.graph()?;
        let counted =
            || self.degrees.as_ref().map(|bins| Histogram::from_counts(bins.iter().copied()).n());
        let peers = graph.as_ref().map(|g| g.len() as u64).or_else(counted);
        if !self.robustness.is_empty() {
            return Ok(Some((self.robustness.clone(), peers)));
        }
        Ok(graph.map(|g| (curves(&g), peers)))
    }

    /// Describes the run in one line.
    #[must_use]
    pub fn source(&self) -> String {
        let parts = [
            self.scenario.as_ref().map(|s| format!("scenario {s}")),
            self.peers.map(crate::degrees::peers),
            self.preset.as_ref().map(|s| format!("preset {s}")),
            self.seed.map(|n| format!("seed {n}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return "simulation".to_owned();
        }
        format!("simulation: {}", parts.join(", "))
    }

    /// The graph, if the report has one.
    ///
    /// # Errors
    ///
    /// If the list of edges is not a graph.
    pub fn graph(&self) -> Result<Option<Graph>, ReportError> {
        let graph = self.graph.as_ref().map(|g| Graph::new(g.nodes, &g.edges));
        Ok(graph.transpose()?)
    }

    /// The degrees, counted in the graph if the report does not list them, and fitted if the report
    /// has no fit. `None` if the report has neither degrees nor graph.
    ///
    /// # Errors
    ///
    /// If the list of edges is not a graph.
    pub fn degrees(&self) -> Result<Option<Degrees>, ReportError> {
        let histogram = match &self.degrees {
            Some(bins) => Histogram::from_counts(bins.iter().copied()),
            None => match self.graph()? {
                Some(graph) => graph.degrees(),
                None => return Ok(None),
            },
        };
        // JSON cannot express a value that is not a number and writes null; such a fit is computed
        // again.
        let fit: Option<Fit> = self.degrees_fit.as_ref().and_then(|fit| Fit::deserialize(fit).ok());
        Ok(Some(match (fit, &self.degrees_fit_error) {
            (Some(fit), _) => Degrees { histogram, fit: Ok(fit) },
            (None, Some(error)) => Degrees { histogram, fit: Err(error.clone()) },
            (None, None) => Degrees::new(histogram),
        }))
    }
}

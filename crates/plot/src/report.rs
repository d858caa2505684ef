//! The report of a simulation, as far as pictures need it.

use rumormill_analysis::{Fit, Graph, GraphError, Histogram, Propagation, Robustness};
use serde::Deserialize;
use serde_json::Value;

use crate::degrees::Degrees;
use crate::robustness::{Curves, curves};

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is no JSON, or a field has the wrong form.
    #[error("not a simulation report: {0}")]
    Json(#[from] serde_json::Error),
    /// There are several, as a campaign writes them.
    #[error("several reports, one a line; choose one of them, as with `head -n 1`")]
    Several,
    /// Its list of edges is no graph.
    #[error("the graph of the report is none: {0}")]
    Graph(#[from] GraphError),
}

/// A report. Fields it does not have are ignored, all may be missing.
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
    /// How many peers have which degree: pairs of a degree and a number.
    pub degrees: Option<Vec<(u64, u64)>>,
    /// The fit to the degrees, in the form of [`Fit`].
    pub degrees_fit: Option<Value>,
    /// Why there is no fit.
    pub degrees_fit_error: Option<String>,
    /// Who was linked with whom at the end.
    pub graph: Option<GraphReport>,
    /// How the messages spread.
    pub propagation: Option<Propagation>,
    /// What is left as peers are removed; empty if it was not measured.
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
    /// If it is no JSON object, or more than one, or a field has the wrong form.
    pub fn read(json: &str) -> Result<Self, ReportError> {
        serde_json::from_str(json).map_err(|e| {
            let first: Result<Self, _> =
                serde_json::from_str(json.trim_start().lines().next().unwrap_or_default());
            if first.is_ok() { ReportError::Several } else { e.into() }
        })
    }

    /// The curves of robustness, computed from the graph if they were not measured, and the number
    /// of peers they are about. None if the report has neither curves nor graph.
    ///
    /// # Errors
    ///
    /// If its list of edges is no graph.
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

    /// What the run was, in a line.
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
    /// If its list of edges is no graph.
    pub fn graph(&self) -> Result<Option<Graph>, ReportError> {
        let graph = self.graph.as_ref().map(|g| Graph::new(g.nodes, &g.edges));
        Ok(graph.transpose()?)
    }

    /// The degrees, counted in the graph if they are not listed, and fitted if no fit is there.
    /// None if the report has neither degrees nor graph.
    ///
    /// # Errors
    ///
    /// If its list of edges is no graph.
    pub fn degrees(&self) -> Result<Option<Degrees>, ReportError> {
        let histogram = match &self.degrees {
            Some(bins) => Histogram::from_counts(bins.iter().copied()),
            None => match self.graph()? {
                Some(graph) => graph.degrees(),
                None => return Ok(None),
            },
        };
        // JSON has no word for what is no number and writes null, which is no number either: such a
        // fit is computed anew.
        let fit: Option<Fit> = self.degrees_fit.as_ref().and_then(|fit| Fit::deserialize(fit).ok());
        Ok(Some(match (fit, &self.degrees_fit_error) {
            (Some(fit), _) => Degrees { histogram, fit: Ok(fit) },
            (None, Some(error)) => Degrees { histogram, fit: Err(error.clone()) },
            (None, None) => Degrees::new(histogram),
        }))
    }
}

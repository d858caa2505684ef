//! G6: no islands. The live peers are one connected component.

use super::Violation;
use crate::observation::Observation;

/// Finds the components beside the largest one.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let components = observation.graph.components();
    let peers: usize = components.iter().map(std::collections::BTreeSet::len).sum();
    components
        .iter()
        .skip(1)
        .map(|c| {
            let some: Vec<String> = c.iter().take(5).map(ToString::to_string).collect();
            let what = format!(
                "{} of {peers} live peers are an island: {}{}",
                c.len(),
                some.join(", "),
                if c.len() > some.len() { ", …" } else { "" }
            );
            Violation::new("G6", what).about(c.iter().take(5).copied())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn second_component_is_found() {
        let mut observation = planted::valid();
        assert_eq!(check(&observation), []);
        observation.graph = planted::graph(&[(3, 4)], &[5]);
        let found = check(&observation);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("1 of 3 live peers are an island: n5"), "{found:?}");
    }
}

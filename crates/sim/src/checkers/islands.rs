//! G6: the live peers are one component.

use super::Violation;
use crate::observation::Observation;

/// Names the components beside the largest one.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let components = seen.graph.components();
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
    fn an_island_is_found() {
        let mut seen = planted::sound();
        assert_eq!(check(&seen), []);
        seen.graph = planted::graph(&[(3, 4)], &[5]);
        let found = check(&seen);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("1 of 3 live peers are an island: n5"), "{found:?}");
    }
}

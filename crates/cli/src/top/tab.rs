//! The pages of the view.

/// One page of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Connections,
    Messages,
    Members,
    Events,
}

impl Tab {
    pub(super) const ALL: [Tab; 5] =
        [Tab::Overview, Tab::Connections, Tab::Messages, Tab::Members, Tab::Events];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Tab::Overview => "0 overview",
            Tab::Connections => "1 connections",
            Tab::Messages => "2 messages",
            Tab::Members => "3 members",
            Tab::Events => "4 events",
        }
    }

    /// Its place among all tabs.
    pub(super) fn index(self) -> usize {
        Tab::ALL.iter().position(|t| *t == self).unwrap_or(0)
    }

    /// The tab whose title begins with this digit.
    pub(super) fn of_digit(digit: char) -> Option<Self> {
        Tab::ALL.into_iter().find(|t| t.title().starts_with(digit))
    }

    /// The tab this many places further; after the last one comes the first.
    pub(super) fn beside(self, by: usize) -> Self {
        Tab::ALL.get((self.index() + by) % Tab::ALL.len()).copied().unwrap_or(self)
    }
}

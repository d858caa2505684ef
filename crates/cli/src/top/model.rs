//! What is shown, and what keys do to it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rumormill_http::view::{EventLine, FullMessage, Status};

use super::feed::{Look, News};
use super::rates::Rates;
use super::rows::{self, Listing};

/// Events that are remembered.
const EVENTS: usize = 1_000;
/// Longest filter, in characters.
const FILTER: usize = 60;
/// Lines that a page key moves by.
const PAGE: usize = 15;

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

    pub(super) fn place(self) -> usize {
        Tab::ALL.iter().position(|t| *t == self).unwrap_or(0)
    }

    fn of(digit: char) -> Option<Self> {
        Tab::ALL.into_iter().find(|t| t.title().starts_with(digit))
    }

    fn beside(self, by: usize) -> Self {
        Tab::ALL.get((self.place() + by) % Tab::ALL.len()).copied().unwrap_or(self)
    }
}

/// Where one is in a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The line under the cursor, among those that are shown.
    pub(super) line: usize,
    /// The column that it is sorted by; as it came if there is none.
    pub(super) sort: Option<usize>,
    pub(super) filter: String,
}

/// What the model wants of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// The content of a message, by its id.
    Read(String),
    End,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) tab: Tab,
    pub(super) look: Option<Box<Look>>,
    pub(super) events: VecDeque<EventLine>,
    pub(super) rates: Rates,
    /// Why what is shown is not of now.
    pub(super) trouble: Option<String>,
    pub(super) places: [Place; 5],
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    /// Nothing new is shown.
    pub(super) paused: bool,
    /// The line under the cursor, in full.
    pub(super) detail: Option<Vec<String>>,
    /// The message whose content is on its way.
    awaited: Option<String>,
    pub(super) colours: bool,
}

impl Model {
    pub(super) fn new(tab: Tab, colours: bool) -> Self {
        Model {
            tab,
            look: None,
            events: VecDeque::new(),
            rates: Rates::new(),
            trouble: None,
            places: Default::default(),
            typing: false,
            paused: false,
            detail: None,
            awaited: None,
            colours,
        }
    }

    pub(super) fn learn(&mut self, news: News) {
        match news {
            News::Content(message) => self.show_content(&message),
            News::Trouble(why) => self.trouble = Some(why),
            _ if self.paused => {}
            News::Look(look) => {
                let counters = match &look.status {
                    Status::Peer(s) => &s.counters,
                    Status::Seed(s) => &s.counters,
                };
                self.rates.look(counters, look.at);
                self.trouble = None;
                self.look = Some(look);
            }
            News::Event(event) => {
                if self.events.len() >= EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            News::Missed(n) => {
                self.trouble = Some(format!("{n} events came faster than they could be shown"));
            }
        }
    }

    fn show_content(&mut self, message: &FullMessage) {
        if self.awaited.take().is_some_and(|id| id == message.id)
            && let Some(lines) = &mut self.detail
        {
            lines.extend(rows::content(message));
        }
    }

    /// The lines of this tab as they are sorted and filtered.
    pub(super) fn listing(&self) -> Option<Listing> {
        let look = self.look.as_deref();
        let mut listing = rows::of(self.tab, look, &self.events)?;
        let place = self.place();
        listing.keep(&place.filter);
        if let Some(column) = place.sort {
            listing.sort(column);
        }
        Some(listing)
    }

    pub(super) fn place(&self) -> &Place {
        &self.places[self.tab.place()]
    }

    fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.tab.place()]
    }

    /// What a key does.
    pub(super) fn key(&mut self, event: Event) -> Option<Wish> {
        let Event::Key(key) = event else { return None };
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Some(Wish::End);
        }
        if self.typing {
            self.type_filter(key);
            return None;
        }
        if self.detail.take().is_some() {
            // Whatever closes it does nothing else; but one may go on to another page at once.
            if !matches!(key.code, KeyCode::Char('0'..='9')) {
                return None;
            }
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::End),
            KeyCode::Char(digit @ '0'..='4') => self.tab = Tab::of(digit).unwrap_or(self.tab),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.tab = self.tab.beside(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.tab = self.tab.beside(Tab::ALL.len() - 1);
            }
            KeyCode::Up | KeyCode::Char('k') => self.go(|line| line.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(|line| line.saturating_add(1)),
            KeyCode::PageUp => self.go(|line| line.saturating_sub(PAGE)),
            KeyCode::PageDown => self.go(|line| line.saturating_add(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.go(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.go(|_| usize::MAX),
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('/') => self.typing = self.tab != Tab::Overview,
            KeyCode::Char('s') => self.sort_by_the_next(),
            KeyCode::Enter => return self.open(),
            _ => {}
        }
        None
    }

    fn type_filter(&mut self, key: KeyEvent) {
        let filter = &mut self.place_mut().filter;
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) if filter.chars().count() < FILTER => filter.push(c),
            _ => {}
        }
        self.go(|_| 0);
    }

    fn go(&mut self, to: impl Fn(usize) -> usize) {
        let last = self.listing().map_or(0, |l| l.rows.len().saturating_sub(1));
        let place = self.place_mut();
        place.line = to(place.line.min(last)).min(last);
    }

    fn sort_by_the_next(&mut self) {
        let Some(columns) = self.listing().map(|l| l.heading.len()) else { return };
        let place = self.place_mut();
        let next = place.sort.map_or(0, |c| c + 1);
        place.sort = (next < columns).then_some(next);
    }

    /// Shows the line under the cursor in full.
    fn open(&mut self) -> Option<Wish> {
        let listing = self.listing()?;
        let row = listing.rows.get(self.place().line.min(listing.rows.len().checked_sub(1)?))?;
        self.detail = Some(row.detail.clone());
        self.awaited.clone_from(&row.message);
        row.message.clone().map(Wish::Read)
    }
}

//! The state of the view, and the effect of keys on it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rumormill_http::view::{EventLine, FullMessage, Status};

use super::rates::Rates;
use super::rows::{self, Listing};
use super::tab::Tab;
use super::update::{Request, Snapshot, Update};

/// Most events that are kept; older ones are dropped.
const MAX_EVENTS: usize = 1_000;
/// Longest filter, in characters.
const MAX_FILTER: usize = 60;
/// Lines that a page key moves by.
const PAGE_LINES: usize = 15;

/// The cursor, order and filter of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct ListState {
    /// The line under the cursor, among those that are shown.
    pub(super) line: usize,
    /// The column by which the list is sorted; without one, the order is that of the node.
    pub(super) sort: Option<usize>,
    pub(super) filter: String,
}

/// The state of the view.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) tab: Tab,
    pub(super) snapshot: Option<Box<Snapshot>>,
    pub(super) events: VecDeque<EventLine>,
    pub(super) rates: Rates,
    /// Why the view does not show the present state.
    pub(super) problem: Option<String>,
    /// One for each tab.
    pub(super) lists: [ListState; 5],
    /// Whether keys edit the filter.
    pub(super) edits_filter: bool,
    /// Whether updates are ignored.
    pub(super) is_paused: bool,
    /// The line under the cursor, in full.
    pub(super) detail: Option<Vec<String>>,
    /// The id of the message whose content was requested.
    requested: Option<String>,
    pub(super) colours: bool,
}

impl Model {
    pub(super) fn new(tab: Tab, colours: bool) -> Self {
        Model {
            tab,
            snapshot: None,
            events: VecDeque::new(),
            rates: Rates::new(),
            problem: None,
            lists: Default::default(),
            edits_filter: false,
            is_paused: false,
            detail: None,
            requested: None,
            colours,
        }
    }

    /// Takes an update in; while the view is paused, only answers to the user.
    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Content(message) => self.show_content(&message),
            Update::Failed(why) => self.problem = Some(why),
            _ if self.is_paused => {}
            Update::Snapshot(snapshot) => {
                let counters = match &snapshot.status {
                    Status::Peer(s) => &s.counters,
                    Status::Seed(s) => &s.counters,
                };
                self.rates.update(counters, snapshot.at);
                self.problem = None;
                self.snapshot = Some(snapshot);
            }
            Update::Event(event) => {
                if self.events.len() >= MAX_EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            Update::Missed(n) => {
                self.problem = Some(format!("{n} events came faster than they could be shown"));
            }
        }
    }

    fn show_content(&mut self, message: &FullMessage) {
        if self.requested.take().is_some_and(|id| id == message.id)
            && let Some(lines) = &mut self.detail
        {
            lines.extend(rows::content(message));
        }
    }

    /// The lines of this tab, filtered and sorted; the overview has none.
    pub(super) fn listing(&self) -> Option<Listing> {
        let mut listing = rows::of(self.tab, self.snapshot.as_deref(), &self.events)?;
        let list = self.list();
        listing.keep(&list.filter);
        if let Some(column) = list.sort {
            listing.sort(column);
        }
        Some(listing)
    }

    /// The state of the list of this tab.
    pub(super) fn list(&self) -> &ListState {
        &self.lists[self.tab.index()]
    }

    fn list_mut(&mut self) -> &mut ListState {
        &mut self.lists[self.tab.index()]
    }

    /// Applies a key; some keys make a request.
    pub(super) fn key(&mut self, event: Event) -> Option<Request> {
        let Event::Key(key) = event else { return None };
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Some(Request::Quit);
        }
        if self.edits_filter {
            self.edit_filter(key);
            return None;
        }
        if self.detail.take().is_some() {
            // The key that closes the details does nothing else, unless it is that of a page.
            if !matches!(key.code, KeyCode::Char('0'..='9')) {
                return None;
            }
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Request::Quit),
            KeyCode::Char(digit @ '0'..='4') => self.tab = Tab::of_digit(digit).unwrap_or(self.tab),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.tab = self.tab.beside(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.tab = self.tab.beside(Tab::ALL.len() - 1);
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_cursor(|line| line.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.move_cursor(|line| line.saturating_add(1)),
            KeyCode::PageUp => self.move_cursor(|line| line.saturating_sub(PAGE_LINES)),
            KeyCode::PageDown => self.move_cursor(|line| line.saturating_add(PAGE_LINES)),
            KeyCode::Home | KeyCode::Char('g') => self.move_cursor(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.move_cursor(|_| usize::MAX),
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.edits_filter = self.tab != Tab::Overview,
            KeyCode::Char('s') => self.sort_by_next_column(),
            KeyCode::Enter => return self.open_details(),
            _ => {}
        }
        None
    }

    fn edit_filter(&mut self, key: KeyEvent) {
        let filter = &mut self.list_mut().filter;
        match key.code {
            KeyCode::Enter => self.edits_filter = false,
            KeyCode::Esc => {
                filter.clear();
                self.edits_filter = false;
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) if filter.chars().count() < MAX_FILTER => filter.push(c),
            _ => {}
        }
        self.move_cursor(|_| 0);
    }

    fn move_cursor(&mut self, to: impl Fn(usize) -> usize) {
        let last = self.listing().map_or(0, |l| l.rows.len().saturating_sub(1));
        let list = self.list_mut();
        list.line = to(list.line.min(last)).min(last);
    }

    fn sort_by_next_column(&mut self) {
        let Some(columns) = self.listing().map(|l| l.heading.len()) else { return };
        let list = self.list_mut();
        let next = list.sort.map_or(0, |c| c + 1);
        list.sort = (next < columns).then_some(next);
    }

    /// Shows the line under the cursor in full.
    fn open_details(&mut self) -> Option<Request> {
        let listing = self.listing()?;
        let row = listing.rows.get(self.list().line.min(listing.rows.len().checked_sub(1)?))?;
        self.detail = Some(row.detail.clone());
        self.requested.clone_from(&row.message);
        row.message.clone().map(Request::Content)
    }
}

//! Drawing the model on the screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, TableState, Tabs, Wrap};
use rumormill_http::view::{PeerStatus, SeedLine, SeedStatus, Status};
use rumormill_terminal::escape;
use rumormill_units::count::counted;
use rumormill_units::{duration, size};

use super::model::Model;
use super::rows::{self, Listing, Tone};
use super::tab::Tab;
use crate::text::short_id;

/// Draws the whole view.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let [title, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let paint = Paint(model.colours);
    frame.render_widget(head(model, paint), title);
    let titles = Tab::ALL.map(Tab::title);
    let shown = Tabs::new(titles).select(model.tab.index()).divider(" ").padding(" ", " ");
    frame.render_widget(shown.highlight_style(Style::new().add_modifier(Modifier::REVERSED)), tabs);
    match model.listing() {
        Some(listing) => list(frame, body, model, listing, paint),
        None => overview(frame, body, model, paint),
    }
    frame.render_widget(keys(model, paint), foot);
    if let Some(lines) = &model.detail {
        detail(frame, lines);
    }
}

/// The styles of the view; without colours, bold and reverse text replace them.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn tone(self, tone: Tone) -> Style {
        let (colour, otherwise) = match tone {
            Tone::Plain => return Style::new(),
            Tone::Good => (Color::Green, Modifier::empty()),
            Tone::Odd => (Color::Yellow, Modifier::BOLD),
            Tone::Bad => (Color::Red, Modifier::BOLD),
        };
        if self.0 { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    fn dim(self) -> Style {
        if self.0 { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }
}

fn head(model: &Model, paint: Paint) -> Line<'static> {
    let Some(snapshot) = &model.snapshot else { return Line::raw("rumor: asking the node…") };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (name, id, state, tone, alive, uptime) = match &snapshot.status {
        Status::Peer(s) => {
            let tone = if s.state == "joined" { Tone::Good } else { Tone::Odd };
            (&s.name, &s.id, s.state.clone(), tone, s.alive, s.uptime_s)
        }
        Status::Seed(s) => {
            let (state, tone) =
                if s.synced { ("synced", Tone::Good) } else { ("not synced", Tone::Odd) };
            (&s.name, &s.id, state.to_owned(), tone, s.alive, s.uptime_s)
        }
    };
    let role = match snapshot.status {
        Status::Peer(_) => "peer",
        Status::Seed(_) => "seed",
    };
    let mut spans = vec![
        Span::styled(escape::text(name), bold),
        Span::raw(format!("  {role} {}  ", short_id(id))),
        Span::styled(escape::text(&state), paint.tone(tone)),
        Span::raw(format!("  {alive} alive  up {}", duration::show(seconds(uptime)))),
    ];
    if model.is_paused {
        spans.push(Span::styled("  PAUSED", Style::new().add_modifier(Modifier::REVERSED)));
    }
    Line::from(spans)
}

fn seconds(s: f64) -> Duration {
    Duration::from_secs(Duration::try_from_secs_f64(s.max(0.0)).unwrap_or_default().as_secs())
}

fn keys(model: &Model, paint: Paint) -> Line<'static> {
    if let Some(problem) = &model.problem {
        return Line::styled(escape::text(problem), paint.tone(Tone::Bad));
    }
    if model.edits_filter {
        let typed = escape::text(&model.list().filter);
        return Line::raw(format!("filter: {typed}▏  Enter keeps it, Esc clears it"));
    }
    let text = match model.tab {
        Tab::Overview => "0-4 Tab pages  p pause  q quit",
        _ => "0-4 Tab pages  ↑↓ move  Enter details  / filter  s sort  p pause  q quit",
    };
    Line::styled(text, paint.dim())
}

fn list(frame: &mut Frame<'_>, area: Rect, model: &mut Model, listing: Listing, paint: Paint) {
    let sort = model.list().sort;
    let columns = listing.heading.len();
    let heading = listing.heading.iter().enumerate().map(|(n, (name, _))| {
        if sort == Some(n) { format!("{name}▾") } else { (*name).to_owned() }
    });
    let heading = Row::new(heading).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = listing.heading.iter().enumerate().map(|(n, (_, width))| {
        if n + 1 == columns { Constraint::Fill(1) } else { Constraint::Length(*width) }
    });
    let widths: Vec<Constraint> = widths.collect();
    let filter = model.list().filter.clone();
    if listing.rows.is_empty() {
        let text = if filter.is_empty() {
            listing.empty.to_owned()
        } else {
            format!("nothing here has {:?} in it", escape::text(&filter))
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let all = listing.rows.len();
    let rows = listing.rows.into_iter().map(|r| Row::new(r.cells).style(paint.tone(r.tone)));
    let table = Table::new(rows, widths)
        .header(heading)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let state = &mut model.lists[model.tab.index()];
    state.line = state.line.min(all - 1);
    let mut selected = TableState::default().with_selected(Some(state.line));
    frame.render_stateful_widget(table, area, &mut selected);
}

fn overview(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(snapshot) = &model.snapshot else { return };
    let lines = match &snapshot.status {
        Status::Peer(s) => peer(s, paint),
        Status::Seed(s) => seed(s, paint),
    };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height);
    let [above, middle, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Length(9), Constraint::Min(0)])
            .areas(area);
    frame.render_widget(Paragraph::new(lines), above);
    rates(frame, middle, model);
    let latest: Vec<Line<'_>> = rows::of(Tab::Events, None, &model.events)
        .map(|l| l.rows)
        .unwrap_or_default()
        .into_iter()
        .map(|r| Line::styled(r.cells.join("  "), paint.tone(r.tone)))
        .collect();
    frame.render_widget(Paragraph::new(latest), below);
}

/// Draws the rates, two in a row, so that four fit.
fn rates(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let rows = Layout::vertical([Constraint::Length(4), Constraint::Length(4)]).split(area);
    for (row, pair) in rows.iter().zip(model.rates.all.chunks(2)) {
        let halves =
            Layout::horizontal([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]).split(*row);
        for (half, rate) in halves.iter().zip(pair) {
            let now = rate.seconds.back().copied().unwrap_or(0);
            let most = rate.seconds.iter().copied().max().unwrap_or(0);
            let show = |n: u64| {
                if rate.name.starts_with("bytes") { size::show(n) } else { n.to_string() }
            };
            let title = format!("{} {}/s, most {}", rate.name, show(now), show(most));
            // The newest at the right, as many as there is room for.
            let room = usize::from(half.width.saturating_sub(1));
            let skip = rate.seconds.len().saturating_sub(room);
            let bars: Vec<u64> = rate.seconds.iter().skip(skip).copied().collect();
            let block = Block::new().title(title);
            frame.render_widget(Sparkline::default().block(block).data(bars), *half);
        }
    }
}

fn peer(s: &PeerStatus, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::raw(format!(
            "neighbours  {} (target {})      members  {} alive, {} say the seeds",
            s.degree, s.target, s.alive, s.network_size
        )),
        Line::raw(format!(
            "messages    {} published, {} retained ({})      incarnation {}",
            s.published,
            s.retained_messages,
            size::show(s.retained_bytes),
            s.incarnation
        )),
        Line::raw(format!(
            "seeds       registered at {} of {}, {} needed",
            s.registrations,
            s.seeds.len(),
            s.seed_quorum
        )),
    ];
    lines.extend(s.seeds.iter().map(|seed| seed_line(seed, "registered", "not registered", paint)));
    lines
}

fn seed(s: &SeedStatus, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::raw(format!(
            "registry    {} alive, {} linked here, {} in the table",
            s.alive, s.connected_peers, s.entries
        )),
        Line::raw(format!(
            "deaths      {}, {} needed",
            counted(s.cases, "open case"),
            counted(s.seed_quorum, "vote")
        )),
        Line::raw("other seeds"),
    ];
    lines.extend(s.seeds.iter().map(|seed| seed_line(seed, "compared", "not compared", paint)));
    lines
}

fn seed_line(s: &SeedLine, yes: &str, no: &str, paint: Paint) -> Line<'static> {
    let link = if s.connected { "linked" } else { "no link" };
    let state = if s.registered { yes } else { no };
    let delay = s.reply_delay_ms.map(|d| format!(", {d:.1} ms")).unwrap_or_default();
    let tone = if s.connected && s.registered { Tone::Good } else { Tone::Odd };
    let text = format!("  {:<24} {link}, {state}{delay}", escape::text(&s.address));
    Line::styled(text, paint.tone(tone))
}

/// Draws the details over the rest of the view.
fn detail(frame: &mut Frame<'_>, lines: &[String]) {
    let all = frame.area();
    let area = Rect {
        x: all.x + 2.min(all.width),
        y: all.y + 2.min(all.height),
        width: all.width.saturating_sub(4),
        height: all.height.saturating_sub(3),
    };
    let text: Vec<Line<'_>> = lines.iter().map(|l| Line::raw(l.as_str())).collect();
    let block = Block::bordered().title(" details, any key closes them ");
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

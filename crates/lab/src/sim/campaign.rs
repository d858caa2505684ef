//! One run, or many runs on all processors, with progress.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rumormill_sim::campaign::{Point, SeedRange, merge, points, summarise};
use rumormill_sim::play::{MeasureOptions, Phase, PlayError, Progress, ProgressReply, play};
use rumormill_sim::{Report, scenario};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::progress::{self, ProgressBar};
use rumormill_terminal::signals::StopSignals;
use rumormill_terminal::usage::Usage;
use rumormill_terminal::{escape, out};
use rumormill_units::duration;
use tokio::sync::mpsc;

use super::args::PlayArgs;
use super::files::{self, builtin, shown_path};
use super::show::print;

/// The runs to make.
struct Plan {
    base: toml::Table,
    points: Vec<Point>,
    jobs: usize,
    measures: MeasureOptions,
    fail_fast: bool,
    /// The arguments that name the scenario.
    scenario_args: String,
}

/// A run and its result.
type FinishedRun = (Point, Result<Report, PlayError>);

impl Plan {
    fn new(args: &PlayArgs) -> Outcome<Self> {
        let (text, named) = match (&args.file, &args.builtin) {
            (Some(path), _) => (files::scenario(path)?, shown_path(path)),
            (None, Some(name)) => (builtin(name)?.text.to_owned(), format!("--builtin {name}")),
            (None, None) => {
                let what = "name a scenario: a file, or --builtin NAME (--list has the names)";
                return Err(Failure::new(Exit::Usage, what));
            }
        };
        let wrong = |e: &dyn std::fmt::Display| {
            Failure::new(Exit::Config, format!("{named} cannot be run: {e}"))
        };
        // Errors in the text itself name the line.
        scenario::Scenario::parse(&text).map_err(|e| wrong(&e))?;
        let mut base: toml::Table = text.parse().map_err(|e| wrong(&e))?;
        let mut named = named.clone();
        if let Some(n) = args.peers {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            base.insert("peers".to_owned(), toml::Value::Integer(n));
            named += &format!(" --peers {n}");
        }
        let (mut seeds, mut sweeps) = (args.seeds, args.sweep.clone());
        for change in &args.set {
            let [value] = change.values.as_slice() else {
                let what = format!("--set {}: it takes one value; see --sweep", change.path);
                return Err(Failure::new(Exit::Usage, what));
            };
            scenario::set(&mut base, &change.path, value.clone()).map_err(|e| wrong(&e))?;
            named += &format!(" --set {}={value}", change.path);
        }
        let seeds = *seeds.get_or_insert(SeedRange::from(args.seed, 1));
        let points = points(seeds, &std::mem::take(&mut sweeps), args.shard)
            .map_err(|e| Failure::new(Exit::Usage, e))?;
        for p in points.iter().take(1 + args.sweep.iter().map(|s| s.values.len()).sum::<usize>()) {
            p.scenario(&base).map_err(|e| wrong(&e))?;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = args.jobs.map_or(processors, |j| usize::try_from(j).unwrap_or(1));
        Ok(Plan {
            base,
            jobs: jobs.min(points.len()).max(1),
            measures: MeasureOptions { replicates: args.replicates, graph: points.len() == 1 },
            points,
            fail_fast: args.fail_fast,
            scenario_args: named,
        })
    }

    /// The command that repeats one run.
    fn repeat(&self, point: &Point) -> String {
        let set: String = point.settings().iter().map(|(p, v)| format!(" --set {p}={v}")).collect();
        format!("rumor-lab sim {}{set} --seed {}", self.scenario_args, point.seed)
    }
}

/// Runs all that the command line asks for.
pub(super) fn run(args: &PlayArgs) -> Outcome {
    let plan = Arc::new(Plan::new(args)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(collect(plan, args.json, args.out.clone()))
}

/// Distributes the runs to threads, and collects the reports.
async fn collect(plan: Arc<Plan>, json: bool, to: Option<PathBuf>) -> Outcome {
    let mut stops = StopSignals::catch()?;
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    // A single run advances in thousandths of its virtual time.
    let steps = if plan.points.len() == 1 { 1000 } else { plan.points.len() as u64 };
    let bar = progress::bar(steps);
    let (reports, mut ran) = mpsc::channel::<FinishedRun>(64);
    let threads: Vec<_> = (0..plan.jobs)
        .map(|_| {
            let (plan, next, stop) = (plan.clone(), next.clone(), stop.clone());
            let (reports, bar) = (reports.clone(), bar.clone());
            std::thread::spawn(move || work(&plan, &next, &stop, &bar, &reports))
        })
        .collect();
    drop(reports);
    let mut tally = Tally { plan: &plan, json, to, done: Vec::new(), failed: 0, stopped: false };
    loop {
        tokio::select! {
            one = ran.recv() => match one {
                Some((point, result)) => {
                    let outcome = bar.suspend(|| tally.record(&point, result));
                    if outcome.is_err() || (plan.fail_fast && tally.failed > 0) {
                        stop.store(true, Ordering::Relaxed);
                        outcome?;
                    }
                }
                None => break,
            },
            () = stops.next() => {
                stop.store(true, Ordering::Relaxed);
                tally.stopped = true;
            }
        }
    }
    bar.finish_and_clear();
    for thread in threads {
        if thread.join().is_err() {
            return Err(Failure::new(
                Exit::Failed,
                "a run panicked: this is a bug of the program, please report it",
            ));
        }
    }
    tally.end()
}

/// The work of one thread: makes the next run until there is none left.
fn work(
    plan: &Plan,
    next: &AtomicUsize,
    stop: &AtomicBool,
    bar: &ProgressBar,
    reports: &mpsc::Sender<FinishedRun>,
) {
    let alone = plan.points.len() == 1;
    while !stop.load(Ordering::Relaxed) {
        let Some(point) = plan.points.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
        let before = Usage::of_this_process().map_or(0, |u| u.rss_kib);
        let began = Instant::now();
        let mut on_progress = |p: Progress| {
            if alone {
                show_progress(bar, &p, began);
            }
            if stop.load(Ordering::Relaxed) { ProgressReply::Stop } else { ProgressReply::Continue }
        };
        let played = point
            .scenario(&plan.base)
            .map_err(PlayError::from)
            .and_then(|s| play(&s, point.seed, plan.measures, &mut on_progress));
        let result = played.map(|mut report| {
            report.set = point.settings();
            let seconds = began.elapsed().as_secs_f64();
            report.cost.wall_seconds = Some(seconds);
            report.cost.events_per_second = Some(report.events as f64 / seconds.max(1e-9));
            if plan.jobs == 1 {
                let grown =
                    Usage::of_this_process().map_or(0, |u| u.rss_kib).saturating_sub(before);
                report.cost.bytes_per_peer = Some(grown * 1024 / report.peers.max(1) as u64);
            }
            report
        });
        if !alone {
            bar.inc(1);
            show_runs(bar);
        }
        if reports.blocking_send((point.clone(), result)).is_err() {
            return;
        }
    }
}

fn show_runs(bar: &ProgressBar) {
    let (made, all) = (bar.position(), bar.length().unwrap_or_default());
    bar.set_message(format!("{made}/{all} runs, {} to go", duration::show(bar.eta())));
}

fn show_progress(bar: &ProgressBar, p: &Progress, began: Instant) {
    let part = p.time.as_secs_f64() / p.end.as_secs_f64().max(1e-9);
    bar.set_position((part * 1000.0) as u64);
    let phase = match p.phase {
        Phase::Joining => "joining",
        Phase::Active => "active",
        Phase::Calm => "calm",
        Phase::Replaying => "final checks",
        Phase::Measuring => "measuring",
    };
    let rate = p.events as f64 / began.elapsed().as_secs_f64().max(1e-9);
    bar.set_message(format!(
        "{phase}, {} of virtual time, {:.0} events/s",
        duration::show(p.time),
        rate
    ));
}

/// The results of all runs so far.
struct Tally<'a> {
    plan: &'a Plan,
    json: bool,
    to: Option<PathBuf>,
    done: Vec<Report>,
    failed: usize,
    stopped: bool,
}

impl Tally<'_> {
    fn record(&mut self, point: &Point, result: Result<Report, PlayError>) -> Outcome<()> {
        let mut report = match result {
            Ok(report) => report,
            Err(PlayError::Stopped) => return Ok(()),
            Err(e) => return Err(Failure::new(Exit::Config, e)),
        };
        self.failed += usize::from(!report.passed);
        if let Some(dir) = &self.to {
            files::write_to(dir, &report)?;
        }
        let alone = self.plan.points.len() == 1;
        if self.json || alone {
            print(self.json, &report)?;
        }
        if !report.passed {
            self.print_failure(point, &report);
        }
        // Thousands of reports are kept for the summary, without their largest parts.
        report.graph = None;
        report.robustness.clear();
        report.propagation = report.propagation.map(|mut p| {
            p.curve = p.curve.pop().into_iter().collect();
            p
        });
        self.done.push(report);
        Ok(())
    }

    /// Prints a failed run to standard error.
    fn print_failure(&self, point: &Point, report: &Report) {
        let paint = out::Paint::stderr();
        out::say(format!("{} {} seed {}", paint.red("FAILED"), report.scenario, report.seed));
        for p in &report.problems {
            out::say(format!("  {}", escape::text(p)));
        }
        if let Some(f) = &report.failure {
            let at = f.at_seconds;
            out::say(format!(
                "first broken: {} at {at:.3} s: {}",
                f.promise,
                escape::text(&f.what)
            ));
            for line in &f.trace {
                out::say(format!("  {}", escape::text(line)));
            }
        }
        out::say(format!("again: {}", self.plan.repeat(point)));
    }

    fn end(self) -> Outcome {
        if self.plan.points.len() > 1 && !self.json {
            let all = merge(self.done).map_err(|e| Failure::new(Exit::Failed, e))?;
            for s in summarise(&all) {
                print(false, &s)?;
            }
        }
        Ok(match (self.failed, self.stopped) {
            (_, true) => Exit::Interrupted,
            (0, _) => Exit::Ok,
            _ => Exit::Failed,
        })
    }
}

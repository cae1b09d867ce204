//! `naru journal`: the runs of a cluster that were made from this machine, and what happened in one.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use naru_plan::Colour;

use super::{Format, json, print};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::runs::{Run, RunOutcome, StepState, journals, read};
use crate::screen::seconds;
use crate::session::{InventoryFlag, read_inventory};
use crate::style::{BAD, BOLD, DIM, GOOD, WARN, indent, paint, plural};
use crate::table::table;

/// Older runs are not listed unless asked for.
const LISTED_RUNS: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 done, 1 a mistake of yours, 2 a journal cannot be read.")]
pub(crate) struct Journal {
    /// Show this run; its name or the beginning of it, as the list shows it.
    #[arg(value_name = "RUN", conflicts_with = "last")]
    run: Option<String>,
    /// Show the last run.
    #[arg(long)]
    last: bool,
    /// List all runs, not only the newest.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    inventory: InventoryFlag,
    /// The cluster by its name, without an inventory.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    cluster: Option<String>,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Journal {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<Exit, Failure> {
        let cluster = match &self.cluster {
            // It becomes the name of a folder.
            Some(name) if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') => {
                return Err(Failure::user(format!("`{name}` is no name of a cluster")));
            }
            Some(name) => name.clone(),
            None => read_inventory(&self.inventory.file)?.name().to_owned(),
        };
        let folder = naru_execute::cluster_folder(&cluster);
        if self.last || self.run.is_some() {
            let run = self.chosen(&folder, &cluster)?;
            return match self.output {
                Format::Json => print(&json(&run)),
                Format::Text => print(&render(&run, terminal.stdout)),
            };
        }
        let paths = journals(&folder)?;
        let limit = if self.all { usize::MAX } else { LISTED_RUNS };
        let mut runs = Vec::new();
        for path in paths.iter().take(limit) {
            runs.push(Run { steps: Vec::new(), remarks: Vec::new(), ..read(path)? });
        }
        match self.output {
            Format::Json => print(&json(&runs)),
            Format::Text => print(&list(&cluster, &folder, &runs, paths.len())),
        }
    }

    fn chosen(&self, folder: &Path, cluster: &str) -> Result<Run, Failure> {
        let paths = journals(folder)?;
        let Some(wanted) = &self.run else {
            let path = paths.first().ok_or_else(|| none(cluster, folder))?;
            return read(path);
        };
        let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let matching: Vec<_> = paths.iter().filter(|path| name(path).starts_with(wanted.as_str())).collect();
        match matching.as_slice() {
            [path] => read(path),
            [] => {
                Err(Failure::user(format!("cluster {cluster} has no run {wanted}")).hint("`naru journal` lists them"))
            }
            several => match several.iter().find(|path| name(path) == *wanted) {
                Some(path) => read(path),
                None => Err(Failure::user(format!(
                    "{} of cluster {cluster} begin with {wanted}",
                    plural(several.len(), "run")
                ))
                .hint("give more of its name")),
            },
        }
    }
}

fn none(cluster: &str, folder: &Path) -> Failure {
    Failure::user(format!("there is no run of cluster {cluster} from this machine"))
        .detail(format!("journals would lie in {}", folder.display()))
}

fn word(outcome: RunOutcome) -> (&'static str, &'static str) {
    match outcome {
        RunOutcome::Done => ("done", GOOD),
        RunOutcome::Failed => ("FAILED", BAD),
        RunOutcome::Interrupted => ("interrupted", WARN),
        RunOutcome::Unfinished => ("no end", WARN),
    }
}

fn moment(time: Option<Timestamp>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn who(run: &Run) -> String {
    if run.owner.is_empty() { "-".to_owned() } else { run.owner.clone() }
}

fn list(cluster: &str, folder: &Path, runs: &[Run], of: usize) -> String {
    if runs.is_empty() {
        return format!("There is no run of cluster {cluster} from this machine (in {}).\n", folder.display());
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let counts = format!("{}/{}", run.succeeded, run.planned);
            let failed = if run.failed + run.skipped == 0 {
                "-".to_owned()
            } else {
                format!("{} failed, {} not done", run.failed, run.skipped)
            };
            let outcome = word(run.outcome).0.to_owned();
            vec![run.run.clone(), moment(run.started), who(run), outcome, counts, failed, seconds(run.elapsed_ms)]
        })
        .collect();
    let mut text = table(&["RUN", "TIME", "WHO", "OUTCOME", "STEPS", "FAILURES", "TOOK"], &rows);
    if of > runs.len() {
        let _ = writeln!(text, "… and {} (--all shows them)", plural(of - runs.len(), "older run"));
    }
    text
}

fn render(run: &Run, colour: Colour) -> String {
    let (outcome, code) = word(run.outcome);
    let mut text = format!("{}  {}", paint(&run.run, BOLD, colour), moment(run.started));
    if !run.owner.is_empty() {
        let _ = write!(text, "  {}", run.owner);
    }
    text.push_str("\n\n");
    for step in &run.steps {
        let (mark, code) = match step.state {
            StepState::Done => ("✓", GOOD),
            StepState::Failed => ("✗", BAD),
            StepState::Skipped => ("-", DIM),
            StepState::Begun => ("?", WARN),
        };
        let clock = step.time.map_or_else(|| "        ".to_owned(), clock);
        let took = step.elapsed_ms.map(|elapsed| format!(" ({})", seconds(elapsed))).unwrap_or_default();
        let state = match step.state {
            StepState::Done => String::new(),
            StepState::Failed => ": FAILED".to_owned(),
            StepState::Skipped => ": not done".to_owned(),
            StepState::Begun => ": begun, and no end of it was written".to_owned(),
        };
        let retries = match step.retries {
            0 => String::new(),
            count => format!(", {} before", plural(count, "failed try").replace("trys", "tries")),
        };
        let _ = writeln!(
            text,
            "  {clock} {} {}: {}{took}{state}{retries}",
            paint(mark, code, colour),
            step.host,
            step.title
        );
        for line in step.changes.iter().chain(&step.why) {
            let _ = writeln!(text, "{}", indent(line, "               "));
        }
    }
    for remark in &run.remarks {
        let _ = writeln!(text, "  note: {remark}");
    }
    let took = seconds(run.elapsed_ms);
    let Run { succeeded, planned, failed, skipped, .. } = run;
    let totals = format!("{succeeded} of {planned} steps done, {failed} failed, {skipped} not done, in {took}.");
    let _ = writeln!(text, "\n{}: {totals}", paint(outcome, code, colour));
    if run.outcome == RunOutcome::Unfinished {
        text.push_str("The journal has no end: the run was killed, or it still goes on.\n");
    }
    if run.damaged_lines > 0 {
        let _ = writeln!(text, "{} of it cannot be read.", plural(run.damaged_lines, "line"));
    }
    text
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

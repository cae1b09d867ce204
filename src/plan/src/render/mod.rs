//! The plan on the screen: what was found, per host what is made, changed and removed, with file diffs, reasons and
//! what restarts, then what users will miss, what is not done and why, and the totals. Hosts with the same changes are
//! shown once, so that a plan for a thousand hosts can be read.

mod fold;

use std::fmt::Write as _;

use naru_resources::{Change, Disruption};

use crate::{Action, Finding, Note, NoteKind, Plan, Severity, Step};

use fold::Block;

/// Longer diffs are cut; the whole one is in the saved plan.
const MAX_DIFF_LINES: usize = 60;
/// Lines of the same kind that are shown one by one before the rest is counted.
const MAX_LINES: usize = 20;
/// Wider columns are not aligned.
const MAX_COLUMN: usize = 24;

/// Colour is never the only carrier of meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Never,
    Always,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

#[must_use]
pub fn render(plan: &Plan, colour: Colour) -> String {
    let mut text = String::new();
    findings(&mut text, &plan.findings, colour);
    for block in fold::blocks(plan) {
        render_block(&mut text, &block, colour);
        text.push('\n');
    }
    if !plan.unavailable.is_empty() {
        let _ = writeln!(text, "{}", paint("unavailable for a while", YELLOW, colour));
        limited(&mut text, plan.unavailable.iter().map(|line| format!("  {line}")).collect());
        text.push('\n');
    }
    notes(&mut text, plan, colour);
    text.push_str(&totals(plan));
    text
}

/// One table of all that was found.
fn findings(text: &mut String, findings: &[Finding], colour: Colour) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(text, "{}", paint("preflight", BOLD, colour));
    let folded = fold::findings(findings);
    let width = |column: fn(&fold::Row) -> &str| {
        folded.iter().map(|row| column(row).chars().count()).max().unwrap_or(0).min(MAX_COLUMN)
    };
    let (hosts, codes) = (width(|row| &row.hosts), width(|row| &row.code));
    let mut lines = Vec::new();
    for row in &folded {
        let (word, code) = match row.severity {
            Severity::Error => ("error  ", RED),
            Severity::Warning => ("warning", YELLOW),
        };
        let word = paint(word, code, colour);
        let mut line = format!("  {word}  {:hosts$}  {:codes$}  {}", row.hosts, row.code, row.text);
        if let Some(hint) = &row.hint {
            let _ = write!(
                line,
                "\n{:indent$}  {}",
                "",
                paint(&format!("hint: {hint}"), DIM, colour),
                indent = 9 + hosts + 2 + codes + 2
            );
        }
        lines.push(line);
    }
    limited(text, lines);
    text.push('\n');
}

fn limited(text: &mut String, lines: Vec<String>) {
    let hidden = lines.len().saturating_sub(MAX_LINES);
    for line in lines.into_iter().take(MAX_LINES) {
        let _ = writeln!(text, "{line}");
    }
    if hidden > 0 {
        let _ = writeln!(text, "  … and {hidden} more (see a saved plan: -o plan.json)");
    }
}

fn render_block(text: &mut String, block: &Block<'_>, colour: Colour) {
    let _ = writeln!(text, "{}{}", paint(&block.title, BOLD, colour), block.about);
    for step in &block.steps {
        render_step(text, step, colour);
    }
}

fn render_step(text: &mut String, step: &Step, colour: Colour) {
    let _ = writeln!(text, "  {}", paint(&titled(step), DIM, colour));
    for change in &step.changes {
        render_change(text, change, colour);
    }
    for reason in &step.reasons {
        let _ = writeln!(text, "    {} {}", paint("·", CYAN, colour), paint(reason, DIM, colour));
    }
}

/// The title, with the version that a step of a ladder leads to.
fn titled(step: &Step) -> String {
    let rung = step.id.split('/').nth(1).filter(|_| step.id.split('/').count() > 2);
    match rung {
        Some(version) => format!("{version}: {}", step.title),
        None => step.title.clone(),
    }
}

fn render_change(text: &mut String, change: &Change, colour: Colour) {
    let symbol = match &change.disruption {
        Some(Disruption::StartUnit(_)) | None => symbol(&change.summary),
        Some(_) => '!',
    };
    let code = match symbol {
        '+' => GREEN,
        '-' | '!' => RED,
        _ => YELLOW,
    };
    let _ = writeln!(text, "    {} {}", paint(&symbol.to_string(), code, colour), change.summary);
    // A file that is not there yet differs in every line; its name says enough.
    let diff = change.diff.as_deref().filter(|diff| !diff.starts_with("--- /dev/null"));
    for line in diff.iter().flat_map(|diff| diff.lines()).take(MAX_DIFF_LINES) {
        let code = match line.bytes().next() {
            Some(b'+') => GREEN,
            Some(b'-') => RED,
            _ => DIM,
        };
        let _ = writeln!(text, "        {}", paint(line, code, colour));
    }
    let hidden = diff.map_or(0, |diff| diff.lines().count().saturating_sub(MAX_DIFF_LINES));
    if hidden > 0 {
        let _ = writeln!(text, "        … {hidden} more lines (see a saved plan: -o plan.json)");
    }
}

/// What a change does, from the verb that its summary begins with.
fn symbol(summary: &str) -> char {
    match summary.split([' ', ',']).next().unwrap_or_default() {
        "create" | "install" | "import" | "make" | "upload" | "load" | "build" | "issue" | "start" | "enable"
        | "copy" | "add" => '+',
        "remove" | "delete" | "stop" | "disable" | "turn" => '-',
        "run" => '>',
        _ => '~',
    }
}

fn notes(text: &mut String, plan: &Plan, colour: Colour) {
    for note in fold::notes(&plan.notes) {
        let Note { kind, host, text: primary, detail, hint } = note;
        let (word, code) = match kind {
            NoteKind::Remark => ("note", CYAN),
            NoteKind::Later => ("later", CYAN),
            NoteKind::Skipped => ("skipped", RED),
            NoteKind::Refused => ("refused", RED),
        };
        let host = host.as_deref().map(|host| format!("{host}: ")).unwrap_or_default();
        let _ = writeln!(text, "{}: {host}{primary}", paint(word, code, colour));
        if let Some(detail) = detail {
            let _ = writeln!(text, "  {}", detail.trim_end().replace('\n', "\n  "));
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "  {}", paint(&format!("hint: {hint}"), DIM, colour));
        }
    }
    if !plan.notes.is_empty() {
        text.push('\n');
    }
}

type Counts = fn(&Disruption) -> bool;

/// Kinds of disruptions as they are counted, in the order of the last line.
const COUNTED: [(&str, Counts); 6] = [
    ("service start", |one| matches!(one, Disruption::StartUnit(_))),
    ("service restart", |one| matches!(one, Disruption::RestartUnit(_))),
    ("service stop", |one| matches!(one, Disruption::StopUnit(_))),
    ("drain", |one| matches!(one, Disruption::DrainNode(_))),
    ("node removed", |one| matches!(one, Disruption::RemoveNode(_))),
    ("reboot", |one| matches!(one, Disruption::Reboot(_))),
];
/// Of these even none is worth a word.
const ALWAYS_COUNTED: usize = 2;

fn totals(plan: &Plan) -> String {
    let name = plan.inventory.name();
    let hosts = plan.inventory.host_names().len();
    if plan.is_refused() {
        return format!("Cluster {name}: nothing can be done now.\n");
    }
    if plan.is_empty() {
        return match plan.notes.iter().any(|note| !matches!(note.kind, NoteKind::Later)) {
            false => format!("Nothing to do: cluster {name} is as {hosts} hosts of the inventory say.\n"),
            true => format!("Nothing to do in cluster {name} beyond what is said above.\n"),
        };
    }
    let mut touched: Vec<&str> = plan.steps.iter().map(|step| step.host.as_str()).collect();
    touched.sort_unstable();
    touched.dedup();
    let mut counts = Vec::new();
    for (index, (noun, is_one)) in COUNTED.iter().enumerate() {
        let count = plan.steps.iter().flat_map(|step| &step.disruptions).filter(|one| is_one(one)).count();
        if count > 0 || index < ALWAYS_COUNTED {
            counts.push(plural(count, noun));
        }
    }
    let batches = plan.steps.iter().filter_map(|step| step.batch).max().unwrap_or(0);
    if batches > 1 {
        counts.push(format!("in {batches} batches"));
    }
    let is_change = |step: &&Step| !matches!(step.action, Action::WaitForApi | Action::WaitForNode { .. });
    let changes: usize = plan.steps.iter().filter(is_change).map(|step| step.changes.len()).sum();
    format!(
        "Cluster {name}: {} on {} of {hosts} hosts, {}.\n",
        plural(changes, "change"),
        touched.len(),
        counts.join(", ")
    )
}

fn plural(count: usize, noun: &str) -> String {
    match (count, noun.split_once(' ')) {
        (1, _) => format!("1 {noun}"),
        (_, Some((first, "removed"))) => format!("{count} {first}s removed"),
        _ => format!("{count} {noun}s"),
    }
}

fn paint(text: &str, code: &str, colour: Colour) -> String {
    match colour {
        Colour::Never => text.to_owned(),
        Colour::Always => format!("\x1b[{code}m{text}\x1b[0m"),
    }
}

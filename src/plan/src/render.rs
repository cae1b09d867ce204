//! The plan on the screen: per host what is made, changed and removed, with file diffs, then what restarts, what is
//! not done and why, and the totals.

use std::fmt::Write as _;

use naru_inventory::Role;
use naru_resources::Disruption;

use crate::{Note, NoteKind, Plan, Step};

/// Longer diffs are cut; the whole one is in the saved plan.
const MAX_DIFF_LINES: usize = 60;

/// Colour is never the only carrier of meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Never,
    Always,
}

#[must_use]
pub fn render(plan: &Plan, colour: Colour) -> String {
    let mut text = String::new();
    let names = plan.inventory.host_names();
    for host in &names {
        let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.host == *host).collect();
        if !steps.is_empty() {
            heading(&mut text, plan, host, colour);
            for step in steps {
                render_step(&mut text, step, colour);
            }
            text.push('\n');
        }
    }
    notes(&mut text, plan, colour);
    text.push_str(&totals(plan, names.len()));
    text
}

fn heading(text: &mut String, plan: &Plan, host: &str, colour: Colour) {
    let known = plan.inventory.host(host);
    let about = known.map(|host| match host.role {
        Role::ControlPlane => format!("  {}, control plane", host.address),
        Role::Worker => format!("  {}, worker", host.address),
    });
    let _ = writeln!(text, "{}{}", paint(host, "1", colour), about.unwrap_or_default());
}

fn render_step(text: &mut String, step: &Step, colour: Colour) {
    let _ = writeln!(text, "  {}", paint(&step.title, "2", colour));
    for change in &step.changes {
        let symbol = match &change.disruption {
            Some(Disruption::RestartUnit(_)) => '!',
            _ => symbol(&change.summary),
        };
        let code = match symbol {
            '+' => "32",
            '-' => "31",
            _ => "33",
        };
        let _ = writeln!(text, "    {} {}", paint(&symbol.to_string(), code, colour), change.summary);
        // A file that is not there yet differs in every line; its name says enough.
        let diff = change.diff.as_deref().filter(|diff| !diff.starts_with("--- /dev/null"));
        for line in diff.iter().flat_map(|diff| diff.lines()).take(MAX_DIFF_LINES) {
            let code = match line.bytes().next() {
                Some(b'+') => "32",
                Some(b'-') => "31",
                _ => "2",
            };
            let _ = writeln!(text, "        {}", paint(line, code, colour));
        }
        let hidden = diff.map_or(0, |diff| diff.lines().count().saturating_sub(MAX_DIFF_LINES));
        if hidden > 0 {
            let _ = writeln!(text, "        … {hidden} more lines (see a saved plan: -o plan.json)");
        }
    }
}

/// What a change does, from the verb that its summary begins with.
fn symbol(summary: &str) -> char {
    match summary.split([' ', ',']).next().unwrap_or_default() {
        "create" | "install" | "import" | "make" | "upload" | "load" | "build" | "issue" | "start" | "enable" => '+',
        "remove" | "delete" | "stop" | "disable" | "turn" => '-',
        _ => '~',
    }
}

fn notes(text: &mut String, plan: &Plan, colour: Colour) {
    for note in &plan.notes {
        let Note { kind, host, text: primary, detail, hint } = note;
        let (word, code) = match kind {
            NoteKind::Remark => ("note", "36"),
            NoteKind::Later => ("later", "36"),
            NoteKind::Skipped => ("skipped", "31"),
            NoteKind::Refused => ("refused", "31"),
        };
        let host = host.as_deref().map(|host| format!("{host}: ")).unwrap_or_default();
        let _ = writeln!(text, "{}: {host}{primary}", paint(word, code, colour));
        if let Some(detail) = detail {
            let _ = writeln!(text, "  {}", detail.trim_end().replace('\n', "\n  "));
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
    if !plan.notes.is_empty() {
        text.push('\n');
    }
}

fn totals(plan: &Plan, hosts: usize) -> String {
    let name = plan.inventory.name();
    if plan.is_refused() {
        return format!("Cluster {name}: nothing can be done now.\n");
    }
    if plan.is_empty() {
        return match plan.is_incomplete() {
            false => format!("Nothing to do: cluster {name} is as {hosts} hosts of the inventory say.\n"),
            true => format!("Nothing to do on the hosts of cluster {name} that can be reached.\n"),
        };
    }
    let mut touched: Vec<&str> = plan.steps.iter().map(|step| step.host.as_str()).collect();
    touched.sort_unstable();
    touched.dedup();
    let count = |wanted: fn(&Disruption) -> bool| {
        plan.steps.iter().flat_map(|step| &step.disruptions).filter(|disruption| wanted(disruption)).count()
    };
    let restarts = count(|disruption| matches!(disruption, Disruption::RestartUnit(_)));
    let starts = count(|disruption| matches!(disruption, Disruption::StartUnit(_)));
    let changes: usize = plan.steps.iter().map(|step| step.changes.len()).sum();
    format!(
        "Cluster {name}: {} on {} of {hosts} hosts, {}, {}.\n",
        plural(changes, "change"),
        touched.len(),
        plural(starts, "service start"),
        plural(restarts, "service restart"),
    )
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn paint(text: &str, code: &str, colour: Colour) -> String {
    match colour {
        Colour::Never => text.to_owned(),
        Colour::Always => format!("\x1b[{code}m{text}\x1b[0m"),
    }
}

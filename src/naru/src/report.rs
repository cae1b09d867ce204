//! The last words of a run: what was done, what was not and why, and what to do next.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use naru_execute::{Outcome, Stopped};
use naru_plan::{NoteKind, Plan};

use crate::screen::seconds;
use crate::style::{names, plural};

/// Steps that are named one by one.
const MAX_NAMED: usize = 10;

pub(crate) fn summary(plan: &Plan, outcome: &Outcome) -> String {
    let finish = outcome.finish;
    let mut hosts: Vec<&str> = plan.steps.iter().map(|step| step.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let (steps, hosts) = (plural(finish.succeeded, "step"), plural(hosts.len(), "host"));
    if outcome.is_success() {
        return format!("\nDone: {steps} on {hosts} in {}.\n", seconds(finish.elapsed_ms));
    }
    let mut text = format!("\n{steps} of {} done in {}", plan.steps.len(), seconds(finish.elapsed_ms));
    if finish.failed > 0 {
        let _ = write!(text, ", {} FAILED", finish.failed);
    }
    if finish.skipped > 0 {
        let _ = write!(text, ", {} not done", finish.skipped);
    }
    text.push_str(".\n");
    let title = |id: &str| {
        let step = plan.steps.iter().find(|step| step.id == id);
        step.map_or_else(|| id.to_owned(), |step| format!("{}: {}", step.host, step.title))
    };
    list(&mut text, "Failed:", outcome.failed.iter().map(|(id, error)| format!("{}: {}", title(id), error.primary)));
    list(&mut text, "Left to do:", outcome.skipped.iter().map(|id| title(id)));
    match &outcome.stopped {
        Some(Stopped::Interrupted) => {
            text.push_str("It was interrupted. Run the same command again to go on from here.\n")
        }
        Some(stopped) => {
            let _ = writeln!(
                text,
                "It was stopped: {}. Look at what the other run does before you go on.",
                stopped.because()
            );
        }
        None => text.push_str("Run the same command again to go on from here.\n"),
    }
    text + &explain(plan, outcome)
}

fn list(text: &mut String, heading: &str, entries: impl ExactSizeIterator<Item = String>) {
    let count = entries.len();
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "{heading}");
    for entry in entries.take(MAX_NAMED) {
        let _ = writeln!(text, "  {entry}");
    }
    if count > MAX_NAMED {
        let _ = writeln!(text, "  … and {} more (naru journal --last)", count - MAX_NAMED);
    }
}

/// Who wants to know why a host fails asks for its chain.
fn explain(plan: &Plan, outcome: &Outcome) -> String {
    let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, _) in &outcome.failed {
        let host = plan.steps.iter().find(|step| step.id == *id).map_or("", |step| step.host.as_str());
        *failed.entry(host).or_default() += 1;
    }
    match failed.keys().next() {
        Some(host) if !host.is_empty() => format!("What is wrong with a host: naru explain {host}\n"),
        _ => String::new(),
    }
}

/// The hosts that the plan had to leave out: without this the last words of a run would be that all is done.
pub(crate) fn left_out(plan: &Plan) -> String {
    let skipped = plan.notes.iter().filter(|note| note.kind == NoteKind::Skipped);
    let mut hosts: Vec<&str> = skipped.filter_map(|note| note.host.as_deref()).collect();
    hosts.dedup();
    let Some(first) = hosts.first() else { return String::new() };
    format!(
        "Left out: {} (see above why, or naru explain {first}). Run the same command again for what is missing there.\n",
        names(&hosts)
    )
}

#[cfg(test)]
mod tests {
    use naru_execute::{Finish, StepError};
    use naru_plan::{Action, Note, Step};

    use super::*;

    fn plan(steps: usize) -> Plan {
        let step = |number: usize| Step::new(&format!("w{number}"), "node", "run the node", Action::Reset);
        let note = Note {
            kind: NoteKind::Skipped,
            host: Some("w99".to_owned()),
            text: "it cannot be reached".to_owned(),
            detail: None,
            hint: None,
        };
        Plan { notes: vec![note], ..Plan::of(crate::fake::inventory(), (0..steps).map(step).collect()) }
    }

    fn outcome(succeeded: usize, failed: usize, skipped: usize, stopped: Option<Stopped>) -> Outcome {
        let id = |number: usize| format!("w{number}/node");
        let error = StepError { primary: "no room".to_owned(), detail: None, hint: None };
        let finish = Finish { succeeded, failed, skipped, interrupted: stopped.is_some(), elapsed_ms: 12_345 };
        Outcome {
            finish,
            failed: (succeeded..succeeded + failed).map(|number| (id(number), error.clone())).collect(),
            skipped: (succeeded + failed..succeeded + failed + skipped).map(id).collect(),
            stopped,
        }
    }

    #[test]
    fn every_end_says_what_is_next() {
        insta::assert_snapshot!("done", summary(&plan(3), &outcome(3, 0, 0, None)));
        insta::assert_snapshot!("failed", summary(&plan(3), &outcome(1, 1, 1, None)));
        insta::assert_snapshot!("interrupted", summary(&plan(20), &outcome(2, 0, 18, Some(Stopped::Interrupted))));
        let lost = Stopped::LockLost { reason: "1 of 3 control planes answers".to_owned() };
        insta::assert_snapshot!("lost", summary(&plan(2), &outcome(1, 0, 1, Some(lost))));
        assert!(left_out(&plan(1)).starts_with("Left out: w99 "));
    }
}

//! What a run looks like. Work never prints: it sends events, and one of three faces shows them: live progress on a
//! terminal, plain lines elsewhere, NDJSON for programs. Every event but progress also goes into the journal.

mod json;
mod live;
mod plain;

use std::sync::{Arc, Mutex, PoisonError};

use naru_execute::{Event, Journal, Sink};
use naru_plan::{Colour, Plan};

use crate::cli::Terminal;

/// One way of showing a run.
pub(crate) trait Face: Send + Sync {
    fn event(&self, event: &Event);
    /// Something that happens before or between steps: machines being made, hosts being looked at.
    fn remark(&self, text: &str);
}

/// How output is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    /// One JSON document per line on standard output.
    Json,
}

/// The screen of one run.
#[derive(Clone)]
pub(crate) struct Screen {
    face: Arc<dyn Face>,
    journal: Arc<Mutex<Option<Journal>>>,
}

impl Screen {
    pub(crate) fn new(output: Output, terminal: Terminal) -> Self {
        let is_coloured = terminal.stderr == Colour::Always;
        let face: Arc<dyn Face> = match output {
            Output::Json => Arc::new(json::Json),
            Output::Text if terminal.is_live => Arc::new(live::Live::new(is_coloured)),
            Output::Text => Arc::new(plain::Plain::new()),
        };
        Self { face, journal: Arc::default() }
    }

    /// From now on events are kept in this journal as well.
    pub(crate) fn keep(&self, journal: Journal) {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(journal);
    }

    pub(crate) fn remark(&self, text: &str) {
        self.face.remark(text);
    }

    /// What is going to be done, for programs: as one document.
    pub(crate) fn plan(&self, plan: &Plan) {
        let steps = plan.steps.iter().map(|step| &step.id).collect::<Vec<_>>();
        json::Json::document(serde_json::json!({
            "event": "planned", "cluster": plan.inventory.name(), "fingerprint": plan.fingerprint, "steps": steps,
            "notes": plan.notes, "findings": plan.findings, "unavailable": plan.unavailable,
        }));
    }
}

impl Sink for Screen {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::StepProgress { .. }) {
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = journal.as_mut()
                && let Err(error) = open.append(event)
            {
                // A full disk here must not stop work on the hosts half way.
                self.face.remark(&format!("{error}; the run goes on without a journal"));
                *journal = None;
            }
        }
        self.face.event(event);
    }
}

pub(crate) fn seconds(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1_000, milliseconds % 1_000 / 100)
}

/// An error's lines, indented.
pub(crate) fn error_lines(error: &naru_execute::StepError) -> String {
    let mut text = error.primary.clone();
    for line in error.detail.iter().flat_map(|detail| detail.lines()) {
        text.push_str("\n    ");
        text.push_str(line);
    }
    if let Some(hint) = &error.hint {
        text.push_str("\n    hint: ");
        text.push_str(hint);
    }
    text
}

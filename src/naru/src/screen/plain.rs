//! Plain lines on standard error: `[ 12.3s] w1: run the node (0.8s)`.

use std::io::Write;
use std::time::Instant;

use naru_execute::Event;

use super::{Face, error_lines, seconds};

pub(crate) struct Plain {
    started: Instant,
}

impl Plain {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }

    fn line(&self, text: &str) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = writeln!(std::io::stderr().lock(), "[{:>6}] {text}", seconds(elapsed));
    }
}

/// The line for an event, if it has one.
pub(crate) fn line(event: &Event) -> Option<String> {
    match event {
        Event::StepStarted { host, title, .. } => Some(format!("{host}: {title} …")),
        Event::StepRetried { step, attempt, error } => {
            Some(format!("{step}: try {attempt} failed, again: {}", error.primary))
        }
        Event::StepSucceeded { host, title, elapsed_ms, .. } => {
            Some(format!("{host}: {title}: done in {}", seconds(*elapsed_ms)))
        }
        Event::StepFailed { host, title, error, .. } => {
            Some(format!("{host}: {title}: FAILED: {}", error_lines(error)))
        }
        Event::StepSkipped { host, title, because, .. } => Some(format!("{host}: {title}: not done, {because}")),
        Event::Remark { text } => Some(text.clone()),
        Event::Started { .. } | Event::StepProgress { .. } | Event::Finished(_) => None,
    }
}

impl Face for Plain {
    fn event(&self, event: &Event) {
        if let Some(text) = line(event) {
            self.line(&text);
        }
    }

    fn remark(&self, text: &str) {
        self.line(text);
    }
}

//! Live progress on a terminal: one line per running step, finished ones scroll away above.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use naru_execute::Event;

use super::{Face, error_lines, plain, seconds};

const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Live {
    bars: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
    is_coloured: bool,
}

impl Live {
    pub(crate) fn new(is_coloured: bool) -> Self {
        Self { bars: MultiProgress::new(), running: Mutex::default(), is_coloured }
    }

    fn print(&self, text: &str) {
        // Without a terminal to draw on nothing is lost: the journal has it.
        let _ = self.bars.println(text);
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn start(&self, step: &str, host: &str, title: &str) {
        let style =
            ProgressStyle::with_template("  {spinner} {prefix} {wide_msg} {elapsed}").expect("a fixed template");
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(format!("{host}:"));
        bar.set_message(title.to_owned());
        bar.enable_steady_tick(TICK);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), bar);
    }

    fn with_bar(&self, step: &str, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(step) {
            act(bar);
        }
    }

    fn end(&self, step: &str) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(step) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

impl Face for Live {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { step, host, title } => self.start(step, host, title),
            Event::StepProgress { step, done, total } => {
                let percent = done * 100 / total.max(&1);
                self.with_bar(step, |bar| bar.set_message(format!("upload programs: {percent} %")));
            }
            Event::StepRetried { step, attempt, error } => {
                self.with_bar(step, |bar| bar.set_message(format!("try {attempt} failed, again: {}", error.primary)));
            }
            Event::StepSucceeded { step, host, title, elapsed_ms, .. } => {
                self.end(step);
                let mark = self.paint("✓", "32");
                self.print(&format!("  {mark} {host}: {title} ({})", seconds(*elapsed_ms)));
            }
            Event::StepFailed { step, host, title, error, .. } => {
                self.end(step);
                let mark = self.paint("✗ FAILED", "31");
                self.print(&format!("  {mark} {host}: {title}: {}", error_lines(error)));
            }
            Event::StepSkipped { .. } => {
                let mark = self.paint("-", "33");
                self.print(&format!("  {mark} {}", plain::line(event).unwrap_or_default()));
            }
            Event::Remark { text } => self.print(text),
            Event::Started { .. } | Event::Finished(_) => {}
        }
    }

    fn remark(&self, text: &str) {
        self.print(text);
    }
}

//! Live progress on a terminal: one line with the totals and one for each of the steps that have run the longest, for
//! three hosts or a thousand. What has ended scrolls away above.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use naru_execute::Event;

use super::{Face, error_lines, plain, seconds};
use crate::style::{BAD, DIM, GOOD, WARN};

const TICK: Duration = Duration::from_millis(100);
/// Steps with a line of their own.
const MAX_LINES: usize = 8;
/// In a longer run only what did not go well gets a line as it ends.
const MANY_STEPS: usize = 300;

pub(crate) struct Live {
    bars: MultiProgress,
    state: Mutex<State>,
    is_coloured: bool,
}

/// A step that runs.
struct Running {
    order: usize,
    host: String,
    message: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<String, Running>,
    totals: Option<ProgressBar>,
    begun: usize,
    steps: usize,
    done: usize,
    failed: usize,
    skipped: usize,
}

impl State {
    /// `12 of 40 steps, 8 running, 1 FAILED`.
    fn totals(&self) -> String {
        let mut text = format!("{} of {} steps, {} running", self.done, self.steps, self.running.len());
        for (count, word) in [(self.failed, "FAILED"), (self.skipped, "not done")] {
            if count > 0 {
                text += &format!(", {count} {word}");
            }
        }
        text
    }

    /// The steps that have run the longest and have no line yet, as many as there is room for.
    fn without_line(&self) -> Vec<String> {
        let shown = self.running.values().filter(|running| running.bar.is_some()).count();
        let mut waiting: Vec<(usize, &String)> =
            self.running.iter().filter(|(_, step)| step.bar.is_none()).map(|(id, step)| (step.order, id)).collect();
        waiting.sort_unstable();
        waiting.into_iter().take(MAX_LINES.saturating_sub(shown)).map(|(_, id)| id.clone()).collect()
    }
}

fn spinner(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a fixed template")
}

impl Live {
    pub(crate) fn new(is_coloured: bool) -> Self {
        Self { bars: MultiProgress::new(), state: Mutex::default(), is_coloured }
    }

    fn print(&self, text: &str) {
        // Without a terminal to draw on nothing is lost: the journal has it.
        let _ = self.bars.println(text);
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state);
        for id in state.without_line() {
            let Some(running) = state.running.get_mut(&id) else { continue };
            let bar = ProgressBar::new_spinner().with_elapsed(running.started.elapsed());
            let bar = self.bars.add(bar.with_style(spinner("  {spinner} {prefix} {wide_msg} {elapsed}")));
            bar.set_prefix(format!("{}:", running.host));
            bar.set_message(running.message.clone());
            bar.enable_steady_tick(TICK);
            running.bar = Some(bar);
        }
        if let Some(totals) = &state.totals {
            totals.set_message(state.totals());
        }
    }

    fn start(&self, step: &str, host: &str, title: &str) {
        self.with(|state| {
            state.begun += 1;
            let (host, message) = (host.to_owned(), title.to_owned());
            let running = Running { order: state.begun, host, message, started: Instant::now(), bar: None };
            state.running.insert(step.to_owned(), running);
        });
    }

    fn say(&self, step: &str, message: String) {
        self.with(|state| {
            if let Some(running) = state.running.get_mut(step) {
                if let Some(bar) = &running.bar {
                    bar.set_message(message.clone());
                }
                running.message = message;
            }
        });
    }

    /// Ends a step; answers whether there are few enough of them to tell each.
    fn end(&self, step: &str, count: impl FnOnce(&mut State)) -> bool {
        let mut is_short = true;
        self.with(|state| {
            if let Some(bar) = state.running.remove(step).and_then(|running| running.bar) {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
            count(state);
            is_short = state.steps <= MANY_STEPS;
        });
        is_short
    }

    fn begin(&self, steps: usize) {
        self.with(|state| {
            let bar = self.bars.insert(0, ProgressBar::new_spinner().with_style(spinner("  {msg} {elapsed}")));
            bar.enable_steady_tick(TICK);
            *state = State { steps, totals: Some(bar), ..State::default() };
        });
    }

    fn finish(&self) {
        self.with(|state| {
            if let Some(bar) = state.totals.take() {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
        });
    }
}

impl Face for Live {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { steps, .. } => self.begin(*steps),
            Event::Finished(_) => self.finish(),
            Event::StepStarted { step, host, title } => self.start(step, host, title),
            Event::StepProgress { step, done, total } => {
                self.say(step, format!("upload: {} %", done * 100 / total.max(&1)));
            }
            Event::StepRetried { step, attempt, error } => {
                self.say(step, format!("try {attempt} failed, again: {}", error.primary));
            }
            Event::StepSucceeded { step, host, title, elapsed_ms, .. } => {
                if self.end(step, |state| state.done += 1) {
                    let mark = self.paint("✓", GOOD);
                    self.print(&format!("  {mark} {host}: {title} ({})", seconds(*elapsed_ms)));
                }
            }
            Event::StepFailed { step, host, title, error, .. } => {
                self.end(step, |state| state.failed += 1);
                let mark = self.paint("✗ FAILED", BAD);
                self.print(&format!("  {mark} {host}: {title}: {}", error_lines(error)));
            }
            Event::StepSkipped { step, .. } => {
                if self.end(step, |state| state.skipped += 1) {
                    let mark = self.paint("-", WARN);
                    self.print(&format!("  {mark} {}", plain::line(event).unwrap_or_default()));
                }
            }
            Event::Remark { text } => self.print(&format!("  {}", self.paint(text, DIM))),
        }
    }

    fn remark(&self, text: &str) {
        self.print(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_steps_the_longest_running_have_a_line() {
        let live = Live::new(false);
        live.event(&Event::Started { cluster: "c".to_owned(), fingerprint: String::new(), steps: 1_000 });
        let id = |number: usize| format!("w{number}/node");
        for number in 0..50 {
            let (step, host) = (id(number), format!("w{number}"));
            live.event(&Event::StepStarted { step, host, title: "run the node".to_owned() });
        }
        let lines = || {
            let state = live.state.lock().unwrap();
            let with_bar = state.running.values().filter(|running| running.bar.is_some());
            let mut orders: Vec<usize> = with_bar.map(|running| running.order).collect();
            orders.sort_unstable();
            (orders, state.totals())
        };
        assert_eq!(lines(), ((1..=8).collect(), "0 of 1000 steps, 50 running".to_owned()));
        for number in [2, 4] {
            let (step, host, title) = (id(number), format!("w{number}"), "run the node".to_owned());
            live.event(&Event::StepSucceeded { step, host, title, elapsed_ms: 1, changes: Vec::new() });
        }
        assert_eq!(lines(), (vec![1, 2, 4, 6, 7, 8, 9, 10], "2 of 1000 steps, 48 running".to_owned()));
    }
}

//! Reading journals: which runs there were on this machine, and what happened in one. A journal may end anywhere, for
//! its run may have been killed within a line; what can be read counts, and nothing is ever decided by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use crate::exit::Failure;

/// A larger journal is read up to here.
const MAX_JOURNAL_BYTES: u64 = 256 * 1024 * 1024;
const EXTENSION: &str = "ndjson";

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Name of its journal without the ending.
    pub(crate) run: String,
    pub(crate) started: Option<Timestamp>,
    /// Who ran it, if the journal says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    pub(crate) outcome: RunOutcome,
    pub(crate) planned: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// To the last line that was written.
    pub(crate) elapsed_ms: u64,
    /// Lines that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) damaged_lines: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepOfRun>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RunOutcome {
    Done,
    Failed,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// The journal has no end: the run was killed, or goes on.
    Unfinished,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepOfRun {
    pub(crate) step: String,
    pub(crate) host: String,
    pub(crate) title: String,
    pub(crate) state: StepState,
    /// When it ended, or began if it has not ended.
    pub(crate) time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elapsed_ms: Option<u64>,
    /// Tries that failed before.
    pub(crate) retries: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<String>,
    /// Why it failed or was not tried: primary, detail, hint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) why: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StepState {
    Done,
    Failed,
    Skipped,
    /// Begun, and no end of it was written.
    Begun,
}

/// Journals of a cluster, newest first.
pub(crate) fn journals(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::ours(error.to_string())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::ours(error.to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(path);
        }
    }
    // Names are times.
    found.sort();
    found.reverse();
    Ok(found)
}

pub(crate) fn read(path: &Path) -> Result<Run, Failure> {
    use std::io::Read;
    let file = fs::File::open(path).map_err(|error| Failure::ours(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_JOURNAL_BYTES).read_to_end(&mut bytes).map_err(|error| Failure::ours(error.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(parse(name, &bytes))
}

fn parse(run: String, bytes: &[u8]) -> Run {
    let mut reader = Reader::new(run);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Json>(line) {
            Ok(event) if event.is_object() => reader.event(&event),
            _ => reader.run.damaged_lines += 1,
        }
    }
    reader.end()
}

struct Reader {
    run: Run,
    last: Option<Timestamp>,
    /// Where a step stands in the list.
    places: BTreeMap<String, usize>,
}

impl Reader {
    fn new(run: String) -> Self {
        let run = Run {
            run,
            started: None,
            owner: String::new(),
            outcome: RunOutcome::Unfinished,
            planned: 0,
            succeeded: 0,
            failed: 0,
            skipped: 0,
            elapsed_ms: 0,
            damaged_lines: 0,
            steps: Vec::new(),
            remarks: Vec::new(),
        };
        Self { run, last: None, places: BTreeMap::new() }
    }

    fn event(&mut self, event: &Json) {
        let time: Option<Timestamp> = event["time"].as_str().and_then(|time| time.parse().ok());
        self.last = time.or(self.last);
        self.run.started = self.run.started.or(time);
        match event["event"].as_str().unwrap_or_default() {
            "started" => {
                self.run.planned = event["steps"].as_u64().map_or(0, to_count);
                self.run.owner = text(&event["owner"]);
            }
            "remark" => self.run.remarks.push(text(&event["text"])),
            "stepStarted" => drop(self.step(event, StepState::Begun, time)),
            "stepRetried" => {
                if let Some(place) = self.places.get(event["step"].as_str().unwrap_or_default()) {
                    self.run.steps[*place].retries += 1;
                }
            }
            "stepSucceeded" => {
                self.run.succeeded += 1;
                let changes = event["changes"].as_array().into_iter().flatten().map(text).collect();
                self.step(event, StepState::Done, time).changes = changes;
            }
            "stepFailed" => {
                self.run.failed += 1;
                let error = &event["error"];
                let parts = ["primary", "detail", "hint"].map(|name| (name, text(&error[name])));
                let why = parts.into_iter().filter(|(_, text)| !text.is_empty());
                let why = why.map(|(name, text)| if name == "hint" { format!("hint: {text}") } else { text });
                self.step(event, StepState::Failed, time).why = why.collect();
            }
            "stepSkipped" => {
                self.run.skipped += 1;
                let because = text(&event["because"]);
                self.step(event, StepState::Skipped, time).why = vec![because];
            }
            "finished" => {
                let interrupted = event["interrupted"] == true;
                let failed = event["failed"].as_u64().unwrap_or(0) + event["skipped"].as_u64().unwrap_or(0);
                self.run.outcome = match (interrupted, failed) {
                    (true, _) => RunOutcome::Interrupted,
                    (false, 0) => RunOutcome::Done,
                    (false, _) => RunOutcome::Failed,
                };
            }
            // A later version may write more.
            _ => {}
        }
    }

    fn step(&mut self, event: &Json, state: StepState, time: Option<Timestamp>) -> &mut StepOfRun {
        let id = text(&event["step"]);
        let steps = &mut self.run.steps;
        let place = *self.places.entry(id.clone()).or_insert_with(|| {
            steps.push(StepOfRun {
                step: id,
                host: text(&event["host"]),
                title: text(&event["title"]),
                state,
                time,
                elapsed_ms: None,
                retries: 0,
                changes: Vec::new(),
                why: Vec::new(),
            });
            steps.len() - 1
        });
        let step = &mut self.run.steps[place];
        (step.state, step.time, step.elapsed_ms) = (state, time, event["elapsedMs"].as_u64());
        step
    }

    fn end(mut self) -> Run {
        if let (Some(started), Some(last)) = (self.run.started, self.last) {
            let elapsed = last.as_millisecond() - started.as_millisecond();
            self.run.elapsed_ms = u64::try_from(elapsed).unwrap_or(0);
        }
        self.run
    }
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn to_count(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const JOURNAL: &str = r#"{"time":"2026-11-20T12:00:00Z","event":"started","cluster":"prod","fingerprint":"ab","steps":4,"owner":"ann@desk (naru process 7)"}
{"time":"2026-11-20T12:00:00.1Z","event":"stepStarted","step":"w1/runtime","host":"w1","title":"install the container runtime"}
{"time":"2026-11-20T12:00:00.2Z","event":"stepStarted","step":"w2/runtime","host":"w2","title":"install the container runtime"}
{"time":"2026-11-20T12:00:05Z","event":"stepRetried","step":"w2/runtime","attempt":1,"error":{"primary":"apt is busy"}}
{"time":"2026-11-20T12:00:09Z","event":"stepSucceeded","step":"w1/runtime","host":"w1","title":"install the container runtime","elapsedMs":8900,"changes":["install containerd"]}
{"time":"2026-11-20T12:00:12Z","event":"stepFailed","step":"w2/runtime","host":"w2","title":"install the container runtime","elapsedMs":11800,"error":{"primary":"no room","detail":"ENOSPC\non /var","hint":"make room"}}
{"time":"2026-11-20T12:00:12Z","event":"stepSkipped","step":"w2/node","host":"w2","title":"run the node","because":"it needs w2/runtime"}
{"time":"2026-11-20T12:00:13Z","event":"stepStarted","step":"w1/node","host":"w1","title":"run the node"}
"#;

    pub(crate) const END: &str = "{\"time\":\"2026-11-20T12:00:14Z\",\"event\":\"finished\",\"succeeded\":1,\"failed\":1,\"skipped\":1,\"interrupted\":false,\"elapsedMs\":14000}\n";

    #[test]
    fn a_whole_journal() {
        let run = parse("r".to_owned(), (JOURNAL.to_owned() + END).as_bytes());
        assert_eq!(run.outcome, RunOutcome::Failed);
        assert_eq!((run.planned, run.succeeded, run.failed, run.skipped, run.elapsed_ms), (4, 1, 1, 1, 14_000));
        assert_eq!(run.owner, "ann@desk (naru process 7)");
        let states: Vec<StepState> = run.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Done, StepState::Failed, StepState::Skipped, StepState::Begun]);
        assert_eq!(run.steps[1].retries, 1);
        assert_eq!(run.steps[1].why, ["no room", "ENOSPC\non /var", "hint: make room"]);
    }

    #[test]
    fn a_journal_torn_at_any_byte_tells_what_it_knows() {
        let whole = JOURNAL.to_owned() + END;
        let mut known = 0;
        for end in 0..whole.len() {
            let run = parse("r".to_owned(), &whole.as_bytes()[..end]);
            assert_eq!(run.outcome == RunOutcome::Unfinished, end < whole.len() - 1, "torn at {end}");
            assert!(run.steps.len() >= known && run.damaged_lines <= 1, "torn at {end}");
            known = run.steps.len();
        }
        assert_eq!(known, 4);
    }
}

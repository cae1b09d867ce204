//! What systemd says about a unit, and telling it what to do.

use std::time::Duration;

use fs_err as fs;
use jiff::{SignedDuration, Timestamp};

use crate::command::Program;
use crate::{Host, ResourceError};

/// Longer than systemd's own default of 90 s for a start, so that its verdict comes first.
const START_DEADLINE: Duration = Duration::from_secs(180);
const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,Result,\
                          ExecMainStartTimestamp,ExecMainStartTimestampMonotonic,ActiveEnterTimestamp";
const MAX_JOURNAL_BYTES: usize = 8 * 1024 * 1024;
pub(crate) const JOURNAL_LINES: u32 = 20;

/// The state of a unit; all empty when systemd cannot be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) load: String,
    pub(crate) active: String,
    pub(crate) sub: String,
    pub(crate) file: String,
    pub(crate) result: String,
    pub(crate) needs_reload: bool,
    /// When its main process began; for units without one, when the unit became active.
    pub(crate) started: Option<Timestamp>,
    /// Which start of this boot it was: microseconds since then, as systemd says it. No clock that is set changes it.
    pub(crate) process: Option<String>,
}

impl State {
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    pub(crate) fn is_masked(&self) -> bool {
        self.file.starts_with("masked")
    }

    /// `None`: the unit has no install section, so the question does not arise.
    pub(crate) fn is_enabled(&self) -> Option<bool> {
        match self.file.as_str() {
            "static" | "generated" | "transient" | "indirect" | "alias" => None,
            "enabled" => Some(true),
            _ => Some(false),
        }
    }
}

pub(crate) fn state(host: &Host, unit: &str) -> Result<State, ResourceError> {
    let show = |timestamps: &[&str]| {
        Program::new(host, "systemctl")
            .arguments(["show", "--no-pager", "--property", PROPERTIES])
            .arguments(timestamps)
            .arguments(["--", unit])
            .run()
    };
    // Before systemd 248 the option is unknown; then the monotonic time must do.
    let output = show(&["--timestamp=us+utc"]).or_else(|_| show(&[]))?;
    let uptime = fs::read_to_string(host.path("/proc/uptime")).unwrap_or_default();
    Ok(parse(&output.stdout, Timestamp::now(), &uptime))
}

fn parse(text: &str, now: Timestamp, uptime: &str) -> State {
    let mut state = State::default();
    let (mut main, mut monotonic, mut entered) = (None, None, None);
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "LoadState" => state.load = value.to_owned(),
            "ActiveState" => state.active = value.to_owned(),
            "SubState" => state.sub = value.to_owned(),
            "UnitFileState" => state.file = value.to_owned(),
            "Result" => state.result = value.to_owned(),
            "NeedDaemonReload" => state.needs_reload = value == "yes",
            "ExecMainStartTimestamp" => main = timestamp(value),
            "ExecMainStartTimestampMonotonic" => {
                monotonic = since_boot(value, now, uptime);
                state.process = Some(value).filter(|value| !["", "0"].contains(value)).map(str::to_owned);
            }
            "ActiveEnterTimestamp" => entered = timestamp(value),
            _ => {}
        }
    }
    state.started = main.or(monotonic).or(entered);
    state
}

/// `Fri 2026-11-20 13:10:00.123456 UTC`; without a fraction it would be too coarse to compare with a file's time.
fn timestamp(text: &str) -> Option<Timestamp> {
    let mut words = text.split_whitespace().skip(1);
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    if zone != "UTC" || !time.contains('.') {
        return None;
    }
    format!("{date}T{time}Z").parse().ok()
}

fn since_boot(microseconds: &str, now: Timestamp, uptime: &str) -> Option<Timestamp> {
    let microseconds: i64 = microseconds.parse().ok().filter(|value| *value > 0)?;
    let uptime_seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let uptime = SignedDuration::try_from_secs_f64(uptime_seconds).ok()?;
    now.checked_sub(uptime).ok()?.checked_add(SignedDuration::from_micros(microseconds)).ok()
}

pub(crate) fn reload(host: &Host) -> Result<(), ResourceError> {
    systemctl(host, &["daemon-reload"])
}

pub(crate) fn systemctl(host: &Host, arguments: &[&str]) -> Result<(), ResourceError> {
    Program::new(host, "systemctl").arguments(arguments).run().map(drop)
}

/// Stops a unit and keeps it from starting at boot.
pub(crate) fn retire(host: &Host, unit: &str) -> Result<(), ResourceError> {
    Program::new(host, "systemctl")
        .arguments(["disable", "--now", "--quiet", "--", unit])
        .deadline(START_DEADLINE)
        .run()?;
    // A failed unit is remembered after its file is gone.
    let _ = systemctl(host, &["reset-failed", "--", unit]);
    Ok(())
}

/// Starts or restarts a unit and waits until it is ready; a failure carries the end of its journal.
pub(crate) fn run(host: &Host, verb: &str, unit: &str) -> Result<(), ResourceError> {
    // A unit that failed too often refuses to start until its counter is reset.
    let _ = systemctl(host, &["reset-failed", "--", unit]);
    let outcome = Program::new(host, "systemctl").arguments([verb, "--", unit]).deadline(START_DEADLINE).output()?;
    let state = state(host, unit)?;
    if outcome.success && state.is_active() {
        return Ok(());
    }
    let reason = format!("{} (state {}, result {})", outcome.stderr.trim(), state.active, state.result);
    Err(ResourceError::UnitFailed {
        unit: unit.to_owned(),
        reason: reason.trim_start().to_owned(),
        journal: journal(host, unit, JOURNAL_LINES),
    })
}

/// How a unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    pub name: String,
    /// ActiveState.
    pub active_state: String,
    /// SubState.
    pub sub_state: String,
    /// Somebody has forbidden to start it.
    pub is_masked: bool,
    /// When its main process began; nothing when it does not run.
    pub started: Option<Timestamp>,
}

/// Those of these units that exist, asked all at once; none when systemd cannot be asked.
#[must_use]
pub fn unit_states(host: &Host, units: &[&str]) -> Vec<UnitStatus> {
    let show = |timestamps: &[&str]| {
        Program::new(host, "systemctl")
            .arguments(["show", "--no-pager", "--property", &format!("Id,{PROPERTIES}")])
            .arguments(timestamps)
            .arguments(["--"])
            .arguments(units)
            .run()
    };
    let Ok(output) = show(&["--timestamp=us+utc"]).or_else(|_| show(&[])) else { return Vec::new() };
    let uptime = fs::read_to_string(host.path("/proc/uptime")).unwrap_or_default();
    let now = Timestamp::now();
    output.stdout.split("\n\n").filter_map(|block| unit_state(block, now, &uptime)).collect()
}

fn unit_state(block: &str, now: Timestamp, uptime: &str) -> Option<UnitStatus> {
    let name = block.lines().find_map(|line| line.strip_prefix("Id="))?.to_owned();
    let state = parse(block, now, uptime);
    if state.load == "not-found" {
        return None;
    }
    let started = state.started.filter(|_| state.is_active());
    let is_masked = state.is_masked();
    Some(UnitStatus { name, active_state: state.active, sub_state: state.sub, is_masked, started })
}

/// The last lines of a unit's journal; none when there is no journal to read.
pub fn journal(host: &Host, unit: &str, lines: u32) -> Vec<String> {
    read_journal(host, unit, lines).unwrap_or_default()
}

/// The same, for those who want to know why there are none.
pub fn read_journal(host: &Host, unit: &str, lines: u32) -> Result<Vec<String>, ResourceError> {
    let output = Program::new(host, "journalctl")
        .arguments(["--no-pager", "--quiet", "--output=cat", "--lines", &lines.to_string(), "--unit", unit])
        .output_limit_bytes(MAX_JOURNAL_BYTES)
        .run()?;
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;

    /// Puts an executable shell script into a folder of programs.
    pub(crate) fn script(folder: &Path, name: &str, body: &str) {
        crate::atomic::write(&folder.join(name), 0o755, format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    }

    #[test]
    fn a_running_unit_with_exact_times() {
        let text = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\
                    NeedDaemonReload=no\nResult=success\n\
                    ExecMainStartTimestamp=Fri 2026-11-20 13:10:00.123456 UTC\n\
                    ExecMainStartTimestampMonotonic=5000000\nActiveEnterTimestamp=Fri 2026-11-20 13:10:01.5 UTC\n";
        let state = parse(text, Timestamp::now(), "");
        assert!(state.is_active() && state.is_enabled() == Some(true) && !state.needs_reload);
        assert_eq!(state.started.unwrap(), "2026-11-20T13:10:00.123456Z".parse().unwrap());
    }

    #[test]
    fn coarse_times_fall_back_to_the_time_since_boot() {
        let text = "ExecMainStartTimestamp=Fri 2026-11-20 13:10:00 UTC\nExecMainStartTimestampMonotonic=5000000\n";
        let now: Timestamp = "2026-11-20T13:10:20Z".parse().unwrap();
        let state = parse(text, now, "15.50 100.00\n");
        assert_eq!(state.started.unwrap(), "2026-11-20T13:10:09.5Z".parse().unwrap());
    }

    #[test]
    fn states_of_several_units() {
        let of = |block: &str| unit_state(block, Timestamp::now(), "");
        let block = "Id=containerd.service\nLoadState=loaded\nActiveState=active\n\
                     ExecMainStartTimestamp=Fri 2026-11-20 13:10:00.123456 UTC";
        let unit = of(block).unwrap();
        assert_eq!((unit.name.as_str(), unit.active_state.as_str()), ("containerd.service", "active"));
        assert_eq!(unit.started.unwrap(), "2026-11-20T13:10:00.123456Z".parse().unwrap());
        assert_eq!(of(&block.replace("=active", "=failed")).unwrap().started, None, "it runs no more");
        assert_eq!(of("Id=x.service\nLoadState=not-found\nActiveState=inactive"), None, "no such unit");
    }

    #[test]
    fn a_unit_that_never_ran_has_no_start() {
        let text = "LoadState=not-found\nActiveState=inactive\nExecMainStartTimestamp=\n\
                    ExecMainStartTimestampMonotonic=0\nActiveEnterTimestamp=\nUnitFileState=\n";
        let state = parse(text, Timestamp::now(), "15.50 100.00");
        assert_eq!(state.started, None);
        assert_eq!(state.is_enabled(), Some(false));
    }
}

//! Units of the host's init: whether they run, since when, and what they had read when they started.

use std::collections::BTreeMap;

use naru_agent::{Failure, FailureKind};
use naru_resources::{Change, Content, Disruption, Pending, Resource};

use super::check::{change, naive_diff};
use super::{Body, Machine, Micro};

pub(crate) const FOLDER: &str = "/etc/systemd/system";
const MODE: u32 = 0o644;
const SENSITIVE_MODE: u32 = 0o600;
/// Units that a package brings; they are enabled and started when it is installed.
pub(crate) const OF_PACKAGES: &[(&str, &str)] = &[("containerd", "containerd.service")];

#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnitModel {
    /// Whether it is there at all.
    pub is_loaded: bool,
    pub enabled: bool,
    pub masked: bool,
    pub is_active: bool,
    pub has_failed: bool,
    /// Its file is newer than what the init read.
    pub needs_reload: bool,
    pub started_unix_ms: i64,
    /// Counts starts.
    pub starts: u64,
    /// What it reads when it starts.
    pub reads: Vec<String>,
    /// Content of each of these when it last started.
    pub read: BTreeMap<String, String>,
    /// What lay at each path when an agent started it; none of a process that the init started by itself.
    pub found: Option<BTreeMap<String, String>>,
}

impl UnitModel {
    pub fn stop(&mut self) {
        self.is_active = false;
    }
}

/// What has to be done about a unit, in this order.
#[derive(Debug, Default)]
struct Steps {
    write: Option<&'static str>,
    diff: Option<String>,
    unmask: bool,
    /// The init has not read the unit's files as they are now.
    reload: bool,
    enable: Option<bool>,
    run: Option<Run>,
}

#[derive(Debug)]
enum Run {
    Start,
    /// With the path that is newer than the process.
    Restart(String),
}

/// A unit as a resource describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) content: Option<&'a Content>,
    pub(crate) enabled: bool,
    pub(crate) restart_on: &'a [String],
}

impl Wanted<'_> {
    pub(crate) fn path(&self) -> String {
        format!("{FOLDER}/{}", self.name)
    }

    fn watched(&self) -> Vec<String> {
        let mut watched = vec![self.path(), format!("{FOLDER}/{}.d", self.name)];
        watched.extend(self.restart_on.iter().cloned());
        watched
    }
}

impl Machine {
    fn unit_steps(&self, wanted: Wanted<'_>, pending: &Pending) -> Steps {
        let unknown = UnitModel::default();
        let unit = self.units.get(wanted.name).unwrap_or(&unknown);
        let mut steps = Steps { unmask: unit.masked, reload: unit.needs_reload, ..Steps::default() };
        if let Some(content) = wanted.content {
            let path = wanted.path();
            let file = self.files.get(&path);
            let same = file.is_some_and(|file| matches!(&file.body, Body::Text(text) if **text == *content.text));
            steps.write = match file {
                None => Some("create"),
                Some(file) if !same || file.mode != mode(content) => Some("update"),
                Some(_) => None,
            };
            if steps.write.is_some() && !content.sensitive {
                steps.diff = naive_diff(&path, file.map(|_| self.text(&path)).as_deref(), &content.text);
            }
        }
        steps.enable = (unit.enabled != wanted.enabled).then_some(wanted.enabled);
        steps.run = self.run_step(wanted, pending, unit, steps.write.is_some());
        steps
    }

    fn run_step(&self, wanted: Wanted<'_>, pending: &Pending, unit: &UnitModel, rewritten: bool) -> Option<Run> {
        if !unit.is_active {
            return Some(Run::Start);
        }
        let has_ours = wanted.content.is_some() || self.is_folder(&format!("{FOLDER}/{}.d", wanted.name));
        if rewritten || (unit.needs_reload && has_ours) {
            return Some(Run::Restart(wanted.name.to_owned()));
        }
        if let Some(path) = self.restarts.get(wanted.name) {
            return Some(Run::Restart(path.clone()));
        }
        let watched = wanted.watched();
        if let Some(path) = watched.iter().find_map(|path| pending.changed(path)) {
            return Some(Run::Restart(path.to_owned()));
        }
        let is_other = |path: &&String| {
            let found = unit.found.as_ref().zip(self.stamp(path));
            found.is_some_and(|(found, stamp)| found.get(*path) != Some(&stamp))
        };
        if let Some(path) = watched.iter().find(is_other) {
            return Some(Run::Restart(path.clone()));
        }
        let is_newer = |path: &&String| self.changed_at(path).is_some_and(|changed| changed > unit.started_unix_ms);
        watched.iter().find(is_newer).map(|path| Run::Restart(path.clone()))
    }

    pub(crate) fn check_unit(&self, wanted: Wanted<'_>, pending: &Pending) -> Option<Change> {
        let steps = self.unit_steps(wanted, pending);
        let files = steps.write.is_some() || steps.unmask || steps.reload;
        if !files && steps.enable.is_none() && steps.run.is_none() {
            return None;
        }
        let disruption = steps.run.as_ref().map(|run| match run {
            Run::Start => Disruption::StartUnit(wanted.name.to_owned()),
            Run::Restart(_) => Disruption::RestartUnit(wanted.name.to_owned()),
        });
        Some(Change { disruption, diff: steps.diff.clone(), ..change(summary(wanted, &steps)) })
    }

    /// Notes those of these units that look at what this resource is about to change.
    pub(crate) fn note_restarts(&mut self, resource: &Resource, later: &[Resource]) {
        let mut changes = Pending::default();
        changes.note(resource);
        for one in later {
            let Resource::Unit { name, content, enabled, restart_on } = one else { continue };
            let wanted = Wanted { name, content: content.as_ref(), enabled: *enabled, restart_on };
            if let Some(path) = wanted.watched().iter().find_map(|path| changes.changed(path)) {
                self.restarts.entry(name.clone()).or_insert_with(|| path.to_owned());
            }
        }
    }

    pub(crate) fn unit_micros(&self, wanted: Wanted<'_>) -> Vec<Micro> {
        let steps = self.unit_steps(wanted, &Pending::default());
        let name = wanted.name.to_owned();
        let mut micros = Vec::new();
        if let Some(content) = wanted.content.filter(|_| steps.write.is_some()) {
            if self.units.get(wanted.name).is_some_and(|unit| unit.is_active) {
                micros.push(Micro::OweRestart { unit: name.clone(), path: wanted.path() });
            }
            micros.push(Micro::Put { path: wanted.path(), body: Body::text(&content.text), mode: mode(content) });
        }
        if steps.unmask {
            micros.push(Micro::Unmask(name.clone()));
        }
        micros.push(Micro::Reload(name.clone()));
        match steps.enable {
            Some(true) => micros.push(Micro::Enable(name.clone())),
            Some(false) => micros.push(Micro::Disable(name.clone())),
            None => {}
        }
        let reads = wanted.watched();
        match steps.run {
            Some(Run::Start) => micros.push(Micro::Start { name, reads }),
            Some(Run::Restart(_)) => micros.push(Micro::Restart { name, reads }),
            None => {}
        }
        micros
    }

    /// Starts a unit anew, with what its files hold now.
    ///
    /// # Errors
    /// When something that it reads is not there.
    pub fn start_unit(&mut self, name: &str) -> Result<(), Failure> {
        let unit = self.units.get(name).cloned().unwrap_or_default();
        // The unit's own file and drop-ins need not be there; everything else must.
        let missing = unit.reads.iter().skip(2).find(|path| !self.files.contains_key(path.as_str()));
        let reason = match missing {
            _ if !unit.is_loaded => Some("there is no such unit".to_owned()),
            Some(path) => Some(format!("{path} is not there")),
            None => None,
        };
        let read = unit.reads.iter().map(|path| (path.clone(), self.content_of(path))).collect();
        let started_unix_ms = self.clock_unix_ms;
        let unit = self.units.entry(name.to_owned()).or_default();
        if let Some(reason) = reason {
            (unit.is_active, unit.has_failed) = (false, unit.is_loaded);
            return Err(Failure {
                kind: FailureKind::Permanent,
                message: format!("{name} did not start"),
                detail: Some(reason),
                hint: None,
            });
        }
        (unit.is_active, unit.has_failed) = (true, false);
        self.restarts.remove(name);
        let unit = self.units.entry(name.to_owned()).or_default();
        unit.started_unix_ms = started_unix_ms;
        unit.found = None;
        unit.starts += 1;
        unit.read = read;
        Ok(())
    }

    /// Keeps what a process found that an agent has just started.
    pub(crate) fn keep_found(&mut self, name: &str, reads: &[String]) {
        let found = reads.iter().filter_map(|path| Some((path.clone(), self.stamp(path)?))).collect();
        if let Some(unit) = self.units.get_mut(name) {
            unit.found = Some(found);
        }
    }

    /// Differs whenever what lies there was written or replaced.
    fn stamp(&self, path: &str) -> Option<String> {
        Some(format!("{} {}", self.files.get(path)?.changed_unix_ms, self.content_of(path)))
    }

    /// Units that run with something older than what lies on the disk now.
    #[must_use]
    pub fn stale_units(&self) -> Vec<String> {
        let stale = |unit: &UnitModel| {
            unit.is_active && unit.read.iter().any(|(path, content)| *content != self.content_of(path))
        };
        self.units.iter().filter(|(_, unit)| stale(unit)).map(|(name, _)| name.clone()).collect()
    }
}

fn mode(content: &Content) -> u32 {
    if content.sensitive { SENSITIVE_MODE } else { MODE }
}

fn summary(wanted: Wanted<'_>, steps: &Steps) -> String {
    let mut verbs: Vec<&str> = steps.write.into_iter().collect();
    if steps.unmask {
        verbs.push("unmask");
    }
    match steps.enable {
        Some(true) => verbs.push("enable"),
        Some(false) => verbs.push("disable"),
        None => {}
    }
    let mut reason = String::new();
    match &steps.run {
        Some(Run::Start) => verbs.push("start"),
        Some(Run::Restart(path)) => {
            verbs.push("restart");
            if path != wanted.name && *path != wanted.path() {
                reason = format!(" ({path} changed)");
            }
        }
        None => {}
    }
    if steps.reload && steps.run.is_none() {
        verbs.push("reread");
    }
    let words = match verbs.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
        None => String::new(),
    };
    format!("{words} {}{reason}", wanted.name)
}

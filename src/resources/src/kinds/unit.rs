//! A systemd unit: its file, whether it starts at boot, and that it runs with its present configuration.

use std::os::unix::fs::MetadataExt;

use fs_err as fs;
use jiff::Timestamp;

use super::file::{File, Found};
use super::systemd::{self, State};
use super::{Kind, announce, disruptive};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Content, Disruption, Host, ResourceError, atomic, restarts, text_diff};

const MODE: u32 = 0o644;
const SENSITIVE_MODE: u32 = 0o600;
const FOLDER: &str = "/etc/systemd/system";

pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    pub(crate) content: Option<&'a Content>,
    pub(crate) enabled: bool,
    pub(crate) restart_on: &'a [String],
}

/// What makes a running unit restart when it changes: its file, its drop-ins, and these paths.
pub(crate) fn watched(name: &str, restart_on: &[String]) -> Vec<String> {
    let mut watched = vec![format!("{FOLDER}/{name}"), drop_ins(name)];
    watched.extend(restart_on.iter().cloned());
    watched
}

/// Drop-ins change a unit as much as its own file does.
fn drop_ins(name: &str) -> String {
    format!("{FOLDER}/{name}.d")
}

/// What has to be done, in this order.
#[derive(Debug, Default)]
struct Steps {
    write: Option<&'static str>,
    diff: Option<String>,
    unmask: bool,
    /// systemd has not read the unit's files as they are now.
    reload: bool,
    /// `Some(true)`: enable, `Some(false)`: disable.
    enable: Option<bool>,
    run: Option<Run>,
}

#[derive(Debug, PartialEq, Eq)]
enum Run {
    Start,
    /// With the path that is newer than the process.
    Restart(String),
}

impl Unit<'_> {
    fn path(&self) -> String {
        format!("{FOLDER}/{}", self.name)
    }

    fn steps(&self, host: &Host, pending: &Pending, state: &State) -> Result<Steps, ResourceError> {
        let mut steps = Steps::default();
        if let Some(content) = self.content {
            let path = self.path();
            let file = File { path: &path, mode: mode(content), content };
            let (verb, old) = match file.compare(host)? {
                Found::Same => (None, None),
                Found::Absent | Found::Link => (Some("create"), None),
                Found::Mode(_) => (Some("update"), Some(content.text.clone().into_bytes())),
                Found::Different(old) => (Some("update"), Some(old)),
            };
            steps.write = verb;
            if verb.is_some() && !content.sensitive {
                steps.diff = text_diff::unified(&path, old.as_deref(), &content.text);
            }
        }
        steps.unmask = state.is_masked();
        steps.reload = state.needs_reload;
        steps.enable = match state.is_enabled() {
            Some(enabled) if enabled != self.enabled => Some(self.enabled),
            _ => None,
        };
        steps.run = self.run_step(host, pending, state, steps.write.is_some())?;
        Ok(steps)
    }

    fn run_step(
        &self,
        host: &Host,
        pending: &Pending,
        state: &State,
        rewritten: bool,
    ) -> Result<Option<Run>, ResourceError> {
        if !state.is_active() {
            return Ok(Some(Run::Start));
        }
        // A unit of a package whose files a package changed is read again and goes on running; with a file of ours it
        // may have been started between our writing and systemd's reading.
        let has_ours = self.content.is_some() || host.path(drop_ins(self.name)).exists();
        if rewritten || (state.needs_reload && has_ours) {
            return Ok(Some(Run::Restart(self.name.to_owned())));
        }
        // Of this run, or of one that was cut off before the restart.
        if let Some(path) = restarts::pending(host, self.name)? {
            return Ok(Some(Run::Restart(path)));
        }
        let watched = watched(self.name, self.restart_on);
        if let Some(path) = watched.iter().find_map(|path| pending.changed(path)) {
            return Ok(Some(Run::Restart(path.to_owned())));
        }
        if let Some(path) = restarts::changed_since(host, self.name, state.process.as_deref(), &watched)? {
            return Ok(Some(Run::Restart(path)));
        }
        let Some(started) = state.started else { return Ok(None) };
        let newer = watched.iter().find(|path| changed_at(host, path).is_some_and(|changed| changed > started));
        Ok(newer.map(|path| Run::Restart(path.clone())))
    }

    fn summary(&self, steps: &Steps) -> String {
        let mut verbs: Vec<&str> = steps.write.into_iter().collect();
        if steps.unmask {
            verbs.push("unmask");
        }
        if steps.reload && steps.run.is_none() {
            verbs.push("reread");
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
                if path != self.name && *path != self.path() {
                    reason = format!(" ({path} changed)");
                }
            }
            None => {}
        }
        let words = match verbs.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, first)) => format!("{} and {last}", first.join(", ")),
            None => String::new(),
        };
        format!("{words} {}{reason}", self.name)
    }
}

impl Kind for Unit<'_> {
    fn check(&self, host: &Host, pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let state = match systemd::state(host, self.name) {
            // systemd itself, or the package with the unit, is still to come.
            Err(_) if pending.packages() => State::default(),
            other => other?,
        };
        let steps = self.steps(host, pending, &state)?;
        let files = steps.write.is_some() || steps.unmask || steps.reload;
        if !files && steps.enable.is_none() && steps.run.is_none() {
            return Ok(None);
        }
        let disruption = steps.run.as_ref().map(|run| match run {
            Run::Start => Disruption::StartUnit(self.name.to_owned()),
            Run::Restart(_) => Disruption::RestartUnit(self.name.to_owned()),
        });
        let change = disruptive(self.summary(&steps), disruption);
        Ok(Some(Change { diff: steps.diff, ..change }))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let state = systemd::state(host, self.name)?;
        let steps = self.steps(host, &Pending::default(), &state)?;
        if let Some(content) = self.content
            && steps.write.is_some()
        {
            if state.is_active() {
                restarts::note_one(host, self.name, &self.path())?;
            }
            File { path: &self.path(), mode: mode(content), content }.apply(host)?;
        }
        if steps.unmask {
            systemd::systemctl(host, &["unmask", "--", self.name])?;
        }
        if steps.write.is_some() || state.needs_reload || state.load != "loaded" {
            systemd::reload(host)?;
        }
        // After a reload the answer may be another one: a unit without an install section cannot be enabled.
        let enabled =
            if steps.write.is_some() { systemd::state(host, self.name)?.is_enabled() } else { state.is_enabled() };
        match enabled {
            Some(false) if self.enabled => systemd::systemctl(host, &["enable", "--quiet", "--", self.name])?,
            Some(true) if !self.enabled => systemd::systemctl(host, &["disable", "--quiet", "--", self.name])?,
            _ => {}
        }
        let found = restarts::found(host, &watched(self.name, self.restart_on));
        match steps.run {
            Some(Run::Start) => systemd::run(host, "start", self.name)?,
            Some(Run::Restart(_)) => systemd::run(host, "restart", self.name)?,
            None => return Ok(()),
        }
        restarts::started(host, self.name, systemd::state(host, self.name)?.process, found)?;
        restarts::done(host, self.name)
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        if let Some(content) = self.content {
            let path = self.path();
            File { path: &path, mode: mode(content), content }.keep_other(host)?;
            announce(host, manifest, &path, "unit");
        }
        Ok(())
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        if let Some(content) = self.content {
            let sha256 = atomic::sha256(content.text.as_bytes());
            manifest.put_with_mode(&self.path(), "unit", &sha256, mode(content));
        }
        Ok(())
    }
}

fn mode(content: &Content) -> u32 {
    if content.sensitive { SENSITIVE_MODE } else { MODE }
}

/// When a file, or anything directly in a folder, last changed. A time in the future tells of a wrong clock, not of
/// a change, and would make the unit restart at every apply.
fn changed_at(host: &Host, path: &str) -> Option<Timestamp> {
    let path = host.path(path);
    let mut newest = change_time(&path)?;
    if path.is_dir() {
        let entries = fs::read_dir(&path).ok()?.filter_map(Result::ok);
        newest = entries.filter_map(|entry| change_time(&entry.path())).fold(newest, Timestamp::max);
    }
    (newest <= Timestamp::now()).then_some(newest)
}

fn change_time(path: &std::path::Path) -> Option<Timestamp> {
    let metadata = fs::metadata(path).ok()?;
    Timestamp::new(metadata.ctime(), i32::try_from(metadata.ctime_nsec()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::systemd::tests::script;
    use crate::{Resource, Stop, apply_all, apply_guarded, check_all};
    use std::path::Path;

    /// A host whose `systemctl show` answers the file `state` and whose other calls are noted in `log`.
    fn host(folder: &Path, state: &str) -> Host {
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("state"), state).unwrap();
        let body = format!(
            "case \"$1\" in show) cat {0}/state;; start|restart) echo \"$*\" >> {0}/log; cat {0}/after > {0}/state;; \
             *) echo \"$*\" >> {0}/log;; esac",
            folder.display()
        );
        script(&folder.join("bin"), "systemctl", &body);
        script(&folder.join("bin"), "journalctl", "echo 'config: no such port'");
        Host::below(folder, vec![folder.join("bin")])
    }

    fn show(load: &str, active: &str, file: &str, started: &str) -> String {
        format!(
            "LoadState={load}\nActiveState={active}\nSubState=x\nUnitFileState={file}\nNeedDaemonReload=no\n\
             Result=success\nExecMainStartTimestamp={started}\nExecMainStartTimestampMonotonic=0\n"
        )
    }

    const LONG_AGO: &str = "Fri 2020-11-20 13:10:00.123456 UTC";
    const FAR_AHEAD: &str = "Fri 2120-11-20 13:10:00.123456 UTC";

    #[test]
    fn written_enabled_and_started() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &show("not-found", "inactive", "", ""));
        fs::write(folder.path().join("after"), show("loaded", "active", "enabled", FAR_AHEAD)).unwrap();
        let content = Content { text: "[Service]\nExecStart=/bin/true\n".to_owned(), sensitive: false };
        let unit = Unit { name: "naru-node.service", content: Some(&content), enabled: true, restart_on: &[] };
        let found = unit.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "create, enable and start naru-node.service");
        assert_eq!(found.disruption, Some(Disruption::StartUnit("naru-node.service".to_owned())));
        assert!(found.diff.unwrap().contains("+ExecStart"));
        unit.apply(&host).unwrap();
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        let verbs: Vec<&str> = log.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(verbs, ["daemon-reload", "enable", "reset-failed", "start"]);
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None);
    }

    #[test]
    fn restarted_when_its_configuration_is_newer_or_about_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &show("loaded", "active", "enabled", LONG_AGO));
        let paths = ["/etc/naru/node.yaml".to_owned()];
        let unit = Unit { name: "naru-node.service", content: None, enabled: true, restart_on: &paths };
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None, "no such file, no reason");
        atomic::write(&host.path(&paths[0]), 0o644, b"x").unwrap();
        let found = unit.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "restart naru-node.service (/etc/naru/node.yaml changed)");
        fs::write(folder.path().join("state"), show("loaded", "active", "enabled", FAR_AHEAD)).unwrap();
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None, "started after the change");
        let mut pending = Pending::default();
        pending.note(&crate::Resource::Binary { path: paths[0].clone(), sha256: String::new() });
        let found = unit.check(&host, &pending).unwrap().unwrap();
        assert_eq!(found.disruption, Some(Disruption::RestartUnit("naru-node.service".to_owned())));
    }

    #[test]
    fn a_file_that_comes_without_its_unit_restarts_it_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        // By the clock it starts long after every file: it was set back since.
        let running = |process| show("loaded", "active", "enabled", FAR_AHEAD).replace("Monotonic=0", process);
        let host = host(folder.path(), &show("loaded", "inactive", "enabled", ""));
        fs::write(folder.path().join("after"), running("Monotonic=5")).unwrap();
        let paths = ["/etc/naru/pki/kubelet.crt".to_owned()];
        let unit = Unit { name: "naru-node.service", content: None, enabled: true, restart_on: &paths };
        atomic::write(&host.path(&paths[0]), 0o644, b"one").unwrap();
        unit.apply(&host).unwrap();
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None);
        atomic::write(&host.path(&paths[0]), 0o644, b"two").unwrap();
        let found = unit.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "restart naru-node.service (/etc/naru/pki/kubelet.crt changed)");
        fs::write(folder.path().join("state"), running("Monotonic=6")).unwrap();
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None, "somebody restarted it");
        fs::write(folder.path().join("after"), running("Monotonic=7")).unwrap();
        fs::write(folder.path().join("state"), running("Monotonic=5")).unwrap();
        unit.apply(&host).unwrap();
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None, "once is enough");
    }

    #[test]
    fn a_drop_in_restarts_its_unit() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &show("loaded", "active", "static", LONG_AGO));
        let unit = Unit { name: "containerd.service", content: None, enabled: true, restart_on: &[] };
        assert_eq!(unit.check(&host, &Pending::default()).unwrap(), None, "static: nothing to enable");
        atomic::write(&host.path("/etc/systemd/system/containerd.service.d/10-naru.conf"), 0o644, b"x").unwrap();
        assert!(unit.check(&host, &Pending::default()).unwrap().unwrap().summary.starts_with("restart"));
    }

    const DROP_INS: &str = "/etc/systemd/system/containerd.service.d";

    /// A host that runs containerd with a drop-in of ours, and the request that takes it away. Times of files tell
    /// nothing here: the unit started after all of them.
    fn drop_in_to_remove(folder: &Path) -> (Host, [Resource; 3]) {
        let running = show("loaded", "active", "static", FAR_AHEAD);
        let host = host(folder, &running.replace("Reload=no", "Reload=yes"));
        fs::write(folder.join("after"), &running).unwrap();
        let path = format!("{DROP_INS}/10-naru-proxy.conf");
        let content = Content { text: "x".to_owned(), sensitive: false };
        let before = [
            Resource::Directory { path: DROP_INS.to_owned(), mode: 0o755 },
            Resource::File { path: path.clone(), mode: 0o644, content },
        ];
        apply_all(&host, &before, &Stop::default()).unwrap();
        let name = "containerd.service".to_owned();
        let unit = Resource::Unit { name, content: None, enabled: true, restart_on: Vec::new() };
        (host, [Resource::Absent { path }, Resource::Absent { path: DROP_INS.to_owned() }, unit])
    }

    fn log(folder: &Path) -> String {
        fs::read_to_string(folder.join("log")).unwrap_or_default()
    }

    #[test]
    fn a_drop_in_that_goes_with_its_folder_restarts_its_unit() {
        let folder = tempfile::tempdir().unwrap();
        let (host, request) = drop_in_to_remove(folder.path());
        let done = apply_all(&host, &request, &Stop::default()).unwrap();
        assert!(!host.path(DROP_INS).exists());
        assert_eq!(done[2].summary, format!("restart containerd.service ({DROP_INS}/10-naru-proxy.conf changed)"));
        let log = log(folder.path());
        assert!(log.find("daemon-reload").unwrap() < log.find("restart -- containerd.service").unwrap(), "{log}");
        assert_eq!(check_all(&host, &request).unwrap(), []);
    }

    #[test]
    fn a_run_cut_off_before_the_restart_leaves_it_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let (host, request) = drop_in_to_remove(folder.path());
        let left = std::cell::Cell::new(2);
        let cut = || match left.replace(left.get() - 1) {
            0 => Err(ResourceError::passing("cut off")),
            _ => Ok(()),
        };
        apply_guarded(&host, &request, &Stop::default(), &cut).unwrap_err();
        assert!(!host.path(DROP_INS).exists() && !log(folder.path()).contains("restart"));
        // Somebody else's package makes systemd read its files again.
        fs::write(folder.path().join("state"), show("loaded", "active", "static", FAR_AHEAD)).unwrap();
        let planned = check_all(&host, &request[2..]).unwrap();
        assert_eq!(planned[0].disruption, Some(Disruption::RestartUnit("containerd.service".to_owned())));
        assert_eq!(apply_all(&host, &request[2..], &Stop::default()).unwrap(), planned);
        assert!(log(folder.path()).contains("restart -- containerd.service"));
        assert_eq!(check_all(&host, &request).unwrap(), []);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &show("loaded", "active", "enabled", FAR_AHEAD));
        fs::write(folder.path().join("after"), show("loaded", "active", "enabled", FAR_AHEAD)).unwrap();
        let content = Content { text: "x".to_owned(), sensitive: false };
        let path = "/etc/naru/node.yaml".to_owned();
        let request = [
            Resource::File { path: path.clone(), mode: 0o600, content },
            Resource::Unit {
                name: "naru-node.service".to_owned(),
                content: None,
                enabled: true,
                restart_on: vec![path],
            },
        ];
        let planned = check_all(&host, &request).unwrap();
        assert_eq!(apply_all(&host, &request, &Stop::default()).unwrap(), planned);
        assert_eq!(planned[1].summary, "restart naru-node.service (/etc/naru/node.yaml changed)");
    }

    #[test]
    fn a_package_that_changed_its_own_unit_is_read_again_and_goes_on_running() {
        let folder = tempfile::tempdir().unwrap();
        let stale = show("loaded", "active", "enabled", LONG_AGO).replace("Reload=no", "Reload=yes");
        let host = host(folder.path(), &stale);
        let unit = Unit { name: "containerd.service", content: None, enabled: true, restart_on: &[] };
        let found = unit.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!((found.summary.as_str(), found.disruption), ("reread containerd.service", None));
        unit.apply(&host).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap().trim(), "daemon-reload");
        atomic::write(&host.path("/etc/systemd/system/containerd.service.d/1.conf"), 0o644, b"x").unwrap();
        let found = unit.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "restart containerd.service", "a drop-in of ours was not read");
    }

    #[test]
    fn a_failed_start_brings_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &show("loaded", "failed", "enabled", ""));
        fs::write(folder.path().join("after"), show("loaded", "failed", "enabled", "")).unwrap();
        let unit = Unit { name: "naru-node.service", content: None, enabled: true, restart_on: &[] };
        let error = unit.apply(&host).unwrap_err();
        assert!(error.detail().unwrap().contains("config: no such port"), "{error:?}");
    }

    #[test]
    fn a_unit_whose_package_is_still_to_come_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let unit = Unit { name: "containerd.service", content: None, enabled: true, restart_on: &[] };
        let mut pending = Pending::default();
        assert!(unit.check(&host, &pending).is_err(), "no systemd and nothing that would bring it");
        pending.note(&crate::Resource::Packages { names: Vec::new() });
        assert!(unit.check(&host, &pending).unwrap().is_some());
    }
}

//! Something that an earlier plan put on the host and that is not wanted any more. What the manifest does not list is
//! not ours and stays.

use std::io;

use fs_err as fs;

use super::{Kind, change, disruptive, systemd};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Disruption, Host, ResourceError, originals};

/// Kinds that are not removed but only forgotten: others may use them by now.
const FORGOTTEN: [&str; 2] = ["package", "image"];

pub(crate) struct Absent<'a> {
    pub(crate) path: &'a str,
}

/// What is to be done.
enum Step {
    /// Ours, but not to be removed, or gone already.
    Forget(&'static str),
    Unit {
        name: String,
        is_active: bool,
    },
    File,
    Folder,
}

impl Absent<'_> {
    fn step(&self, host: &Host, pending: &Pending) -> Result<Option<Step>, ResourceError> {
        let manifest = Manifest::load(host)?;
        let Some(entry) = manifest.entries.get(self.path) else { return Ok(None) };
        if FORGOTTEN.contains(&entry.kind.as_str()) {
            return Ok(Some(Step::Forget("others may use it")));
        }
        let path = host.path(self.path);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(Some(Step::Forget("it is gone"))) };
        if metadata.is_dir() {
            let mut names = fs::read_dir(&path)?.filter_map(Result::ok);
            let stays = names.any(|entry| {
                let below = format!("{}/{}", self.path.trim_end_matches('/'), entry.file_name().to_string_lossy());
                !pending.removed(&below)
            });
            return Ok(Some(if stays { Step::Forget("it is not empty") } else { Step::Folder }));
        }
        if entry.kind == "unit"
            && let Some((_, name)) = self.path.rsplit_once('/')
        {
            let state = systemd::state(host, name).unwrap_or_default();
            return Ok(Some(Step::Unit { name: name.to_owned(), is_active: state.is_active() }));
        }
        Ok(Some(Step::File))
    }
}

impl Kind for Absent<'_> {
    fn check(&self, host: &Host, pending: &Pending) -> Result<Option<Change>, ResourceError> {
        Ok(self.step(host, pending)?.map(|step| match step {
            Step::Forget(reason) => change(format!("leave {} to the host: {reason}", self.path)),
            Step::Unit { name, is_active: true } => {
                let summary = format!("stop, disable and remove {name}");
                disruptive(summary, Some(Disruption::StopUnit(name)))
            }
            Step::Unit { name, is_active: false } => change(format!("disable and remove {name}")),
            Step::File | Step::Folder => change(format!("remove {}", self.path)),
        }))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(self.path);
        match self.step(host, &Pending::default())? {
            None | Some(Step::Forget(_)) => Ok(()),
            Some(Step::Unit { name, .. }) => {
                systemd::retire(host, &name)?;
                gone(fs::remove_file(&path))?;
                systemd::reload(host)
            }
            Some(Step::File) => {
                if originals::restore(host, self.path)? {
                    let mut manifest = Manifest::load(host)?;
                    manifest.remove(self.path);
                    manifest.save(host)?;
                    return originals::forget(host, self.path);
                }
                gone(fs::remove_file(&path))
            }
            Some(Step::Folder) => gone(fs::remove_dir(&path)),
        }
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.remove(self.path);
        Ok(())
    }
}

fn gone(removed: io::Result<()>) -> Result<(), ResourceError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::systemd::tests::script;
    use crate::{Content, Resource, Stop, apply_all, check_all};

    fn file(path: &str) -> Resource {
        let content = Content { text: "x".to_owned(), sensitive: false };
        Resource::File { path: path.to_owned(), mode: 0o644, content }
    }

    fn absent(path: &str) -> Resource {
        Resource::Absent { path: path.to_owned() }
    }

    #[test]
    fn what_is_ours_goes_and_what_is_not_stays() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir(host.path("/etc")).unwrap();
        let ours = [Resource::Directory { path: "/etc/x".to_owned(), mode: 0o755 }, file("/etc/x/a")];
        apply_all(&host, &ours, &Stop::default()).unwrap();
        fs::write(host.path("/etc/theirs"), "x").unwrap();
        let gone = [absent("/etc/theirs"), absent("/etc/x/a"), absent("/etc/x"), absent("/etc/never")];
        let planned = check_all(&host, &gone).unwrap();
        assert_eq!(
            planned.iter().map(|change| change.summary.as_str()).collect::<Vec<_>>(),
            ["remove /etc/x/a", "remove /etc/x"]
        );
        assert_eq!(apply_all(&host, &gone, &Stop::default()).unwrap(), planned, "a check tells what will be done");
        assert!(host.path("/etc/theirs").exists() && !host.path("/etc/x").exists());
        assert!(Manifest::load(&host).unwrap().entries.is_empty());
        assert_eq!(apply_all(&host, &gone, &Stop::default()).unwrap(), []);
    }

    #[test]
    fn a_file_of_the_hosts_that_was_given_back_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir(host.path("/etc")).unwrap();
        fs::write(host.path("/etc/a"), "theirs").unwrap();
        apply_all(&host, &[file("/etc/a")], &Stop::default()).unwrap();
        // Cut off before the manifest knew.
        assert!(originals::restore(&host, "/etc/a").unwrap());
        apply_all(&host, &[absent("/etc/a")], &Stop::default()).unwrap();
        assert_eq!(fs::read_to_string(host.path("/etc/a")).unwrap(), "theirs");
        assert!(!originals::restore(&host, "/etc/a").unwrap(), "it is ours no more");
    }

    #[test]
    fn a_folder_that_others_use_stays_and_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir(host.path("/etc")).unwrap();
        let ours = [Resource::Directory { path: "/etc/x".to_owned(), mode: 0o755 }, file("/etc/x/a")];
        apply_all(&host, &ours, &Stop::default()).unwrap();
        fs::write(host.path("/etc/x/theirs"), "x").unwrap();
        fs::remove_file(host.path("/etc/x/a")).unwrap();
        let done = apply_all(&host, &[absent("/etc/x/a"), absent("/etc/x")], &Stop::default()).unwrap();
        assert!(done[0].summary.contains("it is gone") && done[1].summary.contains("not empty"), "{done:?}");
        assert!(host.path("/etc/x/theirs").exists());
        assert!(Manifest::load(&host).unwrap().entries.is_empty());
    }

    #[test]
    fn a_unit_is_stopped_disabled_and_forgotten_by_systemd() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let body = format!(
            "case \"$1\" in show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';; \
             *) echo \"$*\" >> {};; esac",
            log.display()
        );
        script(&folder.path().join("bin"), "systemctl", &body);
        let host = Host::below(folder.path(), vec![folder.path().join("bin")]);
        let path = "/etc/systemd/system/naru-x.service";
        fs::create_dir_all(host.path("/etc/systemd/system")).unwrap();
        fs::write(host.path(path), "[Service]").unwrap();
        let mut manifest = Manifest::default();
        manifest.put(path, "unit", "");
        manifest.save(&host).unwrap();
        let done = apply_all(&host, &[absent(path)], &Stop::default()).unwrap();
        assert_eq!(done[0].disruption, Some(Disruption::StopUnit("naru-x.service".to_owned())));
        assert!(!host.path(path).exists());
        let log = fs::read_to_string(log).unwrap();
        let calls: Vec<&str> = log.lines().collect();
        assert_eq!(calls[0], "disable --now --quiet -- naru-x.service");
        assert_eq!(*calls.last().unwrap(), "daemon-reload");
    }
}

//! The files' part of removing Naru from a host: units, mounts, everything in the manifest, and the folders that are
//! wholly ours. Every step may be cut off and begun again.

use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::mount::{UnmountFlags, unmount};

use crate::kinds::{PARENT, swap, systemd};
use crate::manifest::Manifest;
use crate::{Change, Host, ResourceError, originals};

/// Units of ours that a manifest of an earlier version may not list.
const UNITS: [&str; 3] = ["naru-node.service", "naru-control-plane.service", "naru-etcd.service"];
const UNIT_FOLDER: &str = "/etc/systemd/system";
const RUNTIME_UNIT: &str = "containerd.service";
const RUNTIME_FOLDER: &str = "/etc/containerd";
/// Written by the node program itself.
const FILES: [&str; 1] = ["/etc/cni/net.d/10-naru.conflist"];
const MOUNTS: [&str; 1] = ["/var/lib/kubelet"];
/// Signs that Naru is or was here; the last is gone last.
const SIGNS: [&str; 3] = ["/etc/naru", "/opt/naru", "/var/lib/naru/manifest.json"];
/// Wholly ours, in the order in which they go: the last holds the manifest, and the agent that does this.
const FOLDERS: [&str; 7] = [
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
    "/run/naru/cni",
    "/etc/naru",
    "/opt/naru",
    "/var/lib/naru",
];
/// Kinds that stay on the host.
const STAYING: [&str; 3] = ["package", "image", "artifact"];

/// Takes Naru away and notes each thing that is done.
#[derive(Debug)]
pub struct Teardown {
    host: Host,
    changes: Vec<Change>,
}

impl Teardown {
    /// Goes on with what was done before.
    #[must_use]
    pub fn new(host: &Host, changes: Vec<Change>) -> Self {
        Self { host: host.clone(), changes }
    }

    #[must_use]
    pub fn changes(self) -> Vec<Change> {
        self.changes
    }

    /// Whether anything of ours is here; a host of somebody else's is left alone.
    #[must_use]
    pub fn is_needed(host: &Host) -> bool {
        SIGNS.iter().any(|path| host.path(path).exists())
    }

    fn note(&mut self, summary: String) {
        tracing::info!(summary, "removing");
        self.changes.push(Change { resource: self.changes.len(), summary, diff: None, disruption: None });
    }

    /// Stops our units and removes them.
    pub fn retire_units(&mut self) -> Result<(), ResourceError> {
        let manifest = Manifest::load(&self.host)?;
        let mut units: Vec<String> = UNITS.map(|name| format!("{UNIT_FOLDER}/{name}")).to_vec();
        let listed = manifest.entries.iter().filter(|(_, entry)| entry.kind == "unit").map(|(path, _)| path.clone());
        units.extend(listed);
        units.dedup();
        let mut is_any = false;
        for path in units {
            let real = self.host.path(&path);
            let Some(name) = real.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            if fs::symlink_metadata(&real).is_err() {
                continue;
            }
            systemd::retire(&self.host, &name)?;
            fs::remove_file(&real)?;
            self.note(format!("stop and remove {name}"));
            is_any = true;
        }
        if is_any { systemd::reload(&self.host) } else { Ok(()) }
    }

    /// Volumes of pods that are still mounted. The folder itself may be a volume of the host's own, and stays.
    pub fn unmount(&mut self) -> Result<(), ResourceError> {
        let roots = MOUNTS.map(|folder| self.host.path(folder));
        for path in self.mounts(&MOUNTS)?.into_iter().filter(|path| !roots.contains(path)) {
            if unmount(&path, UnmountFlags::empty()).is_err() {
                // Somebody is in there: it goes when they leave.
                unmount(&path, UnmountFlags::DETACH).map_err(std::io::Error::from)?;
            }
            self.note(format!("unmount {}", path.display()));
        }
        Ok(())
    }

    /// Below these folders, the innermost first.
    fn mounts(&self, folders: &[&str]) -> Result<Vec<PathBuf>, ResourceError> {
        let roots: Vec<PathBuf> = folders.iter().map(|folder| self.host.path(folder)).collect();
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(plain(point)));
        let mut found: Vec<PathBuf> = points.filter(|point| roots.iter().any(|root| point.starts_with(root))).collect();
        found.reverse();
        Ok(found)
    }

    /// Everything that the manifest lists, what lies deeper first; files of the host's come back.
    pub fn remove_entries(&mut self) -> Result<(), ResourceError> {
        let mut manifest = Manifest::load(&self.host)?;
        let mut runtime_changed = false;
        let entries: Vec<(String, String)> =
            manifest.entries.iter().rev().map(|(path, entry)| (path.clone(), entry.kind.clone())).collect();
        for (path, kind) in entries {
            if !STAYING.contains(&kind.as_str()) && path.starts_with('/') {
                let changed = self.remove(&path, &kind)?;
                runtime_changed |= changed && path.starts_with(RUNTIME_FOLDER);
            }
            if kind != "artifact" {
                manifest.remove(&path);
                manifest.save(&self.host)?;
            }
        }
        for path in FILES {
            self.remove(path, "file")?;
        }
        if swap::restore_table(&self.host)? {
            self.note(format!("give {} its swap lines back", swap::FSTAB));
        }
        if runtime_changed {
            systemd::run(&self.host, "restart", RUNTIME_UNIT)?;
            self.note(format!("restart {RUNTIME_UNIT}"));
        }
        Ok(())
    }

    /// Tells whether there was something to remove.
    fn remove(&mut self, path: &str, kind: &str) -> Result<bool, ResourceError> {
        let real = self.host.path(path);
        if originals::restore(&self.host, path)? {
            self.note(format!("restore {path}"));
            return Ok(true);
        }
        let Ok(metadata) = fs::symlink_metadata(&real) else { return Ok(false) };
        if metadata.is_dir() {
            // One with something of others in it stays; those that are wholly ours come later.
            let removed = ["directory", PARENT].contains(&kind) && fs::remove_dir(&real).is_ok();
            if removed {
                self.note(format!("remove {path}"));
            }
            return Ok(removed);
        }
        fs::remove_file(&real)?;
        self.note(format!("remove {path}"));
        Ok(true)
    }

    /// The folders that are wholly ours. Nothing is followed out of them, neither links nor mounts.
    pub fn remove_folders(&mut self) -> Result<(), ResourceError> {
        for folder in FOLDERS {
            let real = self.host.path(folder);
            if fs::symlink_metadata(&real).is_err() {
                continue;
            }
            let mounted = self.mounts(&[folder])?;
            // A volume of its own for the folder itself is the host's; what is in it is ours.
            if let Some(inner) = mounted.iter().find(|point| **point != real) {
                let message = format!("{} is still mounted below {folder}", inner.display());
                return Err(ResourceError::refused(message, "unmount it and reset again"));
            }
            if mounted.is_empty() {
                fs::remove_dir_all(&real)?
            } else {
                empty(&real)?
            }
            self.note(format!("remove {folder}"));
        }
        Ok(())
    }
}

fn empty(folder: &Path) -> Result<(), ResourceError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// The kernel writes blanks and the like in its table as `\040`.
fn plain(point: &str) -> String {
    let mut text = String::with_capacity(point.len());
    let mut rest = point;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::systemd::tests::script;
    use crate::{Content, Resource, Stop, apply_all, atomic};

    fn host(folder: &Path) -> Host {
        let host = Host::below(folder, vec![folder.join("bin")]);
        let body = format!(
            "case \"$1\" in show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';; \
             *) echo \"$*\" >> {}/log;; esac",
            folder.display()
        );
        script(&folder.join("bin"), "systemctl", &body);
        host
    }

    fn put(host: &Host, path: &str, text: &str) {
        atomic::write(&host.path(path), 0o644, text.as_bytes()).unwrap();
    }

    fn tear_down(host: &Host) -> Vec<String> {
        let mut teardown = Teardown::new(host, Vec::new());
        if Teardown::is_needed(host) {
            teardown.retire_units().unwrap();
            teardown.unmount().unwrap();
            teardown.remove_entries().unwrap();
            teardown.remove_folders().unwrap();
        }
        teardown.changes().into_iter().map(|change| change.summary).collect()
    }

    fn cluster(host: &Host) {
        put(host, "/etc/containerd/config.toml", "theirs");
        put(host, "/etc/fstab", "UUID=2 none swap sw 0 0\n");
        let content = |text: &str| Content { text: text.to_owned(), sensitive: false };
        let file = |path: &str| Resource::File { path: path.to_owned(), mode: 0o644, content: content("ours") };
        let resources = [
            Resource::Directory { path: "/etc/naru".to_owned(), mode: 0o755 },
            Resource::Directory { path: "/etc/cni/net.d".to_owned(), mode: 0o755 },
            Resource::Directory { path: "/etc/containerd".to_owned(), mode: 0o755 },
            Resource::Swap { enabled: false },
            file("/etc/naru/node.yaml"),
            file("/etc/containerd/config.toml"),
            file("/etc/sysctl.d/90-naru.conf"),
            file("/etc/motd.d/deep/10-naru"),
            file("/etc/shared.d/10-naru"),
            Resource::Unit {
                name: "naru-node.service".to_owned(),
                content: Some(content("[Service]\n")),
                enabled: true,
                restart_on: Vec::new(),
            },
        ];
        apply_all(host, &resources, &Stop::default()).unwrap();
        put(host, "/etc/cni/net.d/10-naru.conflist", "{}");
        put(host, "/etc/cni/net.d/99-theirs.conflist", "{}");
        put(host, "/etc/shared.d/20-theirs", "x");
        put(host, "/var/lib/kubelet/pods/1/volumes/x", "x");
        put(host, "/var/lib/naru/artifacts/abc", "x");
        fs::remove_file(host.path("/log")).unwrap();
    }

    #[test]
    fn everything_of_ours_goes_and_what_was_theirs_is_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        let done = tear_down(&host);
        for path in ["/etc/naru", "/opt/naru", "/var/lib/naru", "/var/lib/kubelet", "/etc/sysctl.d/90-naru.conf"] {
            assert!(!host.path(path).exists(), "{path}: {done:?}");
        }
        assert!(!host.path("/etc/motd.d").exists(), "made on the way to a file: {done:?}");
        assert!(host.path("/etc/shared.d/20-theirs").exists() && !host.path("/etc/shared.d/10-naru").exists());
        let text = |path: &str| fs::read_to_string(host.path(path)).unwrap();
        assert_eq!(text("/etc/containerd/config.toml"), "theirs");
        assert_eq!(text("/etc/fstab"), "UUID=2 none swap sw 0 0\n");
        assert!(host.path("/etc/cni/net.d/99-theirs.conflist").exists());
        assert!(!host.path("/etc/cni/net.d/10-naru.conflist").exists());
        assert!(!host.path("/etc/systemd/system/naru-node.service").exists());
        let log = text("/log");
        assert!(log.starts_with("disable --now --quiet -- naru-node.service\n"), "{log}");
        assert!(log.contains("restart -- containerd.service"), "{log}");
        assert_eq!(*done.last().unwrap(), "remove /var/lib/naru");
        assert_eq!(tear_down(&host), Vec::<String>::new(), "nothing is left to do");
    }

    #[test]
    fn cut_off_anywhere_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        Teardown::new(&host, Vec::new()).retire_units().unwrap();
        fs::remove_file(host.path("/etc/naru/node.yaml")).unwrap();
        fs::remove_dir_all(host.path("/etc/naru")).unwrap();
        tear_down(&host);
        assert!(!host.path("/var/lib/naru").exists());
        assert_eq!(fs::read_to_string(host.path("/etc/containerd/config.toml")).unwrap(), "theirs");
    }

    #[test]
    fn a_host_of_somebody_elses_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        put(&host, "/var/lib/kubelet/config.yaml", "theirs");
        assert_eq!(tear_down(&host), Vec::<String>::new());
        assert!(host.path("/var/lib/kubelet/config.yaml").exists());
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(plain(r"/var/lib/a\040b\134c"), r"/var/lib/a b\c");
        assert_eq!(plain("/plain"), "/plain");
    }
}

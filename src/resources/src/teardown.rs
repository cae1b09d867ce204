//! The files' part of removing Naru from a host: units, mounts, everything in the manifest, and the folders that are
//! wholly ours. Every step may be cut off and begun again.

use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::mount::{UnmountFlags, unmount};

use crate::kinds::{PARENT, swap, systemd, unit};
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

    /// Everything that the manifest lists; files of the host's come back.
    pub fn remove_entries(&mut self) -> Result<(), ResourceError> {
        // Before the folder that it lies in.
        for path in FILES {
            self.remove(path, "file")?;
        }
        let mut manifest = Manifest::load(&self.host)?;
        for (path, kind) in in_order(&manifest) {
            self.remove_entry(&mut manifest, &path, &kind)?;
        }
        if swap::restore_table(&self.host)? {
            self.note(format!("give {} its swap lines back", swap::FSTAB));
        }
        self.restart_runtime(&mut manifest)
    }

    /// The entry goes after what it tells of. One in a folder that is wholly ours stays until the folder goes: a
    /// manifest that says nothing any more would end the reset before its end.
    fn remove_entry(&mut self, manifest: &mut Manifest, path: &str, kind: &str) -> Result<(), ResourceError> {
        if !STAYING.contains(&kind) && path.starts_with('/') {
            self.remove(path, kind)?;
        }
        if is_read_by_runtime(path, kind) || FOLDERS.iter().any(|folder| Path::new(path).starts_with(folder)) {
            return Ok(());
        }
        manifest.remove(path);
        manifest.save(&self.host)
    }

    /// It goes on with what is the host's. Entries of what it had read stay until then, so that a reset which is cut
    /// off before, and the plan for the next one, know that it is due.
    fn restart_runtime(&mut self, manifest: &mut Manifest) -> Result<(), ResourceError> {
        let read = manifest.entries.iter().filter(|(path, entry)| is_read_by_runtime(path, &entry.kind));
        let read: Vec<String> = read.map(|(path, _)| path.clone()).collect();
        if read.is_empty() {
            return Ok(());
        }
        if systemd::state(&self.host, RUNTIME_UNIT)?.is_active() {
            systemd::reload(&self.host)?;
            systemd::run(&self.host, "restart", RUNTIME_UNIT)?;
            self.note(format!("restart {RUNTIME_UNIT}"));
        }
        read.iter().for_each(|path| manifest.remove(path));
        manifest.save(&self.host)
    }

    fn remove(&mut self, path: &str, kind: &str) -> Result<(), ResourceError> {
        let real = self.host.path(path);
        if originals::restore(&self.host, path)? {
            self.note(format!("restore {path}"));
            return Ok(());
        }
        let Ok(metadata) = fs::symlink_metadata(&real) else { return Ok(()) };
        if metadata.is_dir() {
            // One with something of others in it stays; those that are wholly ours come later.
            if ["directory", PARENT].contains(&kind) && fs::remove_dir(&real).is_ok() {
                self.note(format!("remove {path}"));
            }
            return Ok(());
        }
        fs::remove_file(&real)?;
        self.note(format!("remove {path}"));
        Ok(())
    }

    /// The folders that are wholly ours. Nothing is followed out of them, neither links nor mounts.
    pub fn remove_folders(&mut self) -> Result<(), ResourceError> {
        for folder in FOLDERS {
            let real = self.host.path(folder);
            let Ok(metadata) = fs::symlink_metadata(&real) else { continue };
            if metadata.is_symlink() {
                // What it leads to is the host's, and what is mounted there as well.
                fs::remove_file(&real)?;
                self.note(format!("remove the link {folder}"));
                continue;
            }
            let mounted = self.mounts(&[folder])?;
            // A volume of its own for the folder itself is the host's; what is in it is ours.
            if let Some(inner) = mounted.iter().find(|point| **point != real) {
                let message = format!("{} is still mounted below {folder}", inner.display());
                return Err(ResourceError::refused(message, "unmount it and reset again"));
            }
            // What tells that there is something to remove goes when nothing else is left.
            empty_but(&real, &self.host.manifest())?;
            if mounted.is_empty() {
                fs::remove_dir_all(&real)?
            } else {
                empty_but(&real, &real)?
            }
            self.note(format!("remove {folder}"));
        }
        Ok(())
    }
}

/// What is removed, in this order: deeper before what it lies in; an authority's certificate before its key, since
/// one without its key is a loss that every later check refuses to go on from.
fn in_order(manifest: &Manifest) -> Vec<(String, String)> {
    let listed = manifest.entries.iter().rev().map(|(path, entry)| (path.clone(), entry.kind.clone()));
    let mut entries: Vec<(String, String)> = listed.collect();
    entries.sort_by_key(|(path, kind)| !(kind == "authority" && path.ends_with(".crt")));
    entries
}

/// Whether it is a file of containerd's configuration, or a drop-in of its unit.
fn is_read_by_runtime(path: &str, kind: &str) -> bool {
    let read = unit::watched(RUNTIME_UNIT, &[RUNTIME_FOLDER.to_owned()]);
    !["directory", PARENT].contains(&kind) && read.iter().any(|read| Path::new(path).starts_with(read))
}

/// Removes what is in the folder, except one.
fn empty_but(folder: &Path, staying: &Path) -> Result<(), ResourceError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path() == staying {
            continue;
        }
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
    use crate::{Content, Resource, Stop, apply_all, atomic, check_all};

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
    fn a_link_goes_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        put(&host, "/data/theirs", "x");
        fs::remove_dir_all(host.path("/var/lib/kubelet")).unwrap();
        fs::os::unix::fs::symlink(host.path("/data"), host.path("/var/lib/kubelet")).unwrap();
        fs::create_dir_all(host.path("/var/log")).unwrap();
        fs::os::unix::fs::symlink("nowhere", host.path("/var/log/pods")).unwrap();
        let done = tear_down(&host);
        assert!(host.path("/data/theirs").exists(), "{done:?}");
        for link in ["/var/lib/kubelet", "/var/log/pods"] {
            assert!(fs::symlink_metadata(host.path(link)).is_err(), "{link}: {done:?}");
        }
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

    fn authority() -> Resource {
        Resource::Authority(crate::Authority {
            certificate_path: "/etc/naru/pki/ca.crt".to_owned(),
            key_path: "/etc/naru/pki/ca.key".to_owned(),
            common_name: "naru".to_owned(),
            days: 10,
        })
    }

    #[test]
    fn cut_off_after_any_removal_it_can_be_looked_at_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        apply_all(&host, &[authority()], &Stop::default()).unwrap();
        for (path, kind) in in_order(&Manifest::load(&host).unwrap()) {
            let mut manifest = Manifest::load(&host).unwrap();
            Teardown::new(&host, Vec::new()).remove_entry(&mut manifest, &path, &kind).unwrap();
            check_all(&host, &[authority()]).unwrap_or_else(|error| panic!("after {path}: {error}"));
            assert!(!Manifest::load(&host).unwrap().entries.is_empty(), "after {path} nobody would go on");
        }
        let done = tear_down(&host);
        assert!(done.contains(&"restart containerd.service".to_owned()), "{done:?}");
        for path in ["/etc/naru", "/var/lib/naru", "/etc/motd.d", "/etc/sysctl.d/90-naru.conf"] {
            assert!(!host.path(path).exists(), "{path}");
        }
        assert_eq!(fs::read_to_string(host.path("/etc/containerd/config.toml")).unwrap(), "theirs");
    }

    #[test]
    fn the_manifest_goes_when_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        put(&host, "/var/lib/naru/zzz/data", "x");
        empty_but(&host.path("/var/lib/naru"), &host.manifest()).unwrap();
        let left: Vec<_> =
            fs::read_dir(host.path("/var/lib/naru")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [host.manifest()]);
        assert!(Teardown::is_needed(&host));
    }

    #[test]
    fn a_folder_goes_with_the_file_that_the_node_program_wrote_there() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        cluster(&host);
        fs::remove_file(host.path("/etc/cni/net.d/99-theirs.conflist")).unwrap();
        let done = tear_down(&host);
        assert!(!host.path("/etc/cni/net.d").exists(), "{done:?}");
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

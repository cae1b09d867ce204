//! A kernel module that is loaded, or built into the kernel.

use std::collections::BTreeSet;

use fs_err as fs;

use super::{Kind, announce, change};
use crate::command::Program;
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

pub(crate) const FILE: &str = "/etc/modules-load.d/naru.conf";
const HEADER: &str = "# Kept by naru; changes here are overwritten.\n";
/// What shows that a feature is in a kernel without a list of built-in modules.
const TRACES: &[(&str, &str)] = &[
    ("br_netfilter", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    ("nf_conntrack", "/proc/sys/net/netfilter/nf_conntrack_max"),
    ("tun", "/sys/class/misc/tun"),
    ("fuse", "/sys/class/misc/fuse"),
    ("vxlan", "/sys/module/vxlan"),
];

pub(crate) struct KernelModule<'a> {
    pub(crate) name: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    BuiltIn,
    Loaded,
    Absent,
}

impl KernelModule<'_> {
    fn presence(&self, host: &Host) -> Presence {
        let name = underscored(self.name);
        let read = |path: &str| fs::read_to_string(host.path(path)).unwrap_or_default();
        if read("/proc/modules").lines().any(|line| line.split(' ').next() == Some(name.as_str())) {
            return Presence::Loaded;
        }
        let release = read("/proc/sys/kernel/osrelease");
        let built_in = read(&format!("/lib/modules/{}/modules.builtin", release.trim()));
        let in_list = built_in.lines().any(|line| {
            let file = line.rsplit('/').next().unwrap_or(line);
            underscored(file.split('.').next().unwrap_or(file)) == name
        });
        let filesystem = read("/proc/filesystems").lines().any(|line| line.split_whitespace().last() == Some(&name));
        let trace = TRACES.iter().any(|(module, path)| *module == name && host.path(path).exists());
        // A module that has parameters or a version shows there even when it is built in.
        let in_sys = host.path("/sys/module").join(&name).exists();
        if in_list || filesystem || trace || in_sys { Presence::BuiltIn } else { Presence::Absent }
    }

    fn kept(host: &Host) -> Result<BTreeSet<String>, ResourceError> {
        let text = atomic::read_text(&host.path(FILE))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(lines.map(str::to_owned).collect())
    }
}

impl Kind for KernelModule<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        Ok(match self.presence(host) {
            Presence::BuiltIn => None,
            Presence::Absent => Some(change(format!("load the kernel module {}", self.name))),
            Presence::Loaded if Self::kept(host)?.contains(self.name) => None,
            Presence::Loaded => Some(change(format!("load the kernel module {} at boot", self.name))),
        })
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        if self.presence(host) == Presence::Absent {
            let loaded = Program::new(host, "modprobe").arguments(["--", self.name]).output();
            let reason = match loaded {
                Ok(output) if output.success => String::new(),
                Ok(output) => output.stderr.trim().to_owned(),
                Err(error) => error.to_string(),
            };
            if !reason.is_empty() {
                return Err(ResourceError::refused(
                    format!("the kernel module {} cannot be loaded: {reason}", self.name),
                    "install a kernel that has it, or load it on the machine that owns this container",
                ));
            }
        }
        let mut kept = Self::kept(host)?;
        if kept.insert(self.name.to_owned()) {
            let lines: String = kept.iter().map(|name| format!("{name}\n")).collect();
            atomic::write(&host.path(FILE), 0o644, format!("{HEADER}{lines}").as_bytes())?;
        }
        Ok(())
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, FILE, "kernelModule");
        Ok(())
    }

    fn record(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        if let Some(bytes) = atomic::read(&host.path(FILE))? {
            manifest.put_with_mode(FILE, "kernelModule", &atomic::sha256(&bytes), 0o644);
        }
        Ok(())
    }
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(host: &Host, path: &str, text: &str) {
        atomic::write(&host.path(path), 0o644, text.as_bytes()).unwrap();
    }

    #[test]
    fn built_in_counts_by_every_sign() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        put(&host, "/proc/modules", "veth 45056 0 - Live 0x0\n");
        put(&host, "/proc/filesystems", "nodev\toverlay\n\text4\n");
        put(&host, "/proc/sys/kernel/osrelease", "6.18.0\n");
        put(&host, "/lib/modules/6.18.0/modules.builtin", "kernel/net/bridge/br_netfilter.ko\n");
        put(&host, "/proc/sys/net/netfilter/nf_conntrack_max", "1\n");
        let presence = |name| KernelModule { name }.presence(&host);
        assert_eq!(presence("veth"), Presence::Loaded);
        assert_eq!(presence("overlay"), Presence::BuiltIn);
        assert_eq!(presence("br-netfilter"), Presence::BuiltIn);
        assert_eq!(presence("nf_conntrack"), Presence::BuiltIn);
        assert_eq!(presence("wireguard"), Presence::Absent);
    }

    #[test]
    fn a_loaded_module_is_kept_for_the_next_boot() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        put(&host, "/proc/modules", "veth 45056 0 - Live 0x0\n");
        let veth = KernelModule { name: "veth" };
        assert!(veth.check(&host, &Pending::default()).unwrap().is_some());
        veth.apply(&host).unwrap();
        assert_eq!(veth.check(&host, &Pending::default()).unwrap(), None);
        let absent = KernelModule { name: "wireguard" };
        assert!(absent.check(&host, &Pending::default()).unwrap().is_some());
        assert!(matches!(absent.apply(&host), Err(ResourceError::Refused { .. })));
    }
}

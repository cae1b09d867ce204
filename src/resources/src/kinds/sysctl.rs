//! A kernel parameter: now through `/proc/sys`, at boot through `/etc/sysctl.d`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fs_err as fs;

use super::{Kind, announce, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

pub(crate) const FILE: &str = "/etc/sysctl.d/90-naru.conf";
const HEADER: &str = "# Kept by naru; changes here are overwritten.\n";

pub(crate) struct Sysctl<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

impl Sysctl<'_> {
    /// `net.ipv4.conf.eth0/100.forwarding`: dots and slashes trade places, as sysctl(8) does.
    pub(crate) fn kernel_path(&self, host: &Host) -> PathBuf {
        let swapped: String = self
            .key
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        host.path("/proc/sys").join(swapped)
    }

    pub(crate) fn current(&self, host: &Host) -> Option<String> {
        fs::read_to_string(self.kernel_path(host)).ok().map(|text| normalized(&text))
    }

    fn is_kept(&self, host: &Host) -> Result<bool, ResourceError> {
        let text = atomic::read_text(&host.path(FILE))?;
        Ok(parse(&text).get(self.key).is_some_and(|value| *value == normalized(self.value)))
    }
}

impl Kind for Sysctl<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let wanted = normalized(self.value);
        Ok(match self.current(host) {
            Some(current) if current != wanted => Some(change(format!("set {} = {wanted} (was {current})", self.key))),
            None => Some(change(format!("set {} = {wanted}", self.key))),
            Some(_) if !self.is_kept(host)? => Some(change(format!("keep {} = {wanted} at boot", self.key))),
            Some(_) => None,
        })
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        if !self.is_kept(host)? {
            let mut values = parse(&atomic::read_text(&host.path(FILE))?);
            values.insert(self.key.to_owned(), normalized(self.value));
            let lines: String = values.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            atomic::write(&host.path(FILE), 0o644, format!("{HEADER}{lines}").as_bytes())?;
        }
        if self.current(host).is_some_and(|current| current == normalized(self.value)) {
            return Ok(());
        }
        let path = self.kernel_path(host);
        if !path.exists() {
            return Err(ResourceError::refused(
                format!("this kernel has no parameter {}", self.key),
                "a kernel module that brings it may be missing (br_netfilter for net.bridge.*)",
            ));
        }
        Ok(fs::write(&path, format!("{}\n", self.value))?)
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, FILE, "sysctl");
        Ok(())
    }

    fn record(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        let sha256 = atomic::sha256(atomic::read_text(&host.path(FILE))?.as_bytes());
        manifest.put_with_mode(FILE, "sysctl", &sha256, 0o644);
        Ok(())
    }
}

/// The kernel separates several numbers by tabs, people by spaces.
fn normalized(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), normalized(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(folder: &std::path::Path) -> Host {
        let host = Host::below(folder, Vec::new());
        fs::create_dir_all(host.path("/proc/sys/net/ipv4")).unwrap();
        fs::write(host.path("/proc/sys/net/ipv4/ip_forward"), "0\n").unwrap();
        fs::write(host.path("/proc/sys/net/ipv4/ip_local_port_range"), "32768\t60999\n").unwrap();
        host
    }

    #[test]
    fn set_now_and_kept_for_the_next_boot() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let forward = Sysctl { key: "net.ipv4.ip_forward", value: "1" };
        let summary = forward.check(&host, &Pending::default()).unwrap().unwrap().summary;
        assert_eq!(summary, "set net.ipv4.ip_forward = 1 (was 0)");
        forward.apply(&host).unwrap();
        assert_eq!(forward.check(&host, &Pending::default()).unwrap(), None);
        let range = Sysctl { key: "net.ipv4.ip_local_port_range", value: "32768 60999" };
        let summary = range.check(&host, &Pending::default()).unwrap().unwrap().summary;
        assert_eq!(summary, "keep net.ipv4.ip_local_port_range = 32768 60999 at boot");
        range.apply(&host).unwrap();
        let text = atomic::read_text(&host.path(FILE)).unwrap();
        assert!(text.contains("net.ipv4.ip_forward = 1\nnet.ipv4.ip_local_port_range = 32768 60999\n"), "{text}");
    }

    #[test]
    fn an_unknown_parameter_is_a_change_first_and_refused_later() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let bridge = Sysctl { key: "net.bridge.bridge-nf-call-iptables", value: "1" };
        assert!(bridge.check(&host, &Pending::default()).unwrap().is_some());
        assert!(bridge.apply(&host).unwrap_err().hint().unwrap().contains("br_netfilter"));
    }
}

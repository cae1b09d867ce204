//! The operator's own files, and what among files and kernel parameters SSH hangs on.

use naru_inventory::Host;

use super::{Blueprint, Desired, Stage};

/// A change of these can cut SSH off: paths (all below a trailing slash) and kernel parameters.
const CUTS_SSH: [&str; 8] = [
    "/etc/ssh/",
    "/etc/network/",
    "/etc/netplan/",
    "/etc/systemd/network/",
    "/etc/nftables.conf",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "net.",
];
/// Forwarding changes no path of the host's own traffic; asking every new host for a second connection because of it
/// would cost more than it could ever find.
const HARMLESS: [&str; 1] = ["net.ipv4.ip_forward"];

/// Whether a change of this path or kernel parameter could cut the host off.
pub(crate) fn cuts_ssh(name: &str) -> bool {
    !HARMLESS.contains(&name)
        && CUTS_SSH.iter().any(|entry| match entry.ends_with(['/', '.']) {
            true => name.starts_with(entry),
            false => name == *entry,
        })
}

impl Blueprint<'_> {
    pub(super) fn files(&self, host: &Host, desired: &mut Desired) {
        for file in self.inventory.spec.files.iter().filter(|file| file.is_for(host)) {
            let stage = if cuts_ssh(&file.path) { Stage::Network } else { Stage::Files };
            let mode = file.mode_bits();
            desired.file(stage, &file.path, mode, file.content.clone().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_hangs_on() {
        for name in
            ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/a.conf", "/etc/nftables.conf", "net.ipv4.tcp_mtu_probing"]
        {
            assert!(cuts_ssh(name), "{name}");
        }
        for name in
            ["/etc/sshguard.conf", "/etc/nftables.conf.d/a", "net.ipv4.ip_forward", "fs.inotify.max_user_watches"]
        {
            assert!(!cuts_ssh(name), "{name}");
        }
    }
}

//! What a machine looks like at a moment, to be compared with another moment.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::Context;

/// Everything that a reset has to give back: one line per file (with the hash of those below /etc), unit, interface,
/// route, firewall rule, mount and program. Left out is what systemd, logins and packages change by themselves, and the
/// images and packages that a reset leaves there.
const WHOLE: &str = r"
set -e
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
    -o -path /var/log -o -path /var/cache -o -path /var/lib/containerd -o -path /var/lib/systemd \
    -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /root -o -path /home \) -prune -o -printf 'path %p %y %m\n'
find /var/lib/naru /var/lib/kubelet -mindepth 1 -printf 'path %p %y %m\n' 2>/dev/null || true
find /etc -xdev -type f -exec sha256sum {} + | sed 's/^/hash /'
systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}' | sed 's/^/unit file /'
systemctl list-units --no-legend --no-pager --plain --type=service,socket,timer,mount | awk '{print $1, $2, $3, $4}' \
    | grep -v -e '^user@' -e '^user-runtime' -e '^run-user' -e '^session-' -e '^ssh@' \
    -e '^systemd-hostnamed.service' -e '^systemd-timedated.service' -e '^systemd-tmpfiles-clean.service' \
    | sed 's/^/unit /'
ip -o link | awk '{print $2}' | sed 's/^/link /'
ip route | sed 's/^/route /'
nft list ruleset | sed 's/^/nft /'
awk '{print $2, $3}' /proc/mounts | grep -v -e ' /run/user' -e '^/run/user' | sed 's/^/mount /'
ps -eo comm= | grep -v -e '^ps$' -e '^sshd' -e '^sh$' -e '^sed$' -e '^awk$' -e '^mawk$' -e '^grep$' -e '^sort$' \
    -e '^systemd-user' -e '(sd-pam)' -e '^systemd$' -e '^bash$' -e '^systemd-hostna' -e '^systemd-timeda' \
    | sort -u | sed 's/^/program /'
";

/// Files with their times: what a dry run must not touch.
const FILES: &str = r"
find /etc /opt /var/lib /var/lib/naru /usr/local -xdev \( -path /var/lib/systemd -o -path /var/lib/containerd \
    -o -path /var/lib/kubelet -o -path /var/lib/naru/artifacts -o -path /var/lib/naru/control-plane \) -prune \
    -o -printf '%p %y %m %s %T@\n'
";

impl Context {
    /// Everything that a reset has to give back.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn whole_machine(&self, host: &str) -> Result<BTreeSet<String>> {
        self.lines(host, WHOLE)
    }

    /// All files that a dry run must not touch, with their times.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn files_and_times(&self, host: &str) -> Result<BTreeSet<String>> {
        self.lines(host, FILES)
    }

    /// When services and containers of a machine were started: what a change that restarts nothing leaves as it is.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn starts(&self, host: &str, units: &[&str]) -> Result<BTreeSet<String>> {
        let script = format!(
            "for unit in {}; do echo $unit $(systemctl show $unit -P InvocationID) $(systemctl show $unit -P MainPID); done; \
             ctr -n k8s.io tasks ls | awk 'NR > 1 {{print \"container\", $1, $2, $3}}'",
            units.join(" ")
        );
        self.lines(host, &script)
    }

    fn lines(&self, host: &str, script: &str) -> Result<BTreeSet<String>> {
        let lines: BTreeSet<String> = self.on(host, script)?.lines().map(str::to_owned).collect();
        ensure!(!lines.is_empty(), "{host} has nothing at all");
        Ok(lines)
    }
}

/// What came and what went, a line each.
pub fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("- {line}"));
    let new = after.difference(before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

//! How changes go over the cluster, and what is the operator's own: hooks and files.

use std::collections::BTreeMap;

use crate::document::Path;
use crate::files::MAX_FILE_BYTES;
use crate::names::{is_dns_label, nearest};
use crate::spec::{HookMoment, HookPlace, Host, HostFile, Inventory, Role, Rollout};
use crate::structure::Finding;

/// A share is of at most all workers.
const MAX_PERCENT: u32 = 100;
/// The longest path that Linux takes.
const MAX_PATH_BYTES: usize = 4_095;
/// Below these everything is Naru's, the distribution's or the kernel's.
const MANAGED_FOLDERS: [&str; 13] = [
    "/dev",
    "/etc/cni/net.d",
    "/etc/containerd/certs.d",
    "/etc/naru",
    "/opt/naru",
    "/proc",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/dpkg",
    "/var/lib/kubelet",
    "/var/lib/naru",
    "/var/run",
];
/// Single files that Naru writes or edits.
const MANAGED_FILES: [&str; 5] = [
    "/etc/apt/apt.conf.d/90naru-proxy",
    "/etc/containerd/config.toml",
    "/etc/fstab",
    "/etc/modules-load.d/naru.conf",
    "/etc/sysctl.d/90-naru.conf",
];
/// Units that Naru keeps, with all that changes them.
const MANAGED_UNITS: [&str; 5] =
    ["containerd.service", "etcd.service", "naru-control-plane.service", "naru-etcd.service", "naru-node.service"];
/// How Naru's own files begin beside those of others in a unit's folder.
const DROP_IN: &str = ".d/10-naru";

pub(super) fn rollout(rollout: &Rollout, path: &Path, findings: &mut Vec<Finding>) {
    let text = rollout.max_unavailable.as_str();
    let (number, most) = match text.strip_suffix('%') {
        Some(share) => (share, MAX_PERCENT),
        None => (text, u32::MAX),
    };
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_plain && number.parse::<u32>().is_ok_and(|number| (1..=most).contains(&number))) {
        let finding = Finding::new(path.key("maxUnavailable"), format!("`{text}` is not a number of workers"));
        findings.push(finding.detail("expected a number from 1 on, or a share from 1% to 100%"));
    }
}

pub(super) fn hooks(inventory: &Inventory, path: &Path, findings: &mut Vec<Finding>) {
    let mut names = BTreeMap::new();
    for (index, hook) in inventory.spec.hooks.iter().enumerate() {
        let path = path.index(index);
        if !is_dns_label(&hook.name) {
            let finding = Finding::new(path.key("name"), format!("`{}` is not a hook's name", hook.name));
            findings.push(finding.detail(super::LABEL_GRAMMAR));
        }
        if let Some(earlier) = names.insert(&hook.name, index) {
            let finding = Finding::new(path.key("name"), format!("the name `{}` is taken", hook.name));
            findings.push(finding.detail(format!("hook number {} has it too", earlier + 1)));
        }
        if hook.when == HookMoment::BeforeConnect && hook.on == HookPlace::Host {
            let finding = Finding::new(path.key("when"), "before a connection nothing can run on a host");
            findings.push(finding.hint("add `on: operator`, or use `when: afterConnect`"));
        }
        if hook.command.trim().is_empty() || hook.command.contains('\0') {
            findings.push(Finding::new(path.key("command"), "expected a command, found empty text"));
        }
        known_hosts(inventory, &hook.hosts, &path.key("hosts"), findings);
    }
}

pub(super) fn files(inventory: &Inventory, path: &Path, findings: &mut Vec<Finding>) {
    for (index, file) in inventory.spec.files.iter().enumerate() {
        let path = path.index(index);
        if let Err(reason) = host_path(&file.path) {
            let finding =
                Finding::new(path.key("path"), format!("`{}` cannot be kept: {reason}", file.path.escape_default()));
            findings.push(finding);
        }
        let digits = file.mode.len() == 3 || (file.mode.len() == 4 && file.mode.starts_with('0'));
        if !digits || !file.mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            let finding = Finding::new(path.key("mode"), format!("`{}` are no permissions", file.mode));
            findings.push(finding.detail("expected three octal digits with or without a leading zero, as 0644"));
        }
        text_of(file, &path, findings);
        known_hosts(inventory, &file.hosts, &path.key("hosts"), findings);
        let earlier = inventory.spec.files[..index]
            .iter()
            .position(|earlier| earlier.path == file.path && share_a_host(inventory, earlier, file));
        if let Some(earlier) = earlier {
            let finding = Finding::new(path.key("path"), format!("the file {} is given twice for a host", file.path));
            findings.push(finding.detail(format!("file number {} is the same", earlier + 1)));
        }
    }
}

fn text_of(file: &HostFile, path: &Path, findings: &mut Vec<Finding>) {
    match (&file.content, &file.source) {
        (Some(_), Some(_)) => {
            let finding = Finding::new(path.key("source"), "both `content` and `source` are given").of_key();
            findings.push(finding.hint("remove one of them"));
        }
        (None, None) => {
            let finding = Finding::new(path.clone(), "neither `content` nor `source` is given");
            findings.push(finding.detail("a file's text stands here, or in a file beside the inventory"));
        }
        (Some(text), None) if text.len() as u64 > MAX_FILE_BYTES => {
            let finding = Finding::new(path.key("content"), format!("the text has {} bytes", text.len()));
            findings.push(finding.detail(format!("at most {MAX_FILE_BYTES} are possible")));
        }
        (None, Some(source)) if source.trim().is_empty() => {
            findings.push(Finding::new(path.key("source"), "expected the path of a file, found empty text"));
        }
        _ => {}
    }
}

/// Why a file cannot be kept there.
fn host_path(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else { return Err("it is not absolute".to_owned()) };
    if rest.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err("it has empty parts, `.` or `..`".to_owned());
    }
    if path.len() > MAX_PATH_BYTES || path.chars().any(char::is_control) {
        return Err("no file can be called so".to_owned());
    }
    let is_below =
        |folder: &&&str| path.strip_prefix(**folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(folder) = MANAGED_FOLDERS.iter().find(is_below) {
        return Err(format!("{folder} is not the place for files of yours"));
    }
    let is_of_unit = |unit: &&str| {
        let unit_file = path.strip_prefix("/etc/systemd/system/").and_then(|rest| rest.strip_prefix(*unit));
        unit_file.is_some_and(|rest| rest.is_empty() || rest.starts_with(DROP_IN))
    };
    if MANAGED_FILES.contains(&path) || MANAGED_UNITS.iter().any(is_of_unit) {
        return Err("Naru manages it itself".to_owned());
    }
    Ok(())
}

fn share_a_host(inventory: &Inventory, one: &HostFile, other: &HostFile) -> bool {
    let of_groups = inventory.spec.machines.iter().flat_map(|machines| &machines.groups);
    let machines = of_groups.flat_map(|group| group.machine_names().take(MAX_LOOKED_AT).map(|name| (name, group.role)));
    let hosts = inventory.spec.hosts.iter().map(|host| (host.name.clone(), host.role));
    hosts.chain(machines).any(|(name, role): (String, Role)| {
        let host = Host::new(&name, role, "");
        one.is_for(&host) && other.is_for(&host)
    })
}

/// Machines of a group that are looked at; a larger count is a mistake that is told elsewhere.
const MAX_LOOKED_AT: usize = 64;

fn known_hosts(inventory: &Inventory, names: &[String], path: &Path, findings: &mut Vec<Finding>) {
    let known: Vec<String> = match &inventory.spec.machines {
        Some(machines) => machines.groups.iter().flat_map(|group| group.machine_names().take(MAX_LOOKED_AT)).collect(),
        None => inventory.host_names(),
    };
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !known.contains(name)) {
        let finding = Finding::new(path.index(index), format!("there is no host `{name}`"));
        findings.push(match nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => finding.hint(format!("did you mean `{nearest}`?")),
            None => finding.detail(format!("hosts are: {}", known.join(", "))),
        });
    }
}

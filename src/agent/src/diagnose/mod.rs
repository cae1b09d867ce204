//! The chain that makes a node Ready, as far as the host itself can see it: disk, runtime, certificates, etcd and
//! control plane where they live here, kubelet, API, pod network. Each link is looked at, also behind a broken one.

mod certificates;
mod cni;
mod disk;
mod services;

use naru_resources::{Host, journal, unit_states};

use crate::{Link, LinkName, Response};

const NODE_UNIT: &str = "naru-node.service";
const CONTROL_PLANE_UNIT: &str = "naru-control-plane.service";
const RUNTIME_UNIT: &str = "containerd.service";
const LOG_LINES: u32 = 300;
/// In a line of a log that tells of trouble, the surest signs first.
const TROUBLE: [&[&str]; 2] = [
    &["ERROR", "level=error", "level=fatal", "panicked", "\"level\":\"error\""],
    &["rror", "ailed", "WARN", "refused"],
];
const MAX_LINE_CHARS: usize = 400;

pub(crate) async fn diagnose(host: &Host) -> Response {
    let (of_disk, of_certificates, of_cni) = (host.clone(), host.clone(), host.clone());
    let (disk, runtime, certificates, etcd, control_plane, kubelet, api, cni) = tokio::join!(
        tokio::task::spawn_blocking(move || disk::link(&of_disk)),
        services::runtime(host),
        tokio::task::spawn_blocking(move || certificates::link(&of_certificates)),
        services::etcd(host),
        services::control_plane(host),
        services::kubelet(host),
        services::api(host),
        tokio::task::spawn_blocking(move || cni::link(&of_cni)),
    );
    let crashed = |name| move |error: tokio::task::JoinError| broken(name, error.to_string());
    let links = [
        Some(disk.unwrap_or_else(crashed(LinkName::Disk))),
        Some(runtime),
        Some(certificates.unwrap_or_else(crashed(LinkName::Certificates))),
        etcd,
        control_plane,
        Some(kubelet),
        Some(api),
        Some(cni.unwrap_or_else(crashed(LinkName::Cni))),
    ];
    Response::Diagnosis { links: links.into_iter().flatten().collect() }
}

fn holds(name: LinkName, found: impl Into<String>) -> Link {
    Link { name, holds: true, found: found.into(), log: None, hint: None }
}

fn broken(name: LinkName, found: impl Into<String>) -> Link {
    Link { holds: false, ..holds(name, found) }
}

/// How a unit is, in words; `Err` when it does not run.
fn unit(host: &Host, name: &str) -> Result<String, String> {
    match unit_states(host, &[name]).first() {
        None => Err(format!("{name} is not there")),
        Some(unit) if unit.active_state == "active" => Ok(format!("{name} runs")),
        Some(unit) => {
            let masked = if unit.is_masked { "masked and " } else { "" };
            Err(format!("{name} is {masked}{} ({})", unit.active_state, unit.sub_state))
        }
    }
}

/// The last line of a unit's journal that tells of trouble; of a unit that does not run, its last line at all.
fn trouble(host: &Host, unit: &str, runs: bool) -> Option<String> {
    let lines = journal(host, unit, LOG_LINES);
    let line = TROUBLE
        .iter()
        .find_map(|signs| lines.iter().rfind(|line| signs.iter().any(|sign| line.contains(sign))))
        .or_else(|| lines.iter().rfind(|line| !line.trim().is_empty()).filter(|_| !runs))?;
    Some(line.chars().take(MAX_LINE_CHARS).collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! `naru status`: hosts and nodes and how they are, on one screen also for many.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use naru_inventory::Role;
use naru_observe::{ApiState, NodeObservation, Observation};
use naru_plan::{Colour, Finding, Severity};

use super::{Format, json, print};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::health::{Health, HostHealth, HostStanding, Share, health};
use crate::session::{InventoryFile, Reach, Session};
use crate::style::{BAD, BOLD, GOOD, WARN, age, paint, plural, size};
use crate::table::table;

/// With more hosts than this only those are shown that have something to say.
const MAX_ROWS: usize = 30;
const MAX_FINDINGS: usize = 20;
const MAX_PROBLEM_CHARS: usize = 60;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is as wanted, 1 a mistake of yours, 2 a host or node is not as it should be."
)]
pub(crate) struct Status {
    #[command(flatten)]
    inventory: InventoryFile,
    /// Every host and every finding, however many there are.
    #[arg(long)]
    all: bool,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    reach: Reach,
}

impl Status {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        let observation = session.observe(&|_, _| {}).await;
        let health = health(&session.inventory, &observation, &session.plan(&observation), Timestamp::now());
        match self.output {
            Format::Json => print(&json(&health))?,
            Format::Text => print(&render(&health, self.all, terminal.stdout))?,
        };
        Ok(if health.is_well { Exit::Done } else { Exit::OurFailure })
    }
}

fn render(health: &Health, all: bool, colour: Colour) -> String {
    let mut text = cluster_line(health, colour);
    let is_short = all || health.hosts.len() <= MAX_ROWS;
    let shown: Vec<&HostHealth> = health.hosts.iter().filter(|host| is_short || host.has_something_to_say()).collect();
    let limit = if all { usize::MAX } else { MAX_ROWS };
    if !shown.is_empty() {
        let rows: Vec<Vec<String>> = shown.iter().take(limit).map(|host| row(host)).collect();
        let heading = ["HOST", "ADDRESS", "ROLE", "STATE", "NODE", "VERSION", "DRIFT", "CERTIFICATES", "DISK FREE"];
        let _ = write!(text, "\n{}", table(&heading, &rows));
    }
    if shown.len() > limit {
        let _ = writeln!(text, "… and {} that are not well (--all shows them)", plural(shown.len() - limit, "host"));
    }
    if !is_short {
        let _ = writeln!(text, "\n{}", counts(&health.hosts));
    }
    for stranger in &health.strangers {
        let _ = writeln!(text, "{stranger} is a node of the cluster and no host of the inventory.");
    }
    findings(&mut text, &health.findings, if all { usize::MAX } else { MAX_FINDINGS }, colour);
    text
}

fn cluster_line(health: &Health, colour: Colour) -> String {
    let (api, code) = match health.api {
        ApiState::Ready => ("API ready", GOOD),
        ApiState::Down => ("API DOWN", BAD),
        ApiState::Unknown => ("API unknown", WARN),
    };
    let Share { healthy, of } = health.control_planes;
    let mut parts = vec![paint(api, code, colour), format!("control planes {healthy}/{of}")];
    if let Some(Share { healthy, of }) = health.etcd {
        parts.push(format!("etcd {healthy}/{of}"));
    }
    let nodes = health.hosts.iter().filter_map(|host| host.node.as_ref());
    let ready = nodes.clone().filter(|node| node.ready).count();
    parts.push(format!("nodes {ready}/{} Ready", health.hosts.len()));
    match health.versions.iter().collect::<Vec<_>>().as_slice() {
        [] => {}
        [(version, _)] => parts.push((*version).clone()),
        several => {
            let several = several.iter().map(|(version, count)| format!("{version} ({count})"));
            parts.push(several.collect::<Vec<_>>().join(" "));
        }
    }
    format!("Cluster {}: {}\n", paint(&health.cluster, BOLD, colour), parts.join(", "))
}

fn state(host: &HostHealth) -> String {
    let problem = || {
        let mut text: String = host.problem.clone().unwrap_or_default();
        if text.chars().count() > MAX_PROBLEM_CHARS {
            text = text.chars().take(MAX_PROBLEM_CHARS - 1).chain(['…']).collect();
        }
        text
    };
    match host.state {
        HostStanding::AsWanted => "as wanted".to_owned(),
        HostStanding::Differs => plural(host.changes, "change") + " to make",
        HostStanding::Leaving => "is leaving".to_owned(),
        HostStanding::Unusable => format!("UNUSABLE: {}", problem()),
        HostStanding::Unreachable => format!("UNREACHABLE: {}", problem()),
        HostStanding::Off => "OFF".to_owned(),
        HostStanding::NotMade => "not made".to_owned(),
    }
}

fn row(host: &HostHealth) -> Vec<String> {
    let role = match host.role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    };
    let (node, version) = match &host.node {
        None => ("-".to_owned(), "-".to_owned()),
        Some(node) => {
            let ready = if node.ready { "Ready" } else { "NotReady" };
            let cordoned = if node.unschedulable { ",SchedulingDisabled" } else { "" };
            (format!("{ready}{cordoned}"), node.version.clone())
        }
    };
    let drift = if host.drifted == 0 { "-".to_owned() } else { host.drifted.to_string() };
    let certificates = host.certificate_days_left.map_or("-".to_owned(), |days| match days {
        ..0 => "EXPIRED".to_owned(),
        days => plural(usize::try_from(days).unwrap_or_default(), "day"),
    });
    let disk = host.disk_free_bytes.map_or("-".to_owned(), size);
    let address = if host.address.is_empty() { "-" } else { &host.address };
    vec![host.name.clone(), address.to_owned(), role.to_owned(), state(host), node, version, drift, certificates, disk]
}

/// How many hosts are in which state, and how many of them the table left out.
fn counts(hosts: &[HostHealth]) -> String {
    let mut by_state: BTreeMap<HostStanding, usize> = BTreeMap::new();
    for host in hosts {
        *by_state.entry(host.state).or_default() += 1;
    }
    let words = |state| match state {
        HostStanding::AsWanted => "as wanted",
        HostStanding::Differs => "with changes to make",
        HostStanding::Leaving => "leaving",
        HostStanding::Unusable => "unusable",
        HostStanding::Unreachable => "unreachable",
        HostStanding::Off => "off",
        HostStanding::NotMade => "not made",
    };
    let parts: Vec<String> = by_state.into_iter().map(|(state, count)| format!("{count} {}", words(state))).collect();
    let hidden = hosts.iter().filter(|host| !host.has_something_to_say()).count();
    format!("{}: {}. {hidden} that are well are not shown (--all).", plural(hosts.len(), "host"), parts.join(", "))
}

pub(crate) fn findings(text: &mut String, findings: &[Finding], limit: usize, colour: Colour) {
    if !findings.is_empty() {
        text.push('\n');
    }
    for finding in findings.iter().take(limit) {
        let (word, code) = match finding.severity {
            Severity::Error => ("error", BAD),
            Severity::Warning => ("warning", WARN),
        };
        // The word that scripts and the troubleshooting page know it by.
        let name = serde_json::to_value(finding.code).unwrap_or_default();
        let host = finding.host.as_deref().map(|host| format!("{host}: ")).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        let _ = writeln!(text, "{}: {host}{} ({name})", paint(word, code, colour), finding.text);
        if let Some(hint) = &finding.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
    if findings.len() > limit {
        let _ = writeln!(text, "… and {} (--all shows them)", plural(findings.len() - limit, "more finding"));
    }
}

/// The cluster's nodes as the API server knows them.
pub(crate) fn nodes_table(observation: &Observation) -> String {
    match (&observation.cluster.nodes, observation.cluster.api) {
        (Some(nodes), _) if nodes.is_empty() => "The cluster has no nodes.\n".to_owned(),
        (Some(nodes), _) => {
            let rows: Vec<Vec<String>> = nodes.iter().take(MAX_ROWS).map(|(name, node)| node_row(name, node)).collect();
            let mut text = table(&["NODE", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "OS", "RUNTIME"], &rows);
            if nodes.len() > MAX_ROWS {
                let ready = nodes.values().filter(|node| node.ready).count();
                let _ = writeln!(text, "… {} in all, {ready} of them Ready", plural(nodes.len(), "node"));
            }
            text
        }
        (None, ApiState::Unknown) => "There is no control plane to ask for nodes.\n".to_owned(),
        (None, _) => "The API server does not answer.\n".to_owned(),
    }
}

fn node_row(name: &str, node: &NodeObservation) -> Vec<String> {
    let mut status = if node.ready { "Ready".to_owned() } else { "NotReady".to_owned() };
    if node.unschedulable {
        status += ",SchedulingDisabled";
    }
    let roles: Vec<&str> = node.labels.keys().filter_map(|key| key.strip_prefix("node-role.kubernetes.io/")).collect();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let age = node.created.parse::<Timestamp>().map(|created| age(Timestamp::now().as_second() - created.as_second()));
    vec![
        name.to_owned(),
        status,
        roles,
        age.unwrap_or_default(),
        node.version.clone(),
        node.internal_ip.clone(),
        node.os_image.clone(),
        node.runtime.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use naru_plan::FindingCode;

    use super::*;
    use crate::health::NodeHealth;

    fn host(name: &str, state: HostStanding) -> HostHealth {
        let is_there = matches!(state, HostStanding::AsWanted | HostStanding::Differs);
        HostHealth {
            name: name.to_owned(),
            role: if name.starts_with("cp") { Role::ControlPlane } else { Role::Worker },
            address: "10.0.0.9".to_owned(),
            state,
            problem: (state == HostStanding::Unreachable).then(|| "10.0.0.9:22 cannot be reached".to_owned()),
            changes: usize::from(state == HostStanding::Differs) * 3,
            drifted: usize::from(state == HostStanding::Differs),
            node: is_there.then(|| NodeHealth {
                ready: true,
                unschedulable: name == "w2",
                reason: String::new(),
                version: "v1.36.0+naru".to_owned(),
            }),
            certificate_days_left: is_there.then_some(121),
            disk_free_bytes: is_there.then_some(12_345_678_901),
            has_finding: false,
        }
    }

    fn health(hosts: Vec<HostHealth>) -> Health {
        let finding = Finding {
            severity: Severity::Warning,
            code: FindingCode::ClockSkew,
            host: Some("w1".to_owned()),
            text: "its clock is 40 s behind".to_owned(),
            hint: Some("timedatectl set-ntp true".to_owned()),
        };
        Health {
            cluster: "prod".to_owned(),
            is_well: false,
            api: ApiState::Ready,
            control_planes: Share { healthy: 3, of: 3 },
            etcd: Some(Share { healthy: 2, of: 3 }),
            versions: [("v1.36.0+naru".to_owned(), hosts.len())].into(),
            hosts,
            strangers: vec!["old-node".to_owned()],
            findings: vec![finding],
        }
    }

    #[test]
    fn one_line_per_host() {
        let hosts = vec![
            host("cp1", HostStanding::AsWanted),
            host("w1", HostStanding::Differs),
            host("w2", HostStanding::AsWanted),
            host("w3", HostStanding::Unreachable),
            host("w4", HostStanding::Off),
        ];
        insta::assert_snapshot!("hosts", render(&health(hosts.clone()), false, Colour::Never));
        insta::assert_snapshot!("as_json", json(&health(hosts[..2].to_vec())));
    }

    #[test]
    fn of_a_thousand_hosts_only_those_with_something_to_say() {
        let state = |number| if number % 100 == 7 { HostStanding::Unreachable } else { HostStanding::AsWanted };
        let hosts: Vec<HostHealth> = (0..1_000).map(|number| host(&format!("n{number}"), state(number))).collect();
        let text = render(&health(hosts.clone()), false, Colour::Never);
        insta::assert_snapshot!("thousand", text);
        assert!(text.lines().count() < 40, "more than a screen");
        assert!(render(&health(hosts), true, Colour::Never).lines().count() > 1_000);
        let broken: Vec<HostHealth> = (0..1_000).map(|n| host(&format!("n{n}"), HostStanding::Unreachable)).collect();
        let text = render(&health(broken), false, Colour::Never);
        assert!(text.contains("and 970 hosts that are not well"), "{text}");
    }
}

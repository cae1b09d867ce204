//! A scenario as an observation: what agents and API would tell, made up without either.

use std::collections::{BTreeMap, BTreeSet};

use naru_agent::{CertificateFact, Entry, EtcdMember, Facts, NetworkLink, Route, UnitState};
use naru_inventory::{Host, Inventory, Role, Store};
use naru_observe::{
    ApiState, ClusterObservation, HostObservation, Managed, ManifestState, NodeObservation, Observation, Preflight,
    Problem, ProblemKind, Reached,
};
use naru_resources::{Change, Disruption, Resource};
use sha2::{Digest, Sha256};

use super::{Scenario, Twist, programs};
use crate::labels::{identity, node_labels, node_taints};
use crate::{CONTROL_PLANE_UNIT, CORDONED_ANNOTATION, ETCD_UNIT, NODE_UNIT, Programs, desired, peer_url};

const AUTHORITY: &str = "1111";
const NOW_UNIX_MS: i64 = 1_800_000_000_000;
const MILLISECONDS_PER_DAY: i64 = 86_400_000;
const CERTIFICATE_DAYS: i64 = 300;

pub(super) fn observation(scenario: &Scenario) -> Observation {
    let now = scenario.now.inventory();
    let before = scenario.before.as_ref().map(super::Applied::inventory);
    let world = World { scenario, now: &now, before: before.as_ref(), programs: scenario.programs() };
    let hosts = now.spec.hosts.iter().map(|host| (host.name.clone(), world.host(host))).collect();
    Observation { hosts, cluster: world.cluster(), preflight: world.preflight() }
}

struct World<'a> {
    scenario: &'a Scenario,
    now: &'a Inventory,
    before: Option<&'a Inventory>,
    programs: Programs,
}

impl World<'_> {
    fn twists(&self, host: &str, found: impl Fn(&Twist) -> Option<&str>) -> bool {
        self.scenario.twists.iter().any(|twist| found(twist) == Some(host))
    }

    fn is_off(&self, host: &str) -> bool {
        self.twists(host, |twist| if let Twist::Unreachable(host) = twist { Some(host) } else { None })
    }

    fn is_gone(&self, host: &str) -> bool {
        self.twists(host, |twist| if let Twist::Gone(host) = twist { Some(host) } else { None })
    }

    /// The host as it was when `before` had been applied, if it was part of that and is still the same machine.
    fn old(&self, host: &str) -> Option<&Host> {
        let old = self.before?.host(host)?;
        (old.state.is_present() && !self.is_gone(host)).then_some(old)
    }

    fn host(&self, host: &Host) -> HostObservation {
        if self.is_off(&host.name) {
            return HostObservation::Unreachable(Problem {
                kind: ProblemKind::Unreachable,
                primary: format!("{}:22 does not answer", host.address),
                detail: Some("connection timed out after 10 s".to_owned()),
                hint: Some("is it switched on?".to_owned()),
            });
        }
        let facts = self.facts(host);
        let present = self.present(host, &facts);
        let mut manifest: BTreeMap<String, Entry> = present.iter().flat_map(entries).collect();
        let mut reached = Reached { facts, ..Reached::default() };
        for twist in &self.scenario.twists {
            match twist {
                Twist::ClockSkew(name, seconds) if *name == host.name => reached.clock_skew_seconds = *seconds,
                Twist::Drifted(name, path) if *name == host.name => reached.drifted.push((*path).to_owned()),
                _ => {}
            }
        }
        let present: Vec<Resource> = present.into_iter().map(|resource| edited(resource, &reached.drifted)).collect();
        match desired(self.now, host, &reached.facts, &self.programs) {
            Ok(desired) => {
                let wanted = desired.resources();
                reached.changes = check(&wanted, &present);
                let had: BTreeSet<&str> = present.iter().filter_map(Resource::artifact).collect();
                let artifacts: BTreeSet<&str> = wanted.iter().filter_map(Resource::artifact).collect();
                reached.missing_artifacts = artifacts.difference(&had).map(|sha256| (*sha256).to_owned()).collect();
            }
            Err(primary) => {
                reached.problem = Some(Problem { kind: ProblemKind::Agent, primary, detail: None, hint: None });
            }
        }
        std::mem::swap(&mut reached.manifest, &mut manifest);
        HostObservation::Reached(Box::new(reached))
    }

    /// What an apply of `before` left on the host.
    fn present(&self, host: &Host, facts: &Facts) -> Vec<Resource> {
        let (Some(inventory), Some(applied)) = (self.before, &self.scenario.before) else { return Vec::new() };
        let Some(old) = self.old(&host.name) else { return Vec::new() };
        let programs = programs(&[applied.version]);
        desired(inventory, old, facts, &programs).map(|desired| desired.resources()).unwrap_or_default()
    }

    fn facts(&self, host: &Host) -> Facts {
        let mut facts = Facts {
            hostname: host.name.clone(),
            machine_id: format!("id-of-{}", host.name),
            os_id: "debian".to_owned(),
            os_version_id: "13".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            init: "systemd".to_owned(),
            kernel: "6.12.48-amd64".to_owned(),
            can_lower_oom_score: true,
            memory_bytes: 4_000_000_000,
            memory_available_bytes: 3_000_000_000,
            disk_free_bytes: 40_000_000_000,
            cpus: 2,
            addresses: vec![host.address.clone()],
            resolvers: vec!["10.0.0.1".to_owned()],
            unix_time_ms: NOW_UNIX_MS,
            clock_synchronised: Some(true),
            authority: Some(String::new()),
            links: vec![NetworkLink {
                name: "eth0".to_owned(),
                mtu: 1_500,
                addresses: vec![format!("{}/24", host.address)],
            }],
            routes: vec![route("0.0.0.0/0"), route("10.0.0.0/24")],
            ..Facts::default()
        };
        if let (Some(old), Some(applied)) = (self.old(&host.name), &self.scenario.before) {
            let mut units = vec![NODE_UNIT, "containerd.service"];
            let mut programs = vec!["naru-node"];
            if old.role == Role::ControlPlane {
                units.push(CONTROL_PLANE_UNIT);
                programs.push("naru-control-plane");
                if self.has_etcd() {
                    units.push(ETCD_UNIT);
                }
            }
            facts.units = units.into_iter().map(active).collect();
            facts.versions = programs.into_iter().map(|name| (name.to_owned(), applied.version.to_owned())).collect();
            facts.authority = Some(AUTHORITY.to_owned());
            facts.certificates = vec![CertificateFact {
                path: "/etc/naru/pki/kubelet.crt".to_owned(),
                not_after_unix_ms: NOW_UNIX_MS + CERTIFICATE_DAYS * MILLISECONDS_PER_DAY,
            }];
        }
        for twist in &self.scenario.twists {
            if let Twist::Facts(name, change) = twist
                && *name == host.name
            {
                change(&mut facts);
            }
        }
        facts
    }

    fn has_etcd(&self) -> bool {
        self.before.is_some_and(|before| before.spec.control_plane.store == Store::Etcd)
    }

    fn cluster(&self) -> ClusterObservation {
        let Some(before) = self.before else { return ClusterObservation::default() };
        let answers = |host: &Host| !self.is_off(&host.name) && !self.is_gone(&host.name);
        let members = self.members(before);
        let votes: Vec<bool> =
            members.iter().filter(|member| !member.is_learner).map(|member| member.is_healthy).collect();
        let has_quorum = !self.has_etcd() || votes.iter().filter(|healthy| **healthy).count() > votes.len() / 2;
        let asked = before.control_planes().any(answers);
        let etcd = (self.has_etcd() && asked).then_some(members);
        if !asked || !has_quorum {
            return ClusterObservation { api: ApiState::Down, etcd, ..ClusterObservation::default() };
        }
        let mut nodes: BTreeMap<String, NodeObservation> =
            before.present_hosts().map(|host| (host.name.clone(), self.node(host))).collect();
        for twist in &self.scenario.twists {
            if let Twist::Stranger(name) = twist {
                nodes.insert((*name).to_owned(), NodeObservation { ready: true, ..NodeObservation::default() });
            }
        }
        let state = |manifest| match before.manifests.contains(manifest) {
            true => ManifestState::AsWanted,
            false => ManifestState::Missing,
        };
        ClusterObservation {
            api: ApiState::Ready,
            nodes: Some(nodes),
            etcd,
            manifests: self.now.manifests.iter().map(state).collect(),
        }
    }

    fn members(&self, before: &Inventory) -> Vec<EtcdMember> {
        let mut leads = true;
        let member = |(index, host): (usize, &Host)| {
            let is_healthy = !self.is_off(&host.name) && !self.is_gone(&host.name);
            let is_leader = is_healthy && std::mem::take(&mut leads);
            let (name, peer_url) = (host.name.clone(), peer_url(host));
            EtcdMember { name, id: format!("{:x}", index + 160), peer_url, is_learner: false, is_leader, is_healthy }
        };
        let mut members: Vec<EtcdMember> = before.control_planes().enumerate().map(member).collect();
        for twist in &self.scenario.twists {
            if let Twist::Learner(name) = twist {
                members.push(EtcdMember {
                    name: String::new(),
                    id: "1ea".to_owned(),
                    peer_url: self.now.host(name).map(peer_url).unwrap_or_default(),
                    is_learner: true,
                    is_leader: false,
                    is_healthy: false,
                });
            }
        }
        members
    }

    fn node(&self, host: &Host) -> NodeObservation {
        let (labels, taints) = (node_labels(host), node_taints(host));
        let managed = Managed {
            labels: labels.keys().cloned().collect(),
            taints: taints.iter().map(identity).collect(),
            annotations: host.annotations.keys().cloned().collect(),
        };
        let annotations = host.annotations.clone();
        let mut node =
            NodeObservation { ready: true, labels, taints, annotations, managed, ..NodeObservation::default() };
        if self.is_off(&host.name) || self.is_gone(&host.name) {
            (node.ready, node.reason) = (false, "NodeStatusUnknown: the node does not report".to_owned());
        }
        for twist in &self.scenario.twists {
            match twist {
                Twist::Cordoned(name) if *name == host.name => node.unschedulable = true,
                Twist::CordonedByUs(name) if *name == host.name => {
                    node.unschedulable = true;
                    node.annotations.insert(CORDONED_ANNOTATION.to_owned(), "true".to_owned());
                }
                Twist::NotReady(name) if *name == host.name => {
                    (node.ready, node.reason) = (false, "KubeletNotReady: the runtime is down".to_owned());
                }
                Twist::Pods(name, pods) if *name == host.name => node.pods = Some(pods.clone()),
                _ => {}
            }
        }
        node
    }

    fn preflight(&self) -> Option<Preflight> {
        let changes = self.scenario.twists.iter().filter_map(|twist| match twist {
            Twist::Preflight(change) => Some(change),
            _ => None,
        });
        changes.fold(None, |preflight, change| {
            let mut preflight = preflight.unwrap_or_default();
            change(&mut preflight);
            Some(preflight)
        })
    }
}

fn active(name: &str) -> UnitState {
    UnitState { name: name.to_owned(), active_state: "active".to_owned(), started_unix_ms: NOW_UNIX_MS }
}

fn route(destination: &str) -> Route {
    Route { destination: destination.to_owned(), interface: "eth0".to_owned() }
}

/// What stands in the host's manifest for a resource that was applied.
fn entries(resource: &Resource) -> Vec<(String, Entry)> {
    let hash = |text: &str| hex::encode(Sha256::digest(text));
    let entry = |path: &str, kind: &str, sha256: &str| {
        (path.to_owned(), Entry { kind: kind.to_owned(), sha256: sha256.to_owned() })
    };
    match resource {
        Resource::File { path, content, .. } => vec![entry(path, "file", &hash(&content.text))],
        Resource::Directory { path, .. } => vec![entry(path, "directory", "")],
        Resource::Binary { path, sha256 } => vec![entry(path, "binary", sha256)],
        Resource::Unit { name, content: Some(content), .. } => {
            vec![entry(&format!("/etc/systemd/system/{name}"), "unit", &hash(&content.text))]
        }
        Resource::Packages { names } => names.iter().map(|name| entry(name, "package", "")).collect(),
        Resource::Certificate(certificate) => vec![entry(&certificate.certificate_path, "certificate", "")],
        Resource::Authority(authority) => {
            vec![entry(&authority.certificate_path, "authority", ""), entry(&authority.key_path, "authority", "")]
        }
        _ => Vec::new(),
    }
}

/// A file as somebody left it who edited it.
fn edited(mut resource: Resource, drifted: &[String]) -> Resource {
    if let Resource::File { path, content, .. } = &mut resource
        && drifted.contains(path)
    {
        content.text.push_str("# edited by hand\n");
    }
    resource
}

/// What a check finds on a host that has these resources already, in the words of the real one.
fn check(desired: &[Resource], present: &[Resource]) -> Vec<Change> {
    let missing = desired.iter().enumerate().filter(|(_, resource)| !present.contains(resource));
    missing.filter_map(|(index, resource)| change(index, resource, present)).collect()
}

fn change(index: usize, resource: &Resource, present: &[Resource]) -> Option<Change> {
    let plain = |summary: String| Some(Change { resource: index, summary, diff: None, disruption: None });
    match resource {
        Resource::Absent { .. } => None,
        Resource::Directory { path, .. } => plain(format!("create {path}/")),
        Resource::File { path, content, .. } => {
            let old = present.iter().find_map(|other| match other {
                Resource::File { path: same, content, .. } if same == path => Some(&content.text),
                _ => None,
            });
            let verb = if old.is_some() { "update" } else { "create" };
            let diff = if content.sensitive { None } else { old.map(|old| diff(old, &content.text)) };
            Some(Change { resource: index, summary: format!("{verb} {path}"), diff, disruption: None })
        }
        Resource::Unit { name, content, .. } => {
            let old = present.iter().find_map(|other| match other {
                Resource::Unit { name: same, content, .. } if same == name => Some(content),
                _ => None,
            });
            // What it looks at is another; whether it restarts shows the present alone.
            if old == Some(content) {
                return None;
            }
            let texts = old.and_then(Option::as_ref).zip(content.as_ref());
            let (summary, disruption) = match old {
                Some(_) => (format!("update and restart {name}"), Disruption::RestartUnit(name.clone())),
                None if content.is_some() => {
                    (format!("create, enable and start {name}"), Disruption::StartUnit(name.clone()))
                }
                None => (format!("start {name}"), Disruption::StartUnit(name.clone())),
            };
            let diff = texts.map(|(old, new)| diff(&old.text, &new.text));
            Some(Change { resource: index, summary, diff, disruption: Some(disruption) })
        }
        Resource::Binary { path, sha256 } => {
            let is_there =
                present.iter().any(|other| matches!(other, Resource::Binary { path: same, .. } if same == path));
            let short = &sha256[..12];
            plain(if is_there { format!("replace {path} ({short})") } else { format!("install {path} ({short})") })
        }
        Resource::Packages { names } => plain(format!("install {}", names.join(" "))),
        Resource::Sysctl { key, value } => plain(format!("set {key} = {value}")),
        Resource::Certificate(certificate) => {
            let path = &certificate.certificate_path;
            let is_there = present
                .iter()
                .any(|other| matches!(other, Resource::Certificate(same) if same.certificate_path == *path));
            plain(if is_there { format!("renew {path}: it says something else") } else { format!("issue {path}") })
        }
        Resource::Authority(authority) => plain(format!("make the certificate authority `{}`", authority.common_name)),
        Resource::KeyPair { private_path, public_path } => {
            plain(format!("make the key pair {private_path} and {public_path}"))
        }
        Resource::PauseImage { reference } => plain(format!("import pause image {reference}")),
        // A machine of ours has no swap and all modules.
        Resource::Swap { .. } | Resource::KernelModule { .. } => None,
        Resource::Image { reference, .. } => plain(format!("import image {reference}")),
    }
}

fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(0).to_string()
}

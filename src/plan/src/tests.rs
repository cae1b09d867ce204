//! Golden plans: what an operator sees in each situation.

use std::collections::BTreeMap;

use naru_agent::Facts;
use naru_inventory::Inventory;
use naru_observe::{
    ApiState, ClusterObservation, HostObservation, Managed, NodeObservation, Observation, Problem, ProblemKind, Reached,
};
use naru_resources::{Change, Disruption, Resource};

use super::*;

fn inventory(extra_hosts: &str) -> Inventory {
    let text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  hosts:\n  \
         - {{name: cp1, role: control-plane, address: 10.0.0.11}}\n  \
         - {{name: w1, role: worker, address: 10.0.0.21, labels: {{disk: ssd}}}}\n{extra_hosts}"
    );
    naru_inventory::parse("cluster.yaml", &text).unwrap()
}

fn programs() -> Programs {
    let artifact = |name: &str, letter: &str| Artifact {
        name: name.to_owned(),
        sha256: letter.repeat(64),
        size_bytes: 12_345_678,
    };
    let version =
        ProgramVersion { node: artifact("naru-node", "a"), control_plane: artifact("naru-control-plane", "b") };
    Programs::of(naru_inventory::VERSION, version)
}

fn facts() -> Facts {
    Facts {
        os_id: "debian".to_owned(),
        os_version_id: "13".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        init: "systemd".to_owned(),
        ..Facts::default()
    }
}

/// What a check finds on a host that has these resources already.
fn check(desired: &[Resource], present: &[Resource]) -> Vec<Change> {
    let missing = desired.iter().enumerate().filter(|(_, resource)| !present.contains(resource));
    missing
        .map(|(index, resource)| {
            let (summary, disruption) = match resource {
                Resource::Unit { name, .. } => (format!("start {name}"), Some(Disruption::StartUnit(name.clone()))),
                Resource::File { path, content, .. } => {
                    let old = present.iter().find_map(|other| match other {
                        Resource::File { path: same, content, .. } if same == path => Some(content),
                        _ => None,
                    });
                    let Some(old) = old else {
                        return Change {
                            resource: index,
                            summary: format!("create {path}"),
                            diff: None,
                            disruption: None,
                        };
                    };
                    let diff = similar::TextDiff::from_lines(&old.text, &content.text);
                    let diff = Some(diff.unified_diff().context_radius(0).to_string());
                    return Change { resource: index, summary: format!("update {path}"), diff, disruption: None };
                }
                Resource::Certificate(certificate) => (format!("issue {}", certificate.certificate_path), None),
                Resource::Directory { path, .. } => (format!("create {path}"), None),
                other => (format!("make {}", serde_json::to_value(other).unwrap()["kind"].as_str().unwrap()), None),
            };
            Change { resource: index, summary, diff: None, disruption }
        })
        .collect()
}

fn resources(inventory: &Inventory, host: &str) -> Vec<Resource> {
    desired(inventory, inventory.host(host).unwrap(), &facts(), &programs()).unwrap().resources()
}

/// The world in which `old` has been applied, looked at with the eyes of `new`.
fn world(old: Option<&Inventory>, new: &Inventory) -> Observation {
    let mut hosts = BTreeMap::new();
    for host in &new.spec.hosts {
        let present = match old.filter(|old| old.host(&host.name).is_some()) {
            Some(old) => resources(old, &host.name),
            None => Vec::new(),
        };
        let missing_artifacts = if present.is_empty() { vec!["a".repeat(64), "b".repeat(64)] } else { Vec::new() };
        let changes = check(&resources(new, &host.name), &present);
        let reached = Reached { facts: facts(), changes, missing_artifacts, ..Reached::default() };
        hosts.insert(host.name.clone(), HostObservation::Reached(Box::new(reached)));
    }
    let nodes = old.map(|old| {
        let node = |host: &naru_inventory::Host| {
            let (labels, taints) = (labels::node_labels(host), labels::node_taints(host));
            let managed = Managed {
                labels: labels.keys().cloned().collect(),
                taints: taints.iter().map(labels::identity).collect(),
                annotations: Vec::new(),
            };
            (host.name.clone(), NodeObservation { ready: true, labels, taints, managed, ..NodeObservation::default() })
        };
        old.spec.hosts.iter().map(node).collect()
    });
    let api = if nodes.is_some() { ApiState::Ready } else { ApiState::Unknown };
    Observation { hosts, cluster: ClusterObservation { api, nodes, ..ClusterObservation::default() }, preflight: None }
}

fn planned(observation: &Observation, inventory: &Inventory) -> Plan {
    let made = plan(inventory, observation, &programs(), &Options::default());
    assert_eq!(made, plan(inventory, observation, &programs(), &Options::default()), "the planner is deterministic");
    let text = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), made, "a saved plan is the same plan");
    well_formed(&made);
    made
}

/// Needs name earlier steps only, so there is no cycle and the list is an order.
fn well_formed(plan: &Plan) {
    let mut seen = std::collections::BTreeSet::new();
    for step in &plan.steps {
        assert!(step.needs.iter().all(|need| seen.contains(need.as_str())), "{} needs {:?}", step.id, step.needs);
        assert!(seen.insert(step.id.as_str()), "{} is there twice", step.id);
    }
}

fn shown(plan: &Plan) -> String {
    let needs = plan.steps.iter().map(|step| format!("{} <- {}\n", step.id, step.needs.join(" ")));
    format!("{}---\n{}", render(plan, Colour::Never), needs.collect::<String>())
}

#[test]
fn fresh_hosts_get_everything() {
    let inventory = inventory("");
    insta::assert_snapshot!(shown(&planned(&world(None, &inventory), &inventory)));
}

#[test]
fn a_control_plane_that_was_made_anew_gives_everybody_new_certificates() {
    let inventory = inventory("");
    let with = |control_plane: &str, worker: &str| {
        let mut world = world(Some(&inventory), &inventory);
        for (host, authority) in [("cp1", control_plane), ("w1", worker)] {
            let Some(HostObservation::Reached(reached)) = world.hosts.get_mut(host) else { panic!() };
            reached.facts.authority = Some(authority.to_owned());
        }
        planned(&world, &inventory)
    };
    assert!(with("one", "one").is_empty());
    for authority_of_control_plane in ["other", ""] {
        let plan = with(authority_of_control_plane, "one");
        let of_worker: Vec<&Step> = plan.steps.iter().filter(|step| step.host == "w1").collect();
        let ids: Vec<&str> = of_worker.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(ids, ["w1/certificates", "w1/node", "w1/ready"]);
        assert!(of_worker[0].changes[0].summary.contains("another authority"));
        assert_eq!(of_worker[1].disruptions, [Disruption::RestartUnit("naru-node.service".to_owned())]);
    }
}

#[test]
fn nothing_to_do() {
    let inventory = inventory("");
    let plan = planned(&world(Some(&inventory), &inventory), &inventory);
    assert!(plan.is_empty() && !plan.is_incomplete());
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn a_changed_label_restarts_nothing() {
    let old = inventory("");
    let mut new = old.clone();
    new.spec.hosts[1].labels = [("rack".to_owned(), "7".to_owned())].into();
    let plan = planned(&world(Some(&old), &new), &new);
    assert!(plan.steps.iter().all(|step| step.disruptions.is_empty()));
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn a_changed_network_restarts_what_reads_it() {
    let old = inventory("");
    let mut new = old.clone();
    new.spec.network.domain = "prod.internal".to_owned();
    insta::assert_snapshot!(shown(&planned(&world(Some(&old), &new), &new)));
}

#[test]
fn a_dead_worker_is_skipped_and_told() {
    let inventory = inventory("  - {name: w2, role: worker, address: 10.0.0.22}\n");
    let mut observation = world(None, &inventory);
    let problem = Problem {
        kind: ProblemKind::Unreachable,
        primary: "10.0.0.22:22 does not answer".to_owned(),
        detail: Some("connection timed out after 10 s".to_owned()),
        hint: Some("is it switched on?".to_owned()),
    };
    observation.hosts.insert("w2".to_owned(), HostObservation::Unreachable(problem.clone()));
    let plan = planned(&observation, &inventory);
    assert!(plan.is_incomplete() && !plan.is_empty());
    assert!(plan.steps.iter().all(|step| step.host != "w2"));
    insta::assert_snapshot!(render(&plan, Colour::Never).split_once("\nskipped").unwrap().1);
    observation.hosts.insert("cp1".to_owned(), HostObservation::Unreachable(problem));
    let plan = planned(&observation, &inventory);
    assert!(plan.is_refused() && plan.is_empty());
    insta::assert_snapshot!(render(&plan, Colour::Never));
}

#[test]
fn one_more_worker_touches_no_other() {
    let old = inventory("");
    let new = inventory("  - {name: w2, role: worker, address: 10.0.0.22}\n");
    let plan = planned(&world(Some(&old), &new), &new);
    assert!(plan.steps.iter().all(|step| step.host == "w2"));
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn machines_come_first() {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: local}\nspec:\n  machines:\n    provider: local\n    groups: [{name: cp, role: control-plane, count: 1}, {name: w, role: worker, count: 2}]\n";
    let inventory = naru_inventory::parse("x", text).unwrap();
    let missing = |is_off| HostObservation::Missing { is_off };
    let observation = Observation {
        hosts: [("cp1", false), ("w1", false), ("w2", true)].map(|(name, off)| (name.to_owned(), missing(off))).into(),
        cluster: ClusterObservation::default(),
        preflight: None,
    };
    let plan = planned(&observation, &inventory);
    assert_eq!(plan.machines_to_make().count(), 3);
    insta::assert_snapshot!(render(&plan, Colour::Never));
}

#[test]
fn an_unsupported_host_is_told() {
    let inventory = inventory("");
    let host = inventory.host("w1").unwrap();
    let other = Facts { os_id: "alpine".to_owned(), os_pretty_name: "Alpine 3".to_owned(), ..facts() };
    assert!(desired(&inventory, host, &other, &programs()).unwrap_err().contains("Alpine 3"));
    let other = Facts { architecture: "riscv64".to_owned(), ..facts() };
    assert!(desired(&inventory, host, &other, &programs()).unwrap_err().contains("riscv64"));
}

#[test]
fn files_are_what_the_programs_read() {
    let inventory = inventory("");
    for host in ["cp1", "w1"] {
        let files: Vec<String> = resources(&inventory, host)
            .into_iter()
            .filter_map(|resource| match resource {
                Resource::File { path, content, .. } => Some(format!("### {path}\n{}", content.text)),
                Resource::Unit { name, content: Some(content), .. } => Some(format!("### {name}\n{}", content.text)),
                _ => None,
            })
            .collect();
        insta::assert_snapshot!(format!("files_of_{host}"), files.join("\n"));
    }
}

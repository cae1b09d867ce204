//! Golden plans: what an operator sees in each situation, and what holds for all of them.

use std::collections::BTreeSet;

use naru_agent::Facts;
use naru_inventory::Inventory;
use naru_observe::{ClusterObservation, HostObservation, Observation};
use naru_resources::{Disruption, Resource};

use crate::scenarios::{Outcome, Scenario, all, programs};
use crate::*;

/// Needs name earlier steps only, so there is no circle and the list is an order, which keeps to the batches.
fn well_formed(plan: &Plan) {
    let mut seen = BTreeSet::new();
    let mut batch = 0;
    for step in &plan.steps {
        assert!(step.needs.iter().all(|need| seen.contains(need.as_str())), "{} needs {:?}", step.id, step.needs);
        assert!(seen.insert(step.id.as_str()), "{} is there twice", step.id);
        assert!(step.deadline_seconds > 0, "{} may take no time at all", step.id);
        if let Some(own) = step.batch {
            assert!(own >= batch, "{} is of batch {own}, after batch {batch}", step.id);
            batch = own;
        }
    }
    let refused = plan.is_refused();
    assert!(!refused || plan.is_empty(), "a refused plan does nothing");
}

fn shown(plan: &Plan) -> String {
    let needs = plan.steps.iter().map(|step| {
        let batch = step.batch.map(|batch| format!(" (batch {batch})")).unwrap_or_default();
        format!("{}{batch} <- {}\n", step.id, step.needs.join(" "))
    });
    format!("{}---\n{}", render(plan, Colour::Never), needs.collect::<String>())
}

fn outcome(plan: &Plan) -> Outcome {
    match (plan.is_refused(), plan.is_incomplete(), plan.is_empty()) {
        (true, ..) => Outcome::Refused,
        (_, true, _) => Outcome::Incomplete,
        (_, _, true) => Outcome::Nothing,
        _ => Outcome::Changes,
    }
}

#[test]
fn golden_plans() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut wrong = Vec::new();
    for scenario in all() {
        let plan = scenario.plan();
        assert_eq!(plan, scenario.plan(), "{}: the planner is deterministic", scenario.name);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan, "{}: a saved plan is the same", scenario.name);
        well_formed(&plan);
        if outcome(&plan) != scenario.outcome {
            wrong.push(format!("{}: {:?}, not {:?}", scenario.name, outcome(&plan), scenario.outcome));
        }
        settings.set_description(scenario.about);
        settings.bind(|| insta::assert_snapshot!(scenario.name, shown(&plan)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scenarios_are_many_and_have_names_of_their_own() {
    let names: Vec<&str> = all().iter().map(|scenario| scenario.name).collect();
    let different: BTreeSet<&str> = names.iter().copied().collect();
    assert!(names.len() >= 30 && different.len() == names.len(), "{names:?}");
}

fn scenario(name: &str) -> Scenario {
    all().into_iter().find(|scenario| scenario.name == name).unwrap()
}

fn restarts(plan: &Plan) -> BTreeSet<String> {
    let all = plan.steps.iter().flat_map(|step| &step.disruptions);
    all.filter_map(|one| if let Disruption::RestartUnit(name) = one { Some(name.clone()) } else { None }).collect()
}

#[test]
fn what_restarts_is_what_must() {
    let cases: [(&str, &[&str]); 9] = [
        ("changed-label", &[]),
        ("changed-annotation", &[]),
        ("changed-taint", &[]),
        ("changed-mirror", &[]),
        ("registry-removed", &[]),
        ("file-added", &[]),
        ("changed-credentials", &["containerd.service"]),
        ("proxy-removed", &["containerd.service"]),
        ("kubelet-setting-for-one-host", &["naru-node.service"]),
    ];
    for (name, expected) in cases {
        let expected: BTreeSet<String> = expected.iter().map(|unit| (*unit).to_owned()).collect();
        assert_eq!(restarts(&scenario(name).plan()), expected, "{name}");
    }
}

#[test]
fn secrets_are_only_references() {
    let text = serde_json::to_string(&scenario("changed-credentials").plan()).unwrap();
    assert!(text.contains("naru-secret quoted ${REGISTRY_PASSWORD}"), "the marker stands where the password will");
    let plan = scenario("changed-credentials").plan();
    let shown = render(&plan, Colour::Never);
    assert!(!shown.contains("REGISTRY_PASSWORD"), "a sensitive file is not shown: {shown}");
}

/// Counts voters as etcd would, step by step.
#[test]
fn no_step_loses_the_quorum() {
    for scenario in all() {
        let members = scenario.observation().cluster.etcd.unwrap_or_default();
        let mut voters: BTreeSet<(String, bool)> =
            members.into_iter().filter(|one| !one.is_learner).map(|one| (one.name, one.is_healthy)).collect();
        for step in &scenario.plan().steps {
            match step.action {
                Action::EtcdRemove { .. } => voters.retain(|(name, _)| *name != step.host),
                Action::EtcdPromote { .. } => {
                    voters.insert((step.host.clone(), true));
                }
                _ => continue,
            }
            let healthy = voters.iter().filter(|(_, healthy)| *healthy).count();
            assert!(healthy > voters.len() / 2, "{}: {} leaves {voters:?}", scenario.name, step.id);
        }
    }
}

fn inventory(hosts: &str) -> Inventory {
    let text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  hosts:\n  \
         - {{name: cp1, role: control-plane, address: 10.0.0.11}}\n{hosts}"
    );
    naru_inventory::parse("cluster.yaml", &text).unwrap()
}

fn facts() -> Facts {
    Facts {
        os_id: "debian".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        init: "systemd".to_owned(),
        ..Facts::default()
    }
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
    let plan = plan(&inventory, &observation, &programs(&[naru_inventory::VERSION]), &Options::default());
    assert_eq!(plan.machines_to_make().count(), 3);
    insta::assert_snapshot!(render(&plan, Colour::Never));
}

#[test]
fn an_unsupported_host_is_told() {
    let inventory = inventory("  - {name: w1, role: worker, address: 10.0.0.21}\n");
    let (host, programs) = (inventory.host("w1").unwrap(), programs(&[naru_inventory::VERSION]));
    let other = Facts { os_id: "alpine".to_owned(), os_pretty_name: "Alpine 3".to_owned(), ..facts() };
    assert!(desired(&inventory, host, &other, &programs).unwrap_err().contains("Alpine 3"));
    let other = Facts { architecture: "riscv64".to_owned(), ..facts() };
    assert!(desired(&inventory, host, &other, &programs).unwrap_err().contains("riscv64"));
}

#[test]
fn files_are_what_the_programs_read() {
    let cases = [
        ("fresh", "cp1"),
        ("fresh", "w1"),
        ("fresh-three-control-planes", "cp2"),
        ("changed-credentials", "w1"),
        ("proxy-added", "w1"),
        ("kubelet-setting-for-one-host", "w1"),
    ];
    for (name, host) in cases {
        let scenario = scenario(name);
        let inventory = scenario.now.inventory();
        let wanted = desired(&inventory, inventory.host(host).unwrap(), &facts(), &scenario.programs()).unwrap();
        let files: Vec<String> = wanted
            .resources()
            .into_iter()
            .filter_map(|resource| match resource {
                Resource::File { path, content, .. } => Some(format!("### {path}\n{}", content.text)),
                Resource::Unit { name, content: Some(content), .. } => Some(format!("### {name}\n{}", content.text)),
                _ => None,
            })
            .collect();
        insta::assert_snapshot!(format!("files_of_{host}_{name}"), files.join("\n"));
    }
}

/// A no-op, a setting that goes over all hosts, and bare machines; in the release profile:
/// `cargo test -p naru-plan --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_it_takes() {
    for count in [1_000_u32, 5_000] {
        for (what, before, setting) in
            [("no-op", true, ""), ("one setting", true, "kubelet: {maxPods: 50}"), ("fresh", false, "")]
        {
            let scenario = crate::scenarios::many(count, before, setting);
            let (inventory, observation) = (scenario.now.inventory(), scenario.observation());
            let began = std::time::Instant::now();
            let plan = crate::plan(&inventory, &observation, &scenario.programs(), &scenario.options);
            let planned = began.elapsed();
            let text = render(&plan, Colour::Never);
            let rendered = began.elapsed() - planned;
            println!(
                "{count} hosts, {what}: {} steps, planned in {planned:?}, {} lines in {rendered:?}",
                plan.steps.len(),
                text.lines().count()
            );
            assert!(text.lines().count() < 200, "{text}");
        }
    }
}

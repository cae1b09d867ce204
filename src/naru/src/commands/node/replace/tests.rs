//! The plans: who goes before whom, and when nothing is done.

use std::collections::BTreeSet;

use naru_observe::Problem;
use naru_plan::scenarios::{Applied, Outcome, Scenario, Twist};
use naru_plan::{Options, Step};

use super::*;

const VERSION: &str = "v0.1.0";

fn applied(hosts: &[&str]) -> Applied {
    let hosts: String = hosts.iter().map(|host| format!("    - {{{host}}}\n")).collect();
    let text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  hooks:\n    \
         - {{name: tell, when: beforeApply, on: operator, command: 'true'}}\n  hosts:\n{hosts}"
    );
    Applied { text, documents: "[]", version: VERSION }
}

const CP1: &str = "name: cp1, role: control-plane, address: 10.0.0.11";
const W1: &str = "name: w1, role: worker, address: 10.0.0.21";
const W2: &str = "name: w2, role: worker, address: 10.0.0.22, labels: {disk: ssd}";

fn scenario(now: &[&str], twists: Vec<Twist>) -> Scenario {
    Scenario {
        name: "replace",
        about: "",
        before: Some(applied(&[CP1, W1, W2])),
        now: applied(now),
        twists,
        options: Options::default(),
        at_hand: &[VERSION],
        outcome: Outcome::Changes,
    }
}

/// `w2` leaves, `w3` comes.
fn exchanged(twists: Vec<Twist>) -> (Plan, Host) {
    let leaving = format!("{W2}, state: absent");
    let scenario = scenario(&[CP1, W1, "name: w3, role: worker, address: 10.0.0.23", &leaving], twists);
    let seen = scenario.observation();
    let is_there = node(&seen, "w3").is_some_and(|node| node.ready);
    let old = scenario.now.inventory().host("w2").unwrap().clone();
    (relieved(scenario.plan(), &old, "w3", is_there), old)
}

/// Ids of the steps in an order in which they can run.
fn order(plan: &Plan) -> Vec<&str> {
    let mut done: Vec<&str> = Vec::new();
    while done.len() < plan.steps.len() {
        let can = |step: &&Step| {
            !done.contains(&step.id.as_str()) && step.needs.iter().all(|need| done.contains(&need.as_str()))
        };
        let next = plan.steps.iter().find(can).unwrap_or_else(|| panic!("a circle after {done:?}: {plan:#?}"));
        done.push(&next.id);
    }
    done
}

fn place(order: &[&str], id: &str) -> usize {
    order.iter().position(|known| *known == id).unwrap_or_else(|| panic!("{id} is not in {order:?}"))
}

#[test]
fn a_machine_that_lives_leaves_once_the_new_one_is_ready() {
    let (plan, _) = exchanged(Vec::new());
    let order = order(&plan);
    let of_old: BTreeSet<usize> = (0..order.len())
        .filter(|number| order[*number].starts_with("w2/") && !order[*number].contains("hook"))
        .collect();
    assert!(of_old.len() >= 4, "cordon, drain, reset, delete: {order:?}");
    assert!(of_old.iter().all(|number| *number > place(&order, "w3/ready")), "{order:?}");
    assert!(
        plan.steps
            .iter()
            .filter(|step| step.host == "w2")
            .all(|step| { step.needs.iter().any(|need| need.starts_with("w2/") || need == "w3/ready") })
    );
}

#[test]
fn a_machine_stays_if_none_can_take_its_place() {
    let (plan, _) = exchanged(vec![Twist::Unreachable("w3")]);
    assert!(plan.is_refused() && plan.is_empty(), "{plan:#?}");
    assert!(plan.notes.iter().any(|note| note.host.as_deref() == Some("w2") && note.text.contains("w3 cannot")));
}

#[test]
fn the_only_control_plane_is_never_exchanged() {
    // Alone, so that nothing but the inventory speaks of the cluster that it holds.
    let now = [
        "name: cp1, role: control-plane, address: 10.0.0.11, state: absent",
        "name: cp2, role: control-plane, address: 10.0.0.12",
    ];
    for twists in [Vec::new(), vec![Twist::Unreachable("cp1")]] {
        let scenario = scenario(&now, twists);
        let old = scenario.now.inventory().host("cp1").unwrap().clone();
        let plan = relieved(scenario.plan(), &old, "cp2", false);
        assert!(plan.is_refused() && plan.is_empty(), "{plan:#?}");
    }
}

fn handed(twists: Vec<Twist>) -> Plan {
    let mut all = vec![Twist::Gone("w2")];
    all.extend(twists);
    let scenario = scenario(&[CP1, W1, &W2.replace("10.0.0.22", "10.0.0.29")], all);
    let mut seen = scenario.observation();
    let known = seen.cluster.nodes.as_mut().map(|nodes| nodes.remove("w2"));
    let plan = naru_plan::plan(&scenario.now.inventory(), &seen, &scenario.programs(), &scenario.options);
    handed_on(plan, known, "w2", vec!["cp1".to_owned()], true)
}

#[test]
fn a_dead_machines_node_goes_before_the_new_one_takes_its_name() {
    let plan = handed(Vec::new());
    let order = order(&plan);
    let of_new = order.iter().filter(|id| id.starts_with("w2/")).copied().next();
    assert_eq!(of_new, Some("w2/delete-node"));
    let mut later = plan.steps.iter().filter(|step| step.host == "w2" && step.id != "w2/delete-node");
    assert!(later.all(|step| step.needs.iter().any(|need| need.starts_with("w2/"))), "{plan:#?}");
    let labels = plan.steps.iter().find(|step| step.id == "w2/labels").unwrap();
    assert!(labels.changes.iter().any(|change| change.summary.contains("disk")), "labels of the deleted node count");
    assert!(plan.notes.iter().any(|note| note.text.contains("certificate")));
}

#[test]
fn a_name_is_not_taken_from_a_node_that_is_ready() {
    let scenario = scenario(&[CP1, W1, W2], Vec::new());
    let ready = scenario.observation().cluster.nodes.unwrap().remove("w2").unwrap();
    assert!(ready.ready);
    let plan = handed_on(handed(Vec::new()), Some(Some(ready)), "w2", Vec::new(), true);
    assert!(plan.is_refused() && plan.is_empty());
    let plan = handed_on(handed(Vec::new()), None, "w2", Vec::new(), true);
    assert!(plan.is_refused(), "nobody knows");
    assert!(handed(vec![Twist::Unreachable("w2")]).is_refused(), "the new machine does not answer");
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    replace: Replace,
}

fn replace(arguments: &[&str]) -> Replace {
    let line = <Line as clap::Parser>::try_parse_from([&["replace"], arguments].concat());
    line.unwrap_or_else(|error| panic!("{error}")).replace
}

#[test]
fn what_was_begun_goes_on_with_the_machine_that_is_there() {
    let leaving = format!("{W2}, state: absent");
    let inventory = |w2: &str| applied(&[CP1, "name: w3, role: worker, address: 10.0.0.23", w2]).inventory();
    let begun = |replace: &Replace, w2: &str| {
        replace.begun(&inventory(w2), &Target::parse(&replace.target).unwrap()).map(|new| new.map(|new| new.name))
    };
    let plain = replace(&["w2", "root@10.0.0.23"]);
    assert_eq!(begun(&plain, &leaving).unwrap().as_deref(), Some("w3"));
    assert_eq!(begun(&plain, W2).unwrap(), None, "w3 is somebody else's machine");
    assert!(begun(&replace(&["w2", "root@10.0.0.23", "--name", "w4"]), &leaving).is_err());
    assert_eq!(begun(&replace(&["w2", "root@10.0.0.24"]), &leaving).unwrap(), None);
}

#[test]
fn the_new_machine_is_for_what_the_old_one_was_for() {
    let old = "name: w2, role: worker, address: 10.0.0.22, user: ann, port: 2222, hostKey: SHA256:\
               abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq, labels: {disk: ssd}";
    let inventory = applied(&[CP1, W1, old]).inventory();
    let old = inventory.host("w2").unwrap();
    let new = |target: &str| {
        let replace = replace(&["w2", target]);
        replace.host(&inventory, old, &Target::parse(target).unwrap(), "w4".to_owned())
    };
    let expected = Host { name: "w4".to_owned(), address: "10.0.0.9".to_owned(), host_key: None, ..old.clone() };
    assert_eq!(new("10.0.0.9"), expected, "no key of another machine");
    assert_eq!(new("root@10.0.0.9:22"), Host { user: Some("root".to_owned()), port: Some(22), ..expected });
}

#[test]
fn only_silence_is_no_sign_of_life() {
    let seen = |twists| scenario(&[CP1, W1, W2], twists).observation();
    assert_eq!(sign_of_life(&seen(Vec::new()), "w2"), Some("its node is Ready"));
    assert_eq!(sign_of_life(&seen(vec![Twist::NotReady("w2")]), "w2"), Some("it answers"));
    let mut silent = seen(vec![Twist::Unreachable("w2")]);
    assert_eq!(sign_of_life(&silent, "w2"), None);
    for kind in [ProblemKind::Authentication, ProblemKind::HostKey, ProblemKind::Agent] {
        let problem = Problem { kind, primary: "no".to_owned(), detail: None, hint: None };
        silent.hosts.insert("w2".to_owned(), HostObservation::Unreachable(problem));
        assert_eq!(sign_of_life(&silent, "w2"), Some("something answers at its address"));
    }
    let refused = Some("Connection refused (os error 111)".to_owned());
    let refused = Problem { kind: ProblemKind::Unreachable, primary: "no".to_owned(), detail: refused, hint: None };
    silent.hosts.insert("w2".to_owned(), HostObservation::Unreachable(refused));
    assert_eq!(sign_of_life(&silent, "w2"), Some("its address refuses connections, so something is there"));
}

#[test]
fn a_machine_or_a_name_is_not_had_twice() {
    let now = [CP1, W1, "name: w3, role: worker, address: 10.0.0.23"];
    let seen = |twists| scenario(&now, twists).observation();
    let own = seen(Vec::new());
    assert_eq!((same_machine(&own, "w3"), is_taken(&own, "w3")), (None, false));
    let same: fn(&mut naru_agent::Facts) = |facts| "one".clone_into(&mut facts.machine_id);
    let twice = seen(vec![Twist::Facts("w1", same), Twist::Facts("w3", same)]);
    assert_eq!(same_machine(&twice, "w3"), Some("w1"));
    let stranger = seen(vec![Twist::Stranger("w3")]);
    assert!(is_taken(&stranger, "w3"), "its node is there, and it has nothing of ours");
    assert!(!is_taken(&seen(Vec::new()), "w1"), "its own node");
}

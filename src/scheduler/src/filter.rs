//! Which nodes a pod may run on, and in upstream's words why not on the others. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint};
use naru_controllers::runtime::selector;

use crate::model::{NodeInfo, PodInfo};
use crate::pairing::Pairing;

/// Why a node is out. More than one may be given for missing resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reasons {
    pub texts: Vec<String>,
    /// Removing pods from the node could help.
    pub preemptible: bool,
}

impl Reasons {
    fn fixed(text: impl Into<String>) -> Self {
        Self { texts: vec![text.into()], preemptible: false }
    }

    fn movable(texts: Vec<String>) -> Self {
        Self { texts, preemptible: true }
    }
}

/// All filters in their order; the first that objects speaks.
pub(crate) fn check(pod: &PodInfo, node: &NodeInfo, pairing: &Pairing) -> Result<(), Reasons> {
    check_schedulable(pod, node)?;
    check_taints(pod, node)?;
    if !matches_node_affinity(pod, node) {
        return Err(Reasons::fixed("node(s) didn't match Pod's node affinity/selector"));
    }
    check_ports(pod, node)?;
    check_resources(pod, node)?;
    pairing.check_spread(node).map_err(|text| match text {
        crate::pairing::MISSING_LABEL => Reasons::fixed(text),
        _ => Reasons::movable(vec![text.to_owned()]),
    })?;
    pairing.check_affinity(node).map_err(|text| Reasons::movable(vec![text.to_owned()]))
}

fn check_schedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Reasons> {
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if node.unschedulable && !pod.tolerations.iter().any(|toleration| selector::tolerates(toleration, &taint)) {
        return Err(Reasons::fixed("node(s) were unschedulable"));
    }
    Ok(())
}

fn check_taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Reasons> {
    let hard = node.taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    let tolerated = |taint: &Taint| pod.tolerations.iter().any(|toleration| selector::tolerates(toleration, taint));
    let Some(taint) = hard.into_iter().find(|taint| !tolerated(taint)) else { return Ok(()) };
    let value = taint.value.as_deref().unwrap_or_default();
    Err(Reasons::fixed(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)))
}

/// Taints that are not a must, and are not tolerated.
pub(crate) fn untolerated_preferences(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let tolerated = |taint: &Taint| pod.tolerations.iter().any(|toleration| selector::tolerates(toleration, taint));
    i64::try_from(soft.filter(|taint| !tolerated(taint)).count()).unwrap_or(i64::MAX)
}

pub(crate) fn matches_node_affinity(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = pod
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| matches_any_term(required, node))
}

fn matches_any_term(selector: &NodeSelector, node: &NodeInfo) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// A term without any requirement matches nothing.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let own = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
    expressions.iter().all(|requirement| matches_requirement(requirement, &node.labels))
        && fields.iter().all(|requirement| matches_requirement(requirement, &own))
}

fn matches_requirement(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.contains(value));
    let compare = |wanted: std::cmp::Ordering| {
        let number = value.and_then(|value| value.parse::<i64>().ok());
        let limit = values.first().and_then(|limit| limit.parse::<i64>().ok());
        number.zip(limit).is_some_and(|(number, limit)| number.cmp(&limit) == wanted)
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(std::cmp::Ordering::Greater),
        "Lt" => compare(std::cmp::Ordering::Less),
        _ => false,
    }
}

fn check_ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Reasons> {
    let used = || node.pods.values().flat_map(|other| &other.ports);
    if pod.ports.iter().any(|port| used().any(|other| port.conflicts(other))) {
        let text = "node(s) didn't have free ports for the requested pod ports";
        return Err(Reasons::movable(vec![text.to_owned()]));
    }
    Ok(())
}

fn check_resources(pod: &PodInfo, node: &NodeInfo) -> Result<(), Reasons> {
    let mut texts = Vec::new();
    let mut possible = true;
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.pod_limit {
        texts.push("Too many pods".to_owned());
    }
    let mut lack = |name: &str, wanted: i64, total: i64, used: i64| {
        if wanted > 0 && wanted > total.saturating_sub(used) {
            texts.push(format!("Insufficient {name}"));
            possible &= wanted <= total;
        }
    };
    let (wanted, total, used) = (&pod.requests, &node.allocatable, &node.requested);
    lack("cpu", wanted.cpu_milli, total.cpu_milli, used.cpu_milli);
    lack("memory", wanted.memory, total.memory, used.memory);
    lack("ephemeral-storage", wanted.ephemeral, total.ephemeral, used.ephemeral);
    for (name, amount) in &wanted.extended {
        let of = |amounts: &BTreeMap<String, i64>| amounts.get(name).copied().unwrap_or(0);
        lack(name, *amount, of(&total.extended), of(&used.extended));
    }
    if texts.is_empty() { Ok(()) } else { Err(Reasons { texts, preemptible: possible }) }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub(crate) fn message(node_count: usize, failures: &[Reasons]) -> String {
    if node_count == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in failures.iter().flat_map(|reasons| &reasons.texts) {
        *counts.entry(text).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
    parts.sort();
    format!("0/{node_count} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, labels: Value, spec: Value, allocatable: Value) -> NodeInfo {
        let mut node = NodeInfo::default();
        node.update(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}
            }))
            .unwrap(),
        );
        node
    }

    fn pod(spec: Value) -> PodInfo {
        let mut value = json!({"metadata": {"name": "p", "uid": "u", "namespace": "n"}, "spec": {"containers": []}});
        for (key, inner) in spec.as_object().unwrap() {
            value["spec"][key] = inner.clone();
        }
        PodInfo::from_pod(serde_json::from_value(value).unwrap())
    }

    fn big() -> Value {
        json!({"cpu": "2", "memory": "4Gi", "pods": "110"})
    }

    fn reason(pod: &PodInfo, node: &NodeInfo) -> String {
        check(pod, node, &Pairing::default()).unwrap_err().texts.join("; ")
    }

    #[test]
    fn taints_and_cordon() {
        let taints = json!({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]});
        let master = node("cp1", json!({}), taints, big());
        assert_eq!(
            reason(&pod(json!({})), &master),
            "node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"
        );
        let tolerant = pod(json!({"tolerations": [{"operator": "Exists"}]}));
        assert_eq!(check(&tolerant, &master, &Pairing::default()), Ok(()));
        let closed = node("w1", json!({}), json!({"unschedulable": true}), big());
        assert_eq!(reason(&pod(json!({})), &closed), "node(s) were unschedulable");
    }

    #[test]
    fn node_affinity() {
        let one = node("w1", json!({"disk": "ssd", "cores": "8"}), json!({}), big());
        let affinity = |terms: Value| {
            pod(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": terms}}}}))
        };
        let ok = |pod: &PodInfo| matches_node_affinity(pod, &one);
        assert!(ok(&pod(json!({"nodeSelector": {"disk": "ssd"}}))));
        assert!(!ok(&pod(json!({"nodeSelector": {"disk": "hdd"}}))));
        assert!(ok(&affinity(json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}]))));
        assert!(!ok(&affinity(json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}]))));
        assert!(ok(&affinity(
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w1"]}]}])
        )));
        assert!(!ok(&affinity(
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w2"]}]}])
        )));
        assert!(!ok(&affinity(json!([{}]))), "an empty term matches nothing");
    }

    #[test]
    fn resources_and_message() {
        let small = node("w1", json!({}), json!({}), json!({"cpu": "1", "memory": "1Gi", "pods": "1"}));
        let hungry =
            pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3", "memory": "2Gi"}}}]}));
        let failure = check(&hungry, &small, &Pairing::default()).unwrap_err();
        assert_eq!(failure.texts, ["Insufficient cpu", "Insufficient memory"]);
        assert!(!failure.preemptible, "it would not fit an empty node either");
        let closed = Reasons::fixed("node(s) were unschedulable");
        assert_eq!(
            message(3, &[failure.clone(), failure, closed]),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory."
        );
        assert_eq!(message(0, &[]), "no nodes available to schedule pods");
    }

    #[test]
    fn pod_limit_and_ports() {
        let mut full = node("w1", json!({}), json!({}), json!({"cpu": "1", "memory": "1Gi", "pods": "1"}));
        let web = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        full.place(std::sync::Arc::new(pod(web.clone())));
        assert_eq!(reason(&pod(json!({})), &full), "Too many pods");
        full.pod_limit = 5;
        assert_eq!(reason(&pod(web), &full), "node(s) didn't have free ports for the requested pod ports");
    }
}

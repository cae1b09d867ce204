//! Which of the possible nodes is best: points from 0 to 100 per question, weighted as upstream weighs them. Pure.

use k8s_openapi::api::core::v1::PreferredSchedulingTerm;

use crate::filter;
use crate::model::{NodeInfo, PodInfo};
use crate::pairing::Pairing;

const MOST: f64 = 100.0;
const WEIGHT_TAINTS: f64 = 3.0;
const WEIGHT_AFFINITY: f64 = 2.0;
const WEIGHT_SPREAD: f64 = 2.0;
const WEIGHT_PAIRING: f64 = 2.0;
const IMAGE_LEAST_BYTES: f64 = 23.0 * 1024.0 * 1024.0;
const IMAGE_MOST_BYTES: f64 = 1000.0 * 1024.0 * 1024.0;

/// The best node. Equal points: fewer pods, then the name, so that the choice can be repeated.
pub(crate) fn best<'a>(
    pod: &PodInfo,
    nodes: &[&'a NodeInfo],
    pairing: &Pairing,
    total_nodes: usize,
    with_image: impl Fn(&str) -> usize,
) -> Option<&'a NodeInfo> {
    let taints: Vec<f64> = nodes.iter().map(|node| -(filter::untolerated_preferences(pod, node) as f64)).collect();
    let affinity: Vec<f64> = nodes.iter().map(|node| wishes(pod, node) as f64).collect();
    let pairs: Vec<f64> = nodes.iter().map(|node| pairing.preference(node) as f64).collect();
    let (taints, affinity, pairs) = (stretch(&taints), stretch(&affinity), stretch(&pairs));
    let spread = spread_points(nodes, pairing);
    let points = |index: usize| {
        let node = nodes[index];
        least_allocated(pod, node)
            + balanced(pod, node)
            + images(pod, node, total_nodes, &with_image)
            + WEIGHT_TAINTS * taints[index]
            + WEIGHT_AFFINITY * affinity[index]
            + WEIGHT_PAIRING * pairs[index]
            + WEIGHT_SPREAD * spread[index]
    };
    let scored = nodes.iter().enumerate().map(|(index, node)| (points(index), *node));
    let better = |left: &(f64, &NodeInfo), right: &(f64, &NodeInfo)| {
        let by_points = left.0.total_cmp(&right.0);
        by_points.then(right.1.pods.len().cmp(&left.1.pods.len())).then(right.1.name.cmp(&left.1.name))
    };
    scored.max_by(better).map(|(_, node)| node)
}

/// Least becomes 0, most 100; nothing if all are equal.
fn stretch(values: &[f64]) -> Vec<f64> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most <= least {
        return vec![0.0; values.len()];
    }
    values.iter().map(|value| (value - least) / (most - least) * MOST).collect()
}

fn spread_points(nodes: &[&NodeInfo], pairing: &Pairing) -> Vec<f64> {
    if !pairing.has_soft_spread() {
        return vec![0.0; nodes.len()];
    }
    let costs: Vec<Option<f64>> = nodes.iter().map(|node| pairing.crowding(node)).collect();
    let most = costs.iter().flatten().copied().fold(0.0, f64::max);
    let least = costs.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let points = |cost: &Option<f64>| match cost {
        None => 0.0,
        Some(_) if most == 0.0 => MOST,
        Some(cost) => MOST * (most + least - cost) / most,
    };
    costs.iter().map(points).collect()
}

fn wishes(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_ref());
    let granted = |wish: &&PreferredSchedulingTerm| filter::matches_term(&wish.preference, node);
    preferred.into_iter().flatten().filter(granted).map(|wish| i64::from(wish.weight)).sum()
}

/// Shares of CPU and memory that would be in use.
fn shares(pod: &PodInfo, node: &NodeInfo) -> (f64, f64) {
    let share = |used: i64, total: i64| if total <= 0 { 1.0 } else { (used as f64 / total as f64).min(1.0) };
    let cpu = share(node.load.0 + pod.load.0, node.allocatable.cpu_milli);
    let memory = share(node.load.1 + pod.load.1, node.allocatable.memory);
    (cpu, memory)
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (cpu, memory) = shares(pod, node);
    MOST * (2.0 - cpu - memory) / 2.0
}

fn balanced(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (cpu, memory) = shares(pod, node);
    MOST * (1.0 - (cpu - memory).abs() / 2.0)
}

/// Images that are there already, each counted less the fewer nodes have it, so that pods do not all run to one node.
fn images(pod: &PodInfo, node: &NodeInfo, total_nodes: usize, with_image: &impl Fn(&str) -> usize) -> f64 {
    if pod.images.is_empty() || total_nodes == 0 {
        return 0.0;
    }
    let size = |image: &String| {
        let bytes = node.images.get(image).copied().unwrap_or(0) as f64;
        bytes * with_image(image) as f64 / total_nodes as f64
    };
    let sum: f64 = pod.images.iter().map(size).sum();
    let most = IMAGE_MOST_BYTES * pod.images.len() as f64;
    MOST * (sum.clamp(IMAGE_LEAST_BYTES, most) - IMAGE_LEAST_BYTES) / (most - IMAGE_LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::Namespaces;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node(name: &str, spec: Value) -> NodeInfo {
        let mut node = NodeInfo::default();
        let value = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "disk": name}},
            "spec": spec, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}});
        node.update(serde_json::from_value(value).unwrap());
        node
    }

    fn pod(uid: &str, spec: Value) -> PodInfo {
        let mut value = json!({"metadata": {"name": uid, "uid": uid, "namespace": "n", "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
        for (key, inner) in spec.as_object().unwrap() {
            value["spec"][key] = inner.clone();
        }
        PodInfo::from_pod(serde_json::from_value(value).unwrap())
    }

    fn choose(pod: &PodInfo, nodes: &[NodeInfo]) -> String {
        let pairing = Pairing::compute(pod, nodes.iter(), &Namespaces::new());
        let references: Vec<&NodeInfo> = nodes.iter().collect();
        best(pod, &references, &pairing, nodes.len(), |_| 1).unwrap().name.clone()
    }

    #[test]
    fn replicas_alternate_between_workers() {
        let mut nodes = [node("w1", json!({})), node("w2", json!({}))];
        let mut chosen = Vec::new();
        for index in 0..4 {
            let pod = pod(&index.to_string(), json!({}));
            let name = choose(&pod, &nodes);
            nodes.iter_mut().find(|node| node.name == name).unwrap().place(Arc::new(pod));
            chosen.push(name);
        }
        assert_eq!(chosen, ["w1", "w2", "w1", "w2"]);
    }

    #[test]
    fn wishes_taints_and_images_decide() {
        let wish = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 50, "preference": {"matchExpressions": [{"key": "disk", "operator": "In",
                "values": ["w2"]}]}}]}}});
        assert_eq!(choose(&pod("p", wish), &[node("w1", json!({})), node("w2", json!({}))]), "w2");
        let avoid = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
        assert_eq!(choose(&pod("p", json!({})), &[node("w1", avoid), node("w2", json!({}))]), "w2");
        let mut nodes = [node("w1", json!({})), node("w2", json!({}))];
        nodes[1].images.insert("nginx".into(), 900 * 1024 * 1024);
        assert_eq!(choose(&pod("p", json!({})), &nodes), "w2");
    }
}

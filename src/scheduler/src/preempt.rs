//! Making room: which less important pods would have to go, and where it hurts least. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::filter;
use crate::model::{NodeInfo, PodInfo};
use crate::pairing::{Namespaces, Pairing};

#[derive(Debug)]
pub(crate) struct Choice {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
}

/// Of the given candidates the one whose victims matter least.
pub(crate) fn choose(
    pod: &PodInfo,
    candidates: &[&NodeInfo],
    all: &[&NodeInfo],
    namespaces: &Namespaces,
) -> Option<Choice> {
    let choices = candidates.iter().filter_map(|node| {
        let victims = victims(pod, node, all, namespaces)?;
        Some(Choice { node: node.name.clone(), victims })
    });
    choices.min_by_key(|choice| {
        let priorities = choice.victims.iter().map(|victim| i64::from(victim.priority));
        let latest_start = choice.victims.iter().filter_map(|victim| victim.started).min();
        let highest = priorities.clone().max().unwrap_or(i64::MIN);
        (highest, priorities.sum::<i64>(), choice.victims.len(), Reverse(latest_start), choice.node.clone())
    })
}

/// Take all lesser pods away; if the pod fits then, give back as many as possible, the most important first.
fn victims(pod: &PodInfo, node: &NodeInfo, all: &[&NodeInfo], namespaces: &Namespaces) -> Option<Vec<Arc<PodInfo>>> {
    let mut lesser: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return None;
    }
    let mut trial = node.clone();
    lesser.iter().for_each(|other| drop(trial.remove(&other.uid)));
    if !fits(pod, &trial, all, namespaces) {
        return None;
    }
    lesser.sort_by_key(|other| (Reverse(other.priority), other.started, other.uid.clone()));
    let mut victims = Vec::new();
    for other in lesser {
        trial.place(other.clone());
        if !fits(pod, &trial, all, namespaces) {
            trial.remove(&other.uid);
            victims.push(other);
        }
    }
    (!victims.is_empty()).then_some(victims)
}

fn fits(pod: &PodInfo, trial: &NodeInfo, all: &[&NodeInfo], namespaces: &Namespaces) -> bool {
    let nodes = all.iter().map(|node| if node.name == trial.name { trial } else { *node });
    let pairing = Pairing::compute(pod, nodes, namespaces);
    filter::check(pod, trial, &pairing).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, priority: i32, cpu: &str) -> PodInfo {
        PodInfo::from_pod(
            serde_json::from_value(json!({
                "metadata": {"name": uid, "uid": uid, "namespace": "n"},
                "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
            }))
            .unwrap(),
        )
    }

    fn node(name: &str, pods: Vec<PodInfo>) -> NodeInfo {
        let mut node = NodeInfo::default();
        let value = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}});
        node.update(serde_json::from_value(value).unwrap());
        pods.into_iter().for_each(|pod| node.place(Arc::new(pod)));
        node
    }

    #[test]
    fn as_few_and_as_unimportant_as_possible() {
        let first = node("w1", vec![pod("a", 5, "1"), pod("b", 1, "1")]);
        let second = node("w2", vec![pod("c", 3, "2")]);
        let all = [&first, &second];
        let choice = choose(&pod("new", 10, "1"), &all, &all, &Namespaces::new()).unwrap();
        assert_eq!(choice.node, "w1");
        assert_eq!(choice.victims.iter().map(|victim| victim.uid.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(choose(&pod("new", 1, "1"), &all, &all, &Namespaces::new()).is_none(), "equals are never victims");
        assert!(choose(&pod("new", 10, "3"), &all, &all, &Namespaces::new()).is_none(), "it would not fit anyway");
    }
}

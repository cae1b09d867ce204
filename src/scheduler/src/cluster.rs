//! The cluster as the scheduler believes it to be: nodes, what is placed there, what it has just decided itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::filter::{self, Reasons};
use crate::model::{NodeInfo, PodInfo};
use crate::pairing::{Namespaces, Pairing};
use crate::preempt::{self, Choice};
use crate::score;

#[derive(Default)]
pub(crate) struct Cluster {
    nodes: BTreeMap<String, NodeInfo>,
    /// Where each counted pod is, by UID.
    placed: HashMap<String, String>,
    /// Decided here, not yet seen from the server.
    assumed: HashSet<String>,
    /// Pods for which room was made, and where.
    nominated: HashMap<String, (String, Arc<PodInfo>)>,
    pub(crate) namespaces: Namespaces,
}

/// The outcome of one attempt.
#[derive(Debug)]
pub(crate) enum Decision {
    Node(String),
    Nowhere { message: String, preemption: Option<Choice> },
}

impl Cluster {
    /// True if pods may fit now that did not before.
    pub(crate) fn update_node(&mut self, node: Node) -> bool {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.nodes.entry(name).or_default();
        let before = (
            info.exists,
            info.labels.clone(),
            info.taints.clone(),
            info.unschedulable,
            info.allocatable.clone(),
            info.pod_limit,
        );
        info.update(node);
        let after = (
            info.exists,
            info.labels.clone(),
            info.taints.clone(),
            info.unschedulable,
            info.allocatable.clone(),
            info.pod_limit,
        );
        before != after
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.exists = false;
        if node.pods.is_empty() {
            self.nodes.remove(name);
        }
    }

    pub(crate) fn node_names(&self) -> Vec<String> {
        self.nodes.values().filter(|node| node.exists).map(|node| node.name.clone()).collect()
    }

    pub(crate) fn place(&mut self, pod: Arc<PodInfo>) {
        if self.placed.get(&pod.uid).is_some_and(|node| *node != pod.node) {
            self.displace(&pod.uid);
        }
        self.assumed.remove(&pod.uid);
        self.nominated.remove(&pod.uid);
        self.placed.insert(pod.uid.clone(), pod.node.clone());
        let node = self.nodes.entry(pod.node.clone()).or_default();
        node.name.clone_from(&pod.node);
        node.place(pod);
    }

    /// True if the pod took up room.
    pub(crate) fn displace(&mut self, uid: &str) -> bool {
        self.assumed.remove(uid);
        self.nominated.remove(uid);
        let Some(name) = self.placed.remove(uid) else { return false };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.remove(uid);
            if !node.exists && node.pods.is_empty() {
                self.nodes.remove(&name);
            }
        }
        true
    }

    pub(crate) fn assume(&mut self, pod: &PodInfo, node: &str) {
        let placed = PodInfo { node: node.to_owned(), ..pod.clone() };
        self.place(Arc::new(placed));
        self.assumed.insert(pod.uid.clone());
    }

    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains(uid)
    }

    pub(crate) fn placed_uids(&self) -> Vec<String> {
        self.placed.keys().cloned().collect()
    }

    pub(crate) fn nominate(&mut self, pod: Arc<PodInfo>, node: String) {
        self.nominated.insert(pod.uid.clone(), (node, pod));
    }

    pub(crate) fn decide(&self, pod: &PodInfo) -> Decision {
        let reserved = self.with_reservations(pod);
        let all: Vec<&NodeInfo> = reserved.iter().map(AsRef::as_ref).collect();
        let pairing = Pairing::compute(pod, all.iter().copied(), &self.namespaces);
        let mut possible = Vec::new();
        let mut failures: Vec<Reasons> = Vec::new();
        let mut movable = Vec::new();
        for node in &all {
            match filter::check(pod, node, &pairing) {
                Ok(()) => possible.push(*node),
                Err(reasons) => {
                    if reasons.preemptible {
                        movable.push(*node);
                    }
                    failures.push(reasons);
                }
            }
        }
        if let Some((name, _)) = self.nominated.get(&pod.uid)
            && let Some(node) = possible.iter().find(|node| node.name == *name)
        {
            return Decision::Node(node.name.clone());
        }
        let with_image = |image: &str| all.iter().filter(|node| node.images.contains_key(image)).count();
        if let Some(node) = score::best(pod, &possible, &pairing, all.len(), with_image) {
            return Decision::Node(node.name.clone());
        }
        self.nowhere(pod, &all, &movable, &failures)
    }

    fn nowhere(&self, pod: &PodInfo, all: &[&NodeInfo], movable: &[&NodeInfo], failures: &[Reasons]) -> Decision {
        let mut message = filter::message(all.len(), failures);
        if all.is_empty() {
            return Decision::Nowhere { message, preemption: None };
        }
        let waits_for_victims = self.nominated.get(&pod.uid).is_some_and(|(name, _)| {
            let node = self.nodes.get(name);
            node.is_some_and(|node| node.pods.values().any(|other| other.deleting && other.priority < pod.priority))
        });
        if pod.never_preempts {
            message.push_str(" preemption: not eligible due to preemptionPolicy=Never.");
            return Decision::Nowhere { message, preemption: None };
        }
        if waits_for_victims {
            message.push_str(" preemption: not eligible due to a terminating pod on the nominated node.");
            return Decision::Nowhere { message, preemption: None };
        }
        let choice = preempt::choose(pod, movable, all, &self.namespaces);
        if choice.is_none() {
            let helpless = all.len() - movable.len();
            let mut parts = Vec::new();
            if !movable.is_empty() {
                parts.push(format!("{} No preemption victims found for incoming pod", movable.len()));
            }
            if helpless > 0 {
                parts.push(format!("{helpless} Preemption is not helpful for scheduling"));
            }
            message.push_str(&format!(" preemption: 0/{} nodes are available: {}.", all.len(), parts.join(", ")));
        }
        Decision::Nowhere { message, preemption: choice }
    }

    /// The nodes, with room that was made for pods at least as important counted as taken.
    fn with_reservations(&self, pod: &PodInfo) -> Vec<std::borrow::Cow<'_, NodeInfo>> {
        use std::borrow::Cow;
        let reserve = |node: &NodeInfo| {
            let others = self
                .nominated
                .values()
                .filter(|(name, other)| *name == node.name && other.uid != pod.uid && other.priority >= pod.priority);
            others.map(|(_, other)| other.clone()).collect::<Vec<_>>()
        };
        let existing = self.nodes.values().filter(|node| node.exists);
        existing
            .map(|node| {
                let reservations = reserve(node);
                if reservations.is_empty() {
                    return Cow::Borrowed(node);
                }
                let mut node = node.clone();
                reservations.into_iter().for_each(|other| node.place(other));
                Cow::Owned(node)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cpu: &str) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "4Gi"}}}),
        )
        .unwrap()
    }

    fn pod(uid: &str, priority: i32, cpu: &str) -> Arc<PodInfo> {
        Arc::new(PodInfo::from_pod(
            serde_json::from_value(json!({
                "metadata": {"name": uid, "uid": uid, "namespace": "n"},
                "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
            }))
            .unwrap(),
        ))
    }

    fn chosen(decision: Decision) -> Option<String> {
        match decision {
            Decision::Node(name) => Some(name),
            Decision::Nowhere { .. } => None,
        }
    }

    #[test]
    fn assumed_pods_take_room_until_forgotten() {
        let mut cluster = Cluster::default();
        assert!(cluster.update_node(node("w1", "1")));
        assert!(!cluster.update_node(node("w1", "1")), "a heartbeat changes nothing");
        let first = pod("a", 0, "800m");
        assert_eq!(chosen(cluster.decide(&first)).as_deref(), Some("w1"));
        cluster.assume(&first, "w1");
        assert_eq!(chosen(cluster.decide(&pod("b", 0, "800m"))), None);
        assert!(cluster.displace("a"));
        assert_eq!(chosen(cluster.decide(&pod("b", 0, "800m"))).as_deref(), Some("w1"));
    }

    #[test]
    fn room_that_was_made_is_kept_for_the_nominated() {
        let mut cluster = Cluster::default();
        cluster.update_node(node("w1", "1"));
        let important = pod("new", 10, "1");
        cluster.nominate(important.clone(), "w1".into());
        assert_eq!(chosen(cluster.decide(&pod("other", 0, "500m"))), None);
        assert_eq!(chosen(cluster.decide(&important)).as_deref(), Some("w1"));
    }

    #[test]
    fn the_message_says_why_and_that_preemption_does_not_help() {
        let mut cluster = Cluster::default();
        cluster.update_node(node("w1", "1"));
        let Decision::Nowhere { message, preemption } = cluster.decide(&pod("a", 0, "2")) else { panic!("fits?") };
        assert!(preemption.is_none());
        assert_eq!(
            message,
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not \
             helpful for scheduling."
        );
    }
}

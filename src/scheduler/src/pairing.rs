//! Pods in relation to other pods: affinity, anti-affinity and topology spread. Counted once per attempt. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{PodAffinityTerm, TopologySpreadConstraint};
use naru_controllers::runtime::selector;

use crate::filter;
use crate::model::{NodeInfo, PodInfo};

pub(crate) const MISSING_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";
const SPREAD: &str = "node(s) didn't match pod topology spread constraints";
const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const OTHERS_ANTI_AFFINITY: &str = "node(s) didn't satisfy existing pods anti-affinity rules";
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Labels of namespaces, for selectors that choose namespaces.
pub(crate) type Namespaces = HashMap<String, BTreeMap<String, String>>;

/// Matching pods per value of one topology key.
#[derive(Debug, Default)]
struct Domains {
    key: String,
    counts: HashMap<String, i64>,
}

impl Domains {
    fn of<'a>(&self, node: &'a NodeInfo) -> Option<&'a String> {
        node.labels.get(&self.key)
    }

    fn count(&self, node: &NodeInfo) -> i64 {
        self.of(node).and_then(|value| self.counts.get(value)).copied().unwrap_or(0)
    }
}

#[derive(Debug)]
struct Spread {
    domains: Domains,
    max_skew: i64,
    min_domains: usize,
    /// One if the pod itself counts.
    own: i64,
}

/// What one pod sees when it looks at all others.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    hard: Vec<Spread>,
    soft: Vec<Spread>,
    affinity: Vec<Domains>,
    /// Nobody matches yet and the pod would match itself: it may be the first.
    may_be_first: bool,
    anti: Vec<Domains>,
    forbidden: HashSet<(String, String)>,
    preferences: HashMap<(String, String), i64>,
}

impl Pairing {
    pub(crate) fn compute<'a>(
        pod: &PodInfo,
        nodes: impl Iterator<Item = &'a NodeInfo> + Clone,
        namespaces: &Namespaces,
    ) -> Self {
        let mut this = Self { hard: Vec::new(), ..Self::default() };
        for constraint in &pod.spread {
            let spread = count_spread(pod, constraint, nodes.clone());
            if constraint.when_unsatisfiable == "ScheduleAnyway" {
                this.soft.push(spread)
            } else {
                this.hard.push(spread)
            }
        }
        if pod.spread.is_empty() && pod.owner_uid.is_some() {
            this.soft =
                [(HOSTNAME, 3), (ZONE, 5)].map(|(key, skew)| count_siblings(pod, key, skew, nodes.clone())).into();
            this.soft.retain(|spread| !spread.domains.counts.is_empty());
        }
        let count = |term: &PodAffinityTerm| count_term(pod, term, nodes.clone(), namespaces);
        this.affinity = pod.required_terms(false).iter().map(count).collect();
        this.anti = pod.required_terms(true).iter().map(count).collect();
        let nobody = this.affinity.iter().all(|domains| domains.counts.is_empty());
        let own = |term: &PodAffinityTerm| matches_term(pod, term, pod, namespaces);
        this.may_be_first = nobody && pod.required_terms(false).iter().all(own);
        this.count_existing(pod, nodes, namespaces);
        this
    }

    /// What pods that are placed already demand of, or wish for, this one.
    fn count_existing<'a>(
        &mut self,
        pod: &PodInfo,
        nodes: impl Iterator<Item = &'a NodeInfo>,
        namespaces: &Namespaces,
    ) {
        let wishes = preferred(pod);
        for node in nodes {
            for other in node.pods.values() {
                for term in other.required_terms(true) {
                    if let Some(value) = node.labels.get(&term.topology_key)
                        && matches_term(other, term, pod, namespaces)
                    {
                        self.forbidden.insert((term.topology_key.clone(), value.clone()));
                    }
                }
                let mine = wishes.iter().filter(|(_, term)| matches_term(pod, term, other, namespaces));
                let theirs = preferred(other);
                let theirs = theirs.iter().filter(|(_, term)| matches_term(other, term, pod, namespaces));
                for (weight, term) in mine.chain(theirs) {
                    if let Some(value) = node.labels.get(&term.topology_key) {
                        *self.preferences.entry((term.topology_key.clone(), value.clone())).or_default() += weight;
                    }
                }
            }
        }
    }

    pub(crate) fn check_spread(&self, node: &NodeInfo) -> Result<(), &'static str> {
        for spread in &self.hard {
            if spread.domains.of(node).is_none() {
                return Err(MISSING_LABEL);
            }
            let least = if spread.domains.counts.len() < spread.min_domains {
                0
            } else {
                spread.domains.counts.values().min().copied().unwrap_or(0)
            };
            if spread.domains.count(node) + spread.own - least > spread.max_skew {
                return Err(SPREAD);
            }
        }
        Ok(())
    }

    pub(crate) fn check_affinity(&self, node: &NodeInfo) -> Result<(), &'static str> {
        let has_key = |domains: &Domains| domains.of(node).is_some();
        let together = self.affinity.iter().all(|domains| domains.count(node) > 0);
        let first = self.may_be_first && self.affinity.iter().all(has_key);
        if !together && !first {
            return Err(AFFINITY);
        }
        if self.anti.iter().any(|domains| domains.count(node) > 0) {
            return Err(ANTI_AFFINITY);
        }
        let is_forbidden = |(key, value): &(String, String)| node.labels.get(key) == Some(value);
        if self.forbidden.iter().any(is_forbidden) {
            return Err(OTHERS_ANTI_AFFINITY);
        }
        Ok(())
    }

    /// How crowded the node's domains are with pods of the kind; less is better. `None`: a label is missing.
    pub(crate) fn crowding(&self, node: &NodeInfo) -> Option<f64> {
        let mut cost = 0.0;
        for spread in &self.soft {
            if spread.domains.of(node).is_none() {
                if spread.domains.key == ZONE || spread.domains.key == HOSTNAME {
                    continue;
                }
                return None;
            }
            // More domains: each weighs more, as the same count is a larger share there.
            let weight = (spread.domains.counts.len() as f64 + 2.0).ln();
            cost += spread.domains.count(node) as f64 * weight + (spread.max_skew - 1) as f64;
        }
        Some(cost)
    }

    pub(crate) fn has_soft_spread(&self) -> bool {
        !self.soft.is_empty()
    }

    pub(crate) fn preference(&self, node: &NodeInfo) -> i64 {
        let here = |key: &(String, String)| node.labels.get(&key.0) == Some(&key.1);
        self.preferences.iter().filter(|(key, _)| here(key)).map(|(_, weight)| weight).sum()
    }
}

/// Preferred terms with their weights; those of anti-affinity count against.
fn preferred(pod: &PodInfo) -> Vec<(i64, &PodAffinityTerm)> {
    let Some(affinity) = pod.affinity.as_ref() else { return Vec::new() };
    let near = affinity.pod_affinity.as_ref();
    let near = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
    let far = affinity.pod_anti_affinity.as_ref();
    let far = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
    let near = near.into_iter().flatten().map(|wish| (i64::from(wish.weight), &wish.pod_affinity_term));
    let far = far.into_iter().flatten().map(|wish| (-i64::from(wish.weight), &wish.pod_affinity_term));
    near.chain(far).collect()
}

/// `holder` has the term; does `other` match it?
fn matches_term(holder: &PodInfo, term: &PodAffinityTerm, other: &PodInfo, namespaces: &Namespaces) -> bool {
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let by_selector = || {
        let labels = namespaces.get(&other.key.namespace);
        term.namespace_selector.as_ref().is_some_and(|wanted| selector::matches(Some(wanted), labels))
    };
    let own = listed.is_empty() && term.namespace_selector.is_none() && holder.key.namespace == other.key.namespace;
    (own || listed.contains(&other.key.namespace) || by_selector())
        && selector::matches(term.label_selector.as_ref(), Some(&other.labels))
}

fn count_term<'a>(
    pod: &PodInfo,
    term: &PodAffinityTerm,
    nodes: impl Iterator<Item = &'a NodeInfo>,
    namespaces: &Namespaces,
) -> Domains {
    let mut domains = Domains { key: term.topology_key.clone(), counts: HashMap::new() };
    for node in nodes {
        let Some(value) = node.labels.get(&term.topology_key) else { continue };
        let matching = node.pods.values().filter(|other| matches_term(pod, term, other, namespaces)).count();
        if matching > 0 {
            *domains.counts.entry(value.clone()).or_default() += i64::try_from(matching).unwrap_or(i64::MAX);
        }
    }
    domains
}

fn count_spread<'a>(
    pod: &PodInfo,
    constraint: &TopologySpreadConstraint,
    nodes: impl Iterator<Item = &'a NodeInfo>,
) -> Spread {
    let same_values = |labels: &BTreeMap<String, String>| {
        let keys = constraint.match_label_keys.iter().flatten().filter(|key| pod.labels.contains_key(*key));
        keys.into_iter().all(|key| labels.get(key) == pod.labels.get(key))
    };
    let matching = |other: &PodInfo| {
        selector::matches(constraint.label_selector.as_ref(), Some(&other.labels)) && same_values(&other.labels)
    };
    let mut counts: HashMap<String, i64> = HashMap::new();
    for node in nodes.filter(|node| is_eligible(pod, constraint, node)) {
        let Some(value) = node.labels.get(&constraint.topology_key) else { continue };
        let here = |other: &&std::sync::Arc<PodInfo>| {
            !other.deleting && other.key.namespace == pod.key.namespace && matching(other)
        };
        let count = node.pods.values().filter(here).count();
        *counts.entry(value.clone()).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }
    Spread {
        domains: Domains { key: constraint.topology_key.clone(), counts },
        max_skew: i64::from(constraint.max_skew),
        min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
        own: i64::from(matching(pod)),
    }
}

/// Nodes that the pod could not use anyway make no domain.
fn is_eligible(pod: &PodInfo, constraint: &TopologySpreadConstraint, node: &NodeInfo) -> bool {
    let honours =
        |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |policy| policy == "Honor");
    if honours(&constraint.node_affinity_policy, true) && !filter::matches_node_affinity(pod, node) {
        return false;
    }
    if honours(&constraint.node_taints_policy, false) {
        let hard = node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        let tolerated = |taint: &_| pod.tolerations.iter().any(|toleration| selector::tolerates(toleration, taint));
        return hard.into_iter().all(tolerated);
    }
    true
}

/// Without constraints of its own a pod keeps away from pods of the same owner.
fn count_siblings<'a>(pod: &PodInfo, key: &str, max_skew: i64, nodes: impl Iterator<Item = &'a NodeInfo>) -> Spread {
    let mut counts: HashMap<String, i64> = HashMap::new();
    for node in nodes {
        let Some(value) = node.labels.get(key) else { continue };
        let siblings = node.pods.values().filter(|other| !other.deleting && other.owner_uid == pod.owner_uid).count();
        *counts.entry(value.clone()).or_default() += i64::try_from(siblings).unwrap_or(i64::MAX);
    }
    Spread { domains: Domains { key: key.to_owned(), counts }, max_skew, min_domains: 1, own: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node(name: &str, zone: &str, pods: Vec<PodInfo>) -> NodeInfo {
        let mut node = NodeInfo { name: name.into(), exists: true, pod_limit: 110, ..NodeInfo::default() };
        node.labels = BTreeMap::from([(HOSTNAME.into(), name.into()), (ZONE.into(), zone.into())]);
        pods.into_iter().for_each(|pod| node.place(Arc::new(pod)));
        node
    }

    fn pod(uid: &str, app: &str, spec: Value) -> PodInfo {
        let mut value = json!({"metadata": {"name": uid, "uid": uid, "namespace": "n", "labels": {"app": app}},
            "spec": {"containers": []}});
        for (key, inner) in spec.as_object().unwrap() {
            value["spec"][key] = inner.clone();
        }
        PodInfo::from_pod(serde_json::from_value(value).unwrap())
    }

    fn compute(pod: &PodInfo, nodes: &[NodeInfo]) -> Pairing {
        Pairing::compute(pod, nodes.iter(), &Namespaces::new())
    }

    fn term(app: &str, key: &str) -> Value {
        json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}])
    }

    #[test]
    fn hard_spread_bounds_the_skew() {
        let constraint = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": HOSTNAME,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let new = pod("new", "web", constraint);
        let nodes = [node("w1", "a", vec![pod("1", "web", json!({}))]), node("w2", "a", vec![])];
        let pairing = compute(&new, &nodes);
        assert_eq!(pairing.check_spread(&nodes[0]), Err(SPREAD));
        assert_eq!(pairing.check_spread(&nodes[1]), Ok(()));
        let bare = NodeInfo { name: "w3".into(), ..NodeInfo::default() };
        assert_eq!(pairing.check_spread(&bare), Err(MISSING_LABEL));
    }

    #[test]
    fn anti_affinity_works_both_ways() {
        let anti = json!({"affinity": {"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": term("web", HOSTNAME)}}});
        let loner = pod("loner", "web", anti);
        let nodes = [node("w1", "a", vec![loner.clone()]), node("w2", "a", vec![])];
        let second = PodInfo { uid: "second".into(), ..loner };
        assert_eq!(compute(&second, &nodes).check_affinity(&nodes[0]), Err(ANTI_AFFINITY));
        assert_eq!(compute(&second, &nodes).check_affinity(&nodes[1]), Ok(()));
        let plain = pod("plain", "web", json!({}));
        assert_eq!(compute(&plain, &nodes).check_affinity(&nodes[0]), Err(OTHERS_ANTI_AFFINITY));
    }

    #[test]
    fn affinity_may_start_with_itself() {
        let near = |app: &str| {
            let affinity = json!({"affinity": {"podAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": term(app, ZONE)}}});
            pod("near", "web", affinity)
        };
        let empty = [node("w1", "a", vec![])];
        assert_eq!(compute(&near("web"), &empty).check_affinity(&empty[0]), Ok(()));
        assert_eq!(compute(&near("db"), &empty).check_affinity(&empty[0]), Err(AFFINITY));
        let nodes =
            [node("w1", "a", vec![pod("db", "db", json!({}))]), node("w2", "a", vec![]), node("w3", "b", vec![])];
        let pairing = compute(&near("db"), &nodes);
        assert_eq!(pairing.check_affinity(&nodes[1]), Ok(()), "same zone, other node");
        assert_eq!(pairing.check_affinity(&nodes[2]), Err(AFFINITY));
    }

    #[test]
    fn siblings_keep_away_from_each_other() {
        let owned = |uid: &str| PodInfo { owner_uid: Some("rs".into()), ..pod(uid, "web", json!({})) };
        let nodes = [node("w1", "a", vec![owned("1")]), node("w2", "a", vec![])];
        let pairing = compute(&owned("2"), &nodes);
        assert!(pairing.crowding(&nodes[0]) > pairing.crowding(&nodes[1]));
    }

    #[test]
    fn wishes_add_up() {
        let wish = json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 10, "podAffinityTerm": term("web", HOSTNAME)[0]}]}}});
        let nodes = [node("w1", "a", vec![pod("1", "web", json!({}))]), node("w2", "a", vec![])];
        let pairing = compute(&pod("2", "web", wish), &nodes);
        assert_eq!((pairing.preference(&nodes[0]), pairing.preference(&nodes[1])), (-10, 0));
    }
}

//! Which taints a node's state calls for, and when a pod must leave because of one. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::runtime::selector;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, the status that calls for a taint, the taint.
const PRESSURES: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

pub(super) fn condition_status<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        "NoSchedule" => {
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
                || PRESSURES.iter().any(|(_, _, key)| *key == taint.key)
        }
        "NoExecute" => [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()),
        _ => false,
    }
}

/// The node's taints as they should be: ours by its state, everybody else's as they are. `None` if they are so already.
/// `may_evict` is false when no node at all is well: then the fault is more likely on this side.
pub(super) fn wanted(node: &Node, may_evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let mut ours: Vec<(&str, &str)> = Vec::new();
    let unwell = match condition_status(node, "Ready") {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        Some(_) | None => Some(NOT_READY),
    };
    if let Some(key) = unwell {
        ours.push((key, "NoSchedule"));
        if may_evict && condition_status(node, "Ready").is_some() {
            ours.push((key, "NoExecute"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        ours.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let pressing = PRESSURES.iter().filter(|(kind, status, _)| condition_status(node, kind) == Some(status));
    ours.extend(pressing.map(|(_, _, key)| (*key, "NoSchedule")));

    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let is_wanted = |taint: &Taint| ours.iter().any(|(key, effect)| *key == taint.key && *effect == taint.effect);
    let mut taints: Vec<Taint> = current.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in ours {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(now)) });
        }
    }
    (taints != current).then_some(taints)
}

/// When a pod with these tolerations must leave a node with these taints; `None`: it may stay.
/// A taint without a time counts from now, so the caller must keep the first answer.
pub(super) fn leave_at(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let mut tolerating = tolerations.iter().filter(|toleration| selector::tolerates(toleration, taint)).peekable();
        let at = if tolerating.peek().is_none() {
            Some(now)
        } else {
            let limits = tolerating.filter_map(|toleration| toleration.toleration_seconds);
            limits.min().map(|seconds| {
                let since = taint.time_added.as_ref().map_or(now, |time| time.0);
                let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                since.checked_add(wait).unwrap_or(Timestamp::MAX).max(Timestamp::MIN)
            })
        };
        earliest = match (earliest, at) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
    }
    earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn node(ready: &str, taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "w1"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]}
        }))
        .unwrap()
    }

    fn names(taints: &[Taint]) -> Vec<String> {
        taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
    }

    #[test]
    fn health_becomes_taints_and_back() {
        let foreign = json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
        let mut sick = node("Unknown", foreign);
        let taints = wanted(&sick, true, at(0)).expect("must change");
        assert_eq!(
            names(&taints),
            [
                "node-role.kubernetes.io/control-plane:NoSchedule",
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        sick.spec.as_mut().unwrap().taints = Some(taints);
        assert_eq!(wanted(&sick, true, at(9)), None, "and stays so, with the first time");
        sick.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
        let names_now = names(&wanted(&sick, true, at(9)).unwrap());
        assert!(names_now.contains(&"node.kubernetes.io/not-ready:NoExecute".to_owned()) && names_now.len() == 3);
        sick.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "True".into();
        assert_eq!(names(&wanted(&sick, true, at(9)).unwrap()), ["node-role.kubernetes.io/control-plane:NoSchedule"]);
    }

    #[test]
    fn nobody_is_evicted_when_all_are_unwell() {
        let taints = wanted(&node("Unknown", json!([])), false, at(0)).unwrap();
        assert_eq!(names(&taints), ["node.kubernetes.io/unreachable:NoSchedule"]);
    }

    #[test]
    fn cordon_and_pressure() {
        let mut tired = node("True", json!([]));
        tired.spec.as_mut().unwrap().unschedulable = Some(true);
        tired.status.as_mut().unwrap().conditions.as_mut().unwrap()[1].status = "True".into();
        assert_eq!(
            names(&wanted(&tired, true, at(0)).unwrap()),
            ["node.kubernetes.io/unschedulable:NoSchedule", "node.kubernetes.io/disk-pressure:NoSchedule"]
        );
    }

    fn tolerations(value: Value) -> Vec<Toleration> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn toleration_seconds_are_exact() {
        let taint = |key: &str, added: i64| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            value: None,
            time_added: Some(Time(at(added))),
        };
        let unreachable = [taint(UNREACHABLE, 10)];
        assert_eq!(leave_at(&unreachable, &[], at(20)), Some(at(20)), "not tolerated: at once");
        let five = tolerations(
            json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]),
        );
        assert_eq!(leave_at(&unreachable, &five, at(12)), Some(at(15)));
        let forever = tolerations(json!([{"operator": "Exists"}]));
        assert_eq!(leave_at(&unreachable, &forever, at(12)), None);
        let both = tolerations(json!([{"operator": "Exists", "tolerationSeconds": 60}, {"operator": "Exists"}]));
        assert_eq!(leave_at(&unreachable, &both, at(12)), Some(at(70)), "the shortest of several counts");
        let two = [taint(UNREACHABLE, 10), taint("mine", 0)];
        assert_eq!(leave_at(&two, &five, at(12)), Some(at(12)), "one of two is not tolerated");
        let zero = tolerations(json!([{"operator": "Exists", "tolerationSeconds": 0}]));
        assert_eq!(leave_at(&unreachable, &zero, at(30)), Some(at(10)));
        let soft = [Taint { key: "x".into(), effect: "NoSchedule".into(), ..Taint::default() }];
        assert_eq!(leave_at(&soft, &[], at(0)), None);
    }
}

//! Label selectors and toleration of taints.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub type Labels = BTreeMap<String, String>;

/// An absent selector matches nothing, an empty one everything.
pub fn matches(selector: Option<&LabelSelector>, labels: Option<&Labels>) -> bool {
    let Some(selector) = selector else { return false };
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| value_of(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|term| {
            let value = value_of(&term.key);
            let listed = || value.is_some_and(|value| term.values.iter().flatten().any(|other| other == value));
            match term.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Plain key-value selection as Services have it. An empty map selects nothing.
pub fn matches_map(selector: &Labels, labels: Option<&Labels>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    let taint_value = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && value == taint_value,
        "Lt" => compare_integers(taint_value, value).is_some_and(std::cmp::Ordering::is_lt),
        "Gt" => compare_integers(taint_value, value).is_some_and(std::cmp::Ordering::is_gt),
        _ => false,
    }
}

fn compare_integers(left: &str, right: &str) -> Option<std::cmp::Ordering> {
    Some(left.parse::<i64>().ok()?.cmp(&right.parse::<i64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selectors() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "NotIn", "values": ["x"]},
            ]
        }))
        .unwrap();
        assert!(matches(Some(&selector), Some(&labels(&[("app", "web"), ("tier", "b")]))));
        assert!(!matches(Some(&selector), Some(&labels(&[("app", "web")]))));
        assert!(!matches(Some(&selector), Some(&labels(&[("app", "web"), ("tier", "a"), ("old", "")]))));
        assert!(!matches(Some(&selector), Some(&labels(&[("app", "web"), ("tier", "a"), ("zone", "x")]))));
        assert!(!matches(None, Some(&labels(&[]))));
        assert!(matches(Some(&LabelSelector::default()), None));
        assert!(!matches_map(&labels(&[]), Some(&labels(&[("a", "b")]))));
    }

    #[test]
    fn tolerations() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        };
        let toleration = |value: serde_json::Value| serde_json::from_value::<Toleration>(value).unwrap();
        let all = toleration(json!({"operator": "Exists"}));
        assert!(tolerates(&all, &taint("k", "v", "NoExecute")));
        let equal = toleration(json!({"key": "k", "value": "v", "effect": "NoSchedule"}));
        assert!(tolerates(&equal, &taint("k", "v", "NoSchedule")));
        assert!(!tolerates(&equal, &taint("k", "w", "NoSchedule")));
        assert!(!tolerates(&equal, &taint("k", "v", "NoExecute")));
        assert!(!tolerates(&toleration(json!({"key": "k", "operator": "Exists"})), &taint("j", "", "NoSchedule")));
    }
}

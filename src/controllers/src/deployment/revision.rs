//! Which replica set is which: template equality, hash, revision numbers and the annotations that carry them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::math::{desired, max_surge};
use crate::runtime::meta;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Revisions listed on a set that came back several times; older ones fall off.
const HISTORY_LENGTH_LIMIT: usize = 2000;

/// Letters and digits that cannot spell a word.
const SAFE_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

type Annotations = BTreeMap<String, String>;

/// 32-bit FNV-1a over the template's JSON, in letters that are safe in names.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(PRIME);
    let encoded = serde_json::to_vec(&essence(template)).unwrap_or_default();
    let mut hash = encoded.iter().fold(OFFSET, fold);
    if let Some(collisions) = collisions {
        hash = collisions.to_le_bytes().iter().fold(hash, fold);
    }
    let safe = |digit: u8| char::from(SAFE_LETTERS[usize::from(digit) % SAFE_LETTERS.len()]);
    hash.to_string().bytes().map(safe).collect()
}

/// The template without what means nothing: the hash label, nulls and empty containers; keys in order.
fn essence(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    let mut value = serde_json::to_value(&template).unwrap_or_default();
    prune(&mut value);
    value
}

/// What Go clients leave out, or write out, for the same thing. An empty object may be a choice (`emptyDir: {}`), and
/// `false`
/// may be one where unset is a third state; so those only count as nothing under the names where they are nothing.
fn is_zero(key: &str, value: &Value) -> bool {
    const EMPTY_OBJECTS: [&str; 3] = ["resources", "metadata", "securityContext"];
    const FALSE_BOOLEANS: [&str; 7] = ["hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly"];
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty() && EMPTY_OBJECTS.contains(&key),
        Value::Bool(flag) => !flag && FALSE_BOOLEANS.contains(&key),
        Value::Number(_) => false,
    }
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|key, value| !is_zero(key, value));
            let sorted: BTreeMap<String, Value> = std::mem::take(map).into_iter().collect();
            map.extend(sorted);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

pub(super) fn same_template(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    essence(left) == essence(right)
}

/// The oldest set with the deployment's template.
pub(super) fn find_new<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let template = essence(&deployment.spec.as_ref()?.template);
    let mut sorted: Vec<&ReplicaSet> = sets.iter().collect();
    sorted.sort_by(|left, right| by_creation(left, right));
    sorted.into_iter().find(|set| {
        set.spec.as_ref().and_then(|spec| spec.template.as_ref()).is_some_and(|other| essence(other) == template)
    })
}

pub(super) fn by_creation(left: &ReplicaSet, right: &ReplicaSet) -> std::cmp::Ordering {
    let key = |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone());
    key(left).cmp(&key(right))
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    meta::annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn next_revision(old: &[ReplicaSet]) -> i64 {
    old.iter().map(revision).max().unwrap_or(0) + 1
}

/// What the new set's annotations should be: the deployment's own (change cause and all), the revision, and for a set
/// that is being made
/// the replica counts.
pub(super) fn new_set_annotations(
    deployment: &Deployment,
    current: Option<&Annotations>,
    revision: i64,
    exists: bool,
) -> Annotations {
    let mut wanted = current.cloned().unwrap_or_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        let ours = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];
        if !ours.contains(&key.as_str()) {
            wanted.insert(key.clone(), value.clone());
        }
    }
    let before = wanted.get(REVISION).cloned();
    let before_number = before.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if before_number < revision {
        wanted.insert(REVISION.into(), revision.to_string());
        if let Some(before) = before.filter(|text| exists && !text.is_empty()) {
            let history = wanted.get(REVISION_HISTORY).cloned().unwrap_or_default();
            wanted.insert(REVISION_HISTORY.into(), longer_history(&history, &before));
        }
    }
    if !exists {
        wanted.extend(size_annotations(deployment));
    }
    wanted
}

fn longer_history(history: &str, revision: &str) -> String {
    let mut entries: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
    entries.push(revision);
    while entries.len() > 1 && entries.iter().map(|entry| entry.len() + 1).sum::<usize>() > HISTORY_LENGTH_LIMIT {
        entries.remove(0);
    }
    entries.join(",")
}

pub(super) fn size_annotations(deployment: &Deployment) -> Annotations {
    Annotations::from([
        (DESIRED_REPLICAS.to_owned(), desired(deployment).to_string()),
        (MAX_REPLICAS.to_owned(), (desired(deployment) + max_surge(deployment)).to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str, hash: Option<&str>) -> PodTemplateSpec {
        let mut value = json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]}});
        if let Some(hash) = hash {
            value["metadata"]["labels"][TEMPLATE_HASH] = json!(hash);
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn hash_is_stable_and_safe() {
        let hash = template_hash(&template("a", None), None);
        assert_eq!(hash, template_hash(&template("a", Some("whatever")), None), "its own label does not count");
        assert_eq!(hash, template_hash(&template("a", None), None));
        assert_ne!(hash, template_hash(&template("b", None), None));
        assert_ne!(hash, template_hash(&template("a", None), Some(1)));
        assert!(hash.bytes().all(|byte| SAFE_LETTERS.contains(&byte)), "{hash}");
    }

    #[test]
    fn empty_lists_do_not_make_a_difference() {
        let mut left = template("a", None);
        left.spec.as_mut().unwrap().volumes = Some(Vec::new());
        left.spec.as_mut().unwrap().containers[0].resources = Some(Default::default());
        assert!(same_template(&left, &template("a", Some("x"))));
        assert!(!same_template(&left, &template("b", None)));
    }

    #[test]
    fn annotations_of_the_new_set() {
        let web: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": "image b",
                REVISION: "1", LAST_APPLIED: "{}"}},
            "spec": {"replicas": 4, "selector": {}, "template": {}}
        }))
        .unwrap();
        let made = new_set_annotations(&web, None, 2, false);
        assert_eq!(made.get("kubernetes.io/change-cause").map(String::as_str), Some("image b"));
        assert_eq!(made.get(REVISION).map(String::as_str), Some("2"));
        assert_eq!(made.get(DESIRED_REPLICAS).map(String::as_str), Some("4"));
        assert_eq!(made.get(MAX_REPLICAS).map(String::as_str), Some("5"));
        assert!(!made.contains_key(LAST_APPLIED));
        let back = new_set_annotations(&web, Some(&made), 5, true);
        assert_eq!(back.get(REVISION).map(String::as_str), Some("5"));
        assert_eq!(back.get(REVISION_HISTORY).map(String::as_str), Some("2"));
        assert_eq!(new_set_annotations(&web, Some(&back), 5, true), back, "nothing to do the second time");
    }

    #[test]
    fn history_is_bounded() {
        let mut history = String::new();
        for number in 0..2000 {
            history = longer_history(&history, &number.to_string());
        }
        assert!(history.len() <= HISTORY_LENGTH_LIMIT);
        assert!(history.ends_with(",1999"));
    }
}

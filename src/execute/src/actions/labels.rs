//! Labels, annotations and taints of a node as a merge patch. Taints are a list, which a patch replaces as a whole, so
//! the node is read first and its resource version goes along: if anybody else touched it, the patch is refused and
//! tried again.

use naru_observe::{MANAGED_ANNOTATION, Managed};
use naru_plan::LabelChange;
use serde_json::{Map, Value as Json, json};

use super::Lines;
use crate::world::{World, get, merge_patch, refused};

/// A node that has just come reports its status often, and each report makes a patch with an older version fail.
const MAX_CONFLICTS: u32 = 10;

impl World<'_> {
    pub(super) async fn label(&self, control_planes: &[String], node: &str, change: &LabelChange) -> Lines {
        let path = format!("/api/v1/nodes/{node}");
        let mut conflicts = 0;
        loop {
            let found = self.api(control_planes, get(&path)).await?;
            if found.status != 200 {
                return Err(refused(&format!("read node {node}"), &found));
            }
            let present: Json = serde_json::from_str(&found.body).unwrap_or_default();
            let answer = self.api(control_planes, merge_patch(&path, &patch(&present, change))).await?;
            match answer.status {
                200 => return Ok(Vec::new()),
                409 if conflicts < MAX_CONFLICTS => conflicts += 1,
                _ => return Err(refused(&format!("label node {node}"), &answer)),
            }
        }
    }
}

fn patch(node: &Json, change: &LabelChange) -> Json {
    // Whoever planned this may not have seen the node: what is ours on it and not wanted any more is told by itself.
    let ours = node["metadata"]["annotations"][MANAGED_ANNOTATION].as_str();
    let ours: Managed = ours.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let gone = |old: &[String], new: &[String]| -> Vec<String> {
        old.iter().filter(|name| !new.contains(name)).cloned().collect()
    };
    let mut labels = Map::new();
    labels.extend(gone(&ours.labels, &change.managed.labels).into_iter().map(|key| (key, Json::Null)));
    labels.extend(change.remove_labels.iter().map(|key| (key.clone(), Json::Null)));
    labels.extend(change.set_labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    let identity = |taint: &Json| {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        format!("{}:{}", text(&taint["key"]), text(&taint["effect"]))
    };
    let set: Vec<Json> = change.set_taints.iter().map(|taint| json!(taint)).collect();
    let gone_taints = gone(&ours.taints, &change.managed.taints);
    let removed = change.remove_taints.iter().chain(&gone_taints).cloned();
    let replaced: Vec<String> = set.iter().map(identity).chain(removed).collect();
    let kept = node["spec"]["taints"].as_array().into_iter().flatten();
    let mut taints: Vec<Json> = kept.filter(|taint| !replaced.contains(&identity(taint))).cloned().collect();
    taints.extend(set);
    let managed = serde_json::to_string(&change.managed).expect("lists of text");
    let mut annotations = Map::new();
    annotations.extend(gone(&ours.annotations, &change.managed.annotations).into_iter().map(|key| (key, Json::Null)));
    annotations.extend(change.remove_annotations.iter().map(|key| (key.clone(), Json::Null)));
    annotations.extend(change.set_annotations.iter().map(|(key, value)| (key.clone(), json!(value))));
    annotations.insert(MANAGED_ANNOTATION.to_owned(), json!(managed));
    let mut patch = json!({"metadata": {
        "resourceVersion": node["metadata"]["resourceVersion"],
        "labels": labels,
        "annotations": annotations,
    }});
    if !change.set_taints.is_empty() || !change.remove_taints.is_empty() || !gone_taints.is_empty() {
        patch["spec"] = json!({"taints": taints});
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_of_others_stay() {
        let node = json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}, {"key": "old", "effect": "NoSchedule"},
        ]}});
        let change = LabelChange {
            set_labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            remove_labels: vec!["rack".to_owned()],
            remove_taints: vec!["old:NoSchedule".to_owned()],
            set_annotations: [("site".to_owned(), "north".to_owned())].into(),
            remove_annotations: vec!["row".to_owned()],
            ..LabelChange::default()
        };
        let patch = patch(&node, &change);
        assert_eq!(patch["metadata"]["labels"], json!({"disk": "ssd", "rack": null}));
        let annotations = &patch["metadata"]["annotations"];
        assert_eq!((&annotations["site"], &annotations["row"]), (&json!("north"), &Json::Null));
        assert!(annotations.get("row").is_some() && annotations[MANAGED_ANNOTATION].is_string());
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]));
        assert!(super::patch(&node, &LabelChange::default()).get("spec").is_none());
    }
}

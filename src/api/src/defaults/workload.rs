//! Defaults of what runs pods.

use super::pod::template_of;
use super::{existing, set, set_text, spec};
use serde_json::{Map, Value, json};

const REVISION_HISTORY: i64 = 10;
const PROGRESS_DEADLINE_S: i64 = 600;

pub(crate) fn deployment(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", REVISION_HISTORY);
    set(spec, "progressDeadlineSeconds", PROGRESS_DEADLINE_S);
    set(spec, "strategy", json!({}));
    if let Some(strategy) = existing(spec, "strategy") {
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set(strategy, "rollingUpdate", json!({}));
        }
        if let Some(rolling) = existing(strategy, "rollingUpdate") {
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }
    template_of(spec);
}

pub(crate) fn replica_set(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "replicas", 1);
    template_of(spec);
}

/// The one kind left whose selector and labels come from the template.
pub(crate) fn replication_controller(object: &mut Value) {
    let template_labels = object.pointer("/spec/template/metadata/labels").filter(|labels| labels.is_object()).cloned();
    if let Some(labels) = template_labels {
        if let Some(spec) = spec(object)
            && spec.get("selector").is_none_or(is_empty)
        {
            spec.insert("selector".to_owned(), labels.clone());
        }
        if let Some(metadata) = crate::meta::metadata_mut(object)
            && metadata.get("labels").is_none_or(is_empty)
        {
            metadata.insert("labels".to_owned(), labels);
        }
    }
    replica_set(object);
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

pub(crate) fn stateful_set(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", REVISION_HISTORY);
    set_text(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "updateStrategy", json!({}));
    if let Some(strategy) = existing(spec, "updateStrategy") {
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set(strategy, "rollingUpdate", json!({}));
        }
        if let Some(rolling) = existing(strategy, "rollingUpdate") {
            set(rolling, "partition", 0);
        }
    }
    set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    if let Some(policy) = existing(spec, "persistentVolumeClaimRetentionPolicy") {
        set_text(policy, "whenDeleted", "Retain");
        set_text(policy, "whenScaled", "Retain");
    }
    if let Some(templates) = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut) {
        for template in templates {
            super::persistent_volume_claim(template);
            if let Some(map) = template.as_object_mut() {
                map.insert("apiVersion".to_owned(), "v1".into());
                map.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            }
        }
    }
    template_of(spec);
}

pub(crate) fn daemon_set(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "revisionHistoryLimit", REVISION_HISTORY);
    set(spec, "updateStrategy", json!({}));
    if let Some(strategy) = existing(spec, "updateStrategy") {
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set(strategy, "rollingUpdate", json!({}));
        }
        if let Some(rolling) = existing(strategy, "rollingUpdate") {
            set(rolling, "maxUnavailable", 1);
            set(rolling, "maxSurge", 0);
        }
    }
    template_of(spec);
}

/// Selector and labels of a job carry its UID, so `prepare_job` makes them when the object has one.
pub(crate) fn job(object: &mut Value) {
    if let Some(spec) = spec(object) {
        job_spec(spec);
    }
}

fn job_spec(spec: &mut Map<String, Value>) {
    let unsaid = |spec: &Map<String, Value>, name: &str| spec.get(name).is_none_or(Value::is_null);
    if unsaid(spec, "completions") && unsaid(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    if unsaid(spec, "backoffLimit") {
        let per_index = !unsaid(spec, "backoffLimitPerIndex");
        spec.insert("backoffLimit".to_owned(), if per_index { i32::MAX.into() } else { 6.into() });
    }
    set_text(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let policy = if unsaid(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    set_text(spec, "podReplacementPolicy", policy);
    template_of(spec);
}

/// A new job selects its pods by its own UID, unless its owner says that it chose the selector itself.
pub(crate) fn prepare_job(object: &mut Value) {
    let (uid, name) = (crate::meta::uid(object).to_owned(), crate::meta::name(object).to_owned());
    let Some(spec) = spec(object) else { return };
    if uid.is_empty() || spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    if let Some(selector) = map_of(spec, "selector").and_then(|selector| map_of(selector, "matchLabels")) {
        selector.insert("batch.kubernetes.io/controller-uid".to_owned(), uid.clone().into());
    }
    let template = map_of(spec, "template").and_then(|template| map_of(template, "metadata"));
    if let Some(labels) = template.and_then(|metadata| map_of(metadata, "labels")) {
        for prefix in ["", "batch.kubernetes.io/"] {
            labels.insert(format!("{prefix}controller-uid"), uid.clone().into());
            labels.insert(format!("{prefix}job-name"), name.clone().into());
        }
    }
}

fn map_of<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    set(map, name, json!({}));
    existing(map, name)
}

pub(crate) fn cron_job(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = existing(spec, "jobTemplate").and_then(|template| existing(template, "spec")) {
        // Only the pod's defaults: those of the job come when the job is made.
        template_of(template);
    }
}

const CPU_TARGET: i64 = 80;

pub(crate) fn horizontal_pod_autoscaler(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_TARGET});
        spec.insert("metrics".to_owned(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
}

pub(crate) fn horizontal_pod_autoscaler_v1(object: &mut Value) {
    if let Some(spec) = spec(object) {
        set(spec, "minReplicas", 1);
        set(spec, "targetCPUUtilizationPercentage", CPU_TARGET);
    }
}

//! Views: the same stored object under another group or version.

use crate::meta;
use serde_json::{Map, Value, json};

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

/// `events.k8s.io/v1` name, then core name.
const EVENT_NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// `events.k8s.io/v1` to core.
pub(crate) fn event_to_core(event: &mut Value) {
    let Some(object) = event.as_object_mut() else { return };
    for (new, core) in EVENT_NAMES {
        rename(object, new, core);
    }
    object.insert("apiVersion".to_owned(), "v1".into());
    crate::defaults::event(event);
}

/// Core to `events.k8s.io/v1`.
pub(crate) fn event_from_core(event: &mut Value) {
    let Some(object) = event.as_object_mut() else { return };
    for (new, core) in EVENT_NAMES {
        rename(object, core, new);
    }
    object.insert("apiVersion".to_owned(), "events.k8s.io/v1".into());
}

/// `autoscaling/v1` to `v2`: the one CPU target becomes a metric.
pub(crate) fn autoscaler_to_v2(scaler: &mut Value) {
    let Some(object) = scaler.as_object_mut() else { return };
    object.insert("apiVersion".to_owned(), "autoscaling/v2".into());
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && let Some(target) = spec.remove("targetCPUUtilizationPercentage").filter(|target| !target.is_null())
    {
        spec.insert(
            "metrics".to_owned(),
            json!([cpu_metric("target", json!({"type": "Utilization", "averageUtilization": target}))]),
        );
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
        && let Some(current) = status.remove("currentCPUUtilizationPercentage").filter(|current| !current.is_null())
    {
        let metric = cpu_metric("current", json!({"averageUtilization": current, "averageValue": "0"}));
        status.insert("currentMetrics".to_owned(), json!([metric]));
    }
}

fn cpu_metric(side: &str, value: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", side: value}})
}

/// `autoscaling/v2` to `v1`: what v1 has no words for is left out.
pub(crate) fn autoscaler_to_v1(scaler: &mut Value) {
    let target = cpu_utilization(meta::list_at(scaler, &["spec", "metrics"]), "target");
    let current = cpu_utilization(meta::list_at(scaler, &["status", "currentMetrics"]), "current");
    let Some(object) = scaler.as_object_mut() else { return };
    object.insert("apiVersion".to_owned(), "autoscaling/v1".into());
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("metrics");
        spec.remove("behavior");
        if let Some(target) = target {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), target);
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
        status.remove("conditions");
        if let Some(current) = current {
            status.insert("currentCPUUtilizationPercentage".to_owned(), current);
        }
    }
}

fn cpu_utilization(metrics: &[Value], side: &str) -> Option<Value> {
    let cpu = metrics.iter().find(|metric| meta::string_at(metric, &["resource", "name"]) == "cpu")?;
    meta::at(cpu, &["resource", side, "averageUtilization"]).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_everything_both_ways() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "message": "hi",
            "source": {"component": "kubelet"}, "firstTimestamp": null, "count": 2, "reportingComponent": "kubelet",
            "reportingInstance": "n1", "reason": "Started", "type": "Normal"});
        let mut event = core.clone();
        event_from_core(&mut event);
        assert_eq!(event["note"], "hi");
        assert_eq!(event["regarding"]["kind"], "Pod");
        assert_eq!(event["deprecatedCount"], 2);
        assert_eq!(event["reportingController"], "kubelet");
        assert_eq!(event["apiVersion"], "events.k8s.io/v1");
        event_to_core(&mut event);
        assert_eq!(event["message"], "hi");
        assert_eq!(event["involvedObject"], core["involvedObject"]);
        assert_eq!(event["apiVersion"], "v1");
        assert_eq!(event.get("note"), None);
    }

    #[test]
    fn autoscalers_keep_their_cpu_target() {
        let mut scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60}});
        let old = scaler.clone();
        autoscaler_to_v2(&mut scaler);
        assert_eq!(scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
        autoscaler_to_v1(&mut scaler);
        assert_eq!(scaler, old);
    }
}

//! What runs pods: deployments and the like, jobs, autoscalers, disruption budgets.

use super::{
    AGE, CONTAINERS, IMAGES, NAME, NONE, SELECTOR, column, format_labels, format_selector, integer, joined, number,
    scalar, text, text_or, wide,
};
use crate::resource::Column;
use crate::{meta, time};
use serde_json::Value;

const TEMPLATE: &[&str] = &["spec", "template", "spec", "containers"];
const CRON_TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec", "containers"];

const TEMPLATE_CONTAINERS: Column = wide("Containers", CONTAINERS, |object, _| joined(object, TEMPLATE, "name"));
const TEMPLATE_IMAGES: Column = wide("Images", IMAGES, |object, _| joined(object, TEMPLATE, "image"));
const SPEC_SELECTOR: Column =
    wide("Selector", SELECTOR, |object, _| format_selector(&object["spec"]["selector"]).into());

fn replicas(object: &Value) -> i64 {
    meta::integer_at(object, &["spec", "replicas"]).unwrap_or_default()
}

pub(crate) const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready", "Number of the pod with ready state", |object, _| {
        let ready = meta::integer_at(object, &["status", "readyReplicas"]).unwrap_or_default();
        format!("{ready}/{}", replicas(object)).into()
    }),
    number("Up-to-date", "Pods that have the wanted template.", |object, _| {
        integer(object, &["status", "updatedReplicas"])
    }),
    number("Available", "Pods that have been ready for minReadySeconds.", |object, _| {
        integer(object, &["status", "availableReplicas"])
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SPEC_SELECTOR,
];

const DESIRED: Column = number("Desired", "Number of pods that are wanted.", |object, _| replicas(object).into());
const CURRENT: Column =
    number("Current", "Number of pods that exist.", |object, _| integer(object, &["status", "replicas"]));
const READY: Column =
    number("Ready", "Number of pods that are ready.", |object, _| integer(object, &["status", "readyReplicas"]));

pub(crate) const REPLICA_SET: &[Column] =
    &[NAME, DESIRED, CURRENT, READY, AGE, TEMPLATE_CONTAINERS, TEMPLATE_IMAGES, SPEC_SELECTOR];

pub(crate) const REPLICATION_CONTROLLER: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    wide("Selector", SELECTOR, |object, _| format_labels(meta::map_at(object, &["spec", "selector"])).into()),
];

pub(crate) const STATEFUL_SET: &[Column] = &[
    NAME,
    text("Ready", "Number of the pod with ready state", |object, _| {
        let ready = meta::integer_at(object, &["status", "readyReplicas"]).unwrap_or_default();
        format!("{ready}/{}", replicas(object)).into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
];

pub(crate) const DAEMON_SET: &[Column] = &[
    NAME,
    number("Desired", "Nodes that should run the pod.", |object, _| {
        integer(object, &["status", "desiredNumberScheduled"])
    }),
    number("Current", "Nodes that run the pod and should.", |object, _| {
        integer(object, &["status", "currentNumberScheduled"])
    }),
    number("Ready", "Nodes whose pod is ready.", |object, _| integer(object, &["status", "numberReady"])),
    number("Up-to-date", "Nodes whose pod has the wanted template.", |object, _| {
        integer(object, &["status", "updatedNumberScheduled"])
    }),
    number("Available", "Nodes whose pod is available.", |object, _| integer(object, &["status", "numberAvailable"])),
    text("Node Selector", "Labels that a node must have.", |object, _| {
        format_labels(meta::map_at(object, &["spec", "template", "spec", "nodeSelector"])).into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SPEC_SELECTOR,
];

pub(crate) const JOB: &[Column] = &[
    NAME,
    text("Status", "Status of the job.", |job, _| job_status(job).into()),
    text("Completions", "Pods that succeeded, of those wanted.", |job, _| completions(job).into()),
    text("Duration", "Time required to complete the job.", |job, now| duration(job, now).into()),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SPEC_SELECTOR,
];

fn job_status(job: &Value) -> &'static str {
    let holds = |condition_type| meta::condition_is_true(job, condition_type);
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if meta::deletion_timestamp(job).is_some() => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = meta::integer_at(job, &["status", "succeeded"]).unwrap_or_default();
    let parallelism = meta::integer_at(job, &["spec", "parallelism"]).unwrap_or_default();
    match meta::integer_at(job, &["spec", "completions"]) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now_unix_s: i64) -> String {
    let moment = |name| time::parse_seconds(meta::string_at(job, &["status", name]));
    let Some(start_s) = moment("startTime") else { return String::new() };
    time::human_duration(moment("completionTime").unwrap_or(now_unix_s) - start_s)
}

pub(crate) const CRON_JOB: &[Column] = &[
    NAME,
    text("Schedule", "The schedule in Cron format.", |job, _| meta::string_at(job, &["spec", "schedule"]).into()),
    text("Timezone", "The time zone of the schedule.", |job, _| text_or(job, &["spec", "timeZone"], NONE)),
    column("Suspend", "boolean", 0, "Whether new runs are held back.", |job, _| {
        // Upstream prints Go's word for the boolean, as text.
        if meta::bool_at(job, &["spec", "suspend"]) { "True".into() } else { "False".into() }
    }),
    number("Active", "Jobs that run now.", |job, _| meta::list_at(job, &["status", "active"]).len().into()),
    text("Last Schedule", "When a job was last made.", |job, now| {
        match meta::string_at(job, &["status", "lastScheduleTime"]) {
            "" => NONE.into(),
            moment => time::age(Some(moment), now).into(),
        }
    }),
    AGE,
    wide("Containers", CONTAINERS, |job, _| joined(job, CRON_TEMPLATE, "name")),
    wide("Images", IMAGES, |job, _| joined(job, CRON_TEMPLATE, "image")),
    wide("Selector", SELECTOR, |job, _| format_selector(&job["spec"]["jobTemplate"]["spec"]["selector"]).into()),
];

pub(crate) const HORIZONTAL_POD_AUTOSCALER: &[Column] = &[
    NAME,
    REFERENCE,
    text("Targets", "Current and wanted values of the metrics.", |scaler, _| metrics(scaler).into()),
    MIN_PODS,
    MAX_PODS,
    SCALER_REPLICAS,
    AGE,
];

pub(crate) const HORIZONTAL_POD_AUTOSCALER_V1: &[Column] = &[
    NAME,
    REFERENCE,
    text("Targets", "Current and wanted values of the metrics.", |scaler, _| {
        let mut scaler = scaler.clone();
        crate::convert::autoscaler_to_v2(&mut scaler);
        metrics(&scaler).into()
    }),
    MIN_PODS,
    MAX_PODS,
    SCALER_REPLICAS,
    AGE,
];

const REFERENCE: Column = text("Reference", "What is scaled.", |scaler, _| {
    let target = &scaler["spec"]["scaleTargetRef"];
    format!("{}/{}", meta::string_at(target, &["kind"]), meta::string_at(target, &["name"])).into()
});
const MIN_PODS: Column = text("MinPods", "The least number of pods.", |scaler, _| {
    meta::at(scaler, &["spec", "minReplicas"]).map_or_else(|| "<unset>".into(), |number| scalar(number).into())
});
const MAX_PODS: Column =
    number("MaxPods", "The largest number of pods.", |scaler, _| integer(scaler, &["spec", "maxReplicas"]));
const SCALER_REPLICAS: Column =
    number("Replicas", "Pods that exist.", |scaler, _| integer(scaler, &["status", "currentReplicas"]));

/// Metrics shown before the rest is only counted.
const METRICS_SHOWN: usize = 2;

fn metrics(scaler: &Value) -> String {
    let wanted = meta::list_at(scaler, &["spec", "metrics"]);
    if wanted.is_empty() {
        return NONE.to_owned();
    }
    let current = meta::list_at(scaler, &["status", "currentMetrics"]);
    let texts: Vec<String> =
        wanted.iter().enumerate().map(|(index, metric)| metric_text(metric, current.get(index))).collect();
    let shown = texts[..texts.len().min(METRICS_SHOWN)].join(", ");
    if texts.len() > METRICS_SHOWN { format!("{shown} + {} more...", texts.len() - METRICS_SHOWN) } else { shown }
}

fn metric_text(metric: &Value, current: Option<&Value>) -> String {
    let source = match meta::string_at(metric, &["type"]) {
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => "resource",
    };
    let side = |value: Option<&Value>, side: &str| {
        let value = value?.get(source)?.get(side)?;
        let percent = value.get("averageUtilization").filter(|number| !number.is_null());
        let plain = || ["averageValue", "value"].iter().find_map(|name| value.get(*name)).map(scalar);
        percent.map(|number| format!("{number}%")).or_else(plain)
    };
    let unknown = || "<unknown>".to_owned();
    let current = side(current, "current").unwrap_or_else(unknown);
    let values = format!("{current}/{}", side(Some(metric), "target").unwrap_or_else(unknown));
    match source {
        "resource" | "containerResource" => format!("{}: {values}", meta::string_at(metric, &[source, "name"])),
        _ => values,
    }
}

pub(crate) const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    text("Min Available", "The minimum number of pods that must be available.", |budget, _| {
        meta::at(budget, &["spec", "minAvailable"]).map_or_else(|| "N/A".into(), |value| scalar(value).into())
    }),
    text("Max Unavailable", "The maximum number of pods that may be unavailable.", |budget, _| {
        meta::at(budget, &["spec", "maxUnavailable"]).map_or_else(|| "N/A".into(), |value| scalar(value).into())
    }),
    number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", |budget, _| {
        integer(budget, &["status", "disruptionsAllowed"])
    }),
    AGE,
];

pub(crate) const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    text("Controller", "Controller of the object", |revision, _| {
        let Some(owner) = meta::controller_of(revision) else { return NONE.into() };
        let (group, _) = meta::split_api_version(owner.api_version);
        let kind = owner.kind.to_lowercase();
        let qualified = if group.is_empty() { kind } else { format!("{kind}.{group}") };
        format!("{qualified}/{}", owner.name).into()
    }),
    number("Revision", "The revision that the data stands for.", |revision, _| integer(revision, &["revision"])),
    AGE,
];

//! What runs pods.

use super::pod::template;
use super::{Checker, IMMUTABLE, count_or_percent, label_selector, unchanged};
use crate::meta;
use crate::resource::FieldError;
use crate::selector::LabelSelector;
use serde_json::Value;

const STATEFUL_SET_UPDATE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
'template', \
'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const STATEFUL_SET_MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Replicas, selector and template: what all of them have. `word` names the kind in messages.
fn common(object: &Value, word: &str) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    check.not_negative("replicas");
    check.not_negative("minReadySeconds");
    check.not_negative("revisionHistoryLimit");
    let selector = check.value("selector");
    if selector.is_null() {
        check.required("selector");
    } else {
        label_selector(&mut check.errors, "spec.selector", selector);
        match LabelSelector::from_object(selector) {
            Ok(parsed) if parsed.is_everything() => {
                let text = format!("empty selector is invalid for {word}");
                check.push(FieldError::invalid("spec.selector", selector, &text));
            }
            Ok(parsed) => matches_template(&mut check.errors, &parsed, spec),
            Err(_) => {}
        }
    }
    if check.value("template").is_null() {
        check.required("template");
    }
    check.errors.extend(template(&spec["template"], "spec.template"));
    restart_policy(&mut check.errors, spec, &["Always"]);
    check.errors
}

fn matches_template(errors: &mut Vec<FieldError>, selector: &LabelSelector, spec: &Value) {
    let labels = meta::map_at(spec, &["template", "metadata", "labels"]);
    if !selector.matches(labels) {
        let shown = Value::Object(labels.clone());
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", &shown, text));
    }
}

/// Some kinds only know some restart policies.
fn restart_policy(errors: &mut Vec<FieldError>, spec: &Value, allowed: &[&str]) {
    let policy = meta::string_at(spec, &["template", "spec", "restartPolicy"]);
    let known = matches!(policy, "Always" | "OnFailure" | "Never");
    if known && !allowed.contains(&policy) {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, allowed));
    }
}

pub(crate) fn deployment(object: &Value) -> Vec<FieldError> {
    let mut errors = common(object, "deployment");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let strategy = &spec["strategy"];
    let mut check = Checker::new(strategy, "spec.strategy");
    check.one_of("type", &["Recreate", "RollingUpdate"], true);
    match (check.text("type"), check.value("rollingUpdate")) {
        ("Recreate", rolling) if !rolling.is_null() => {
            let text = "may not be specified when strategy `type` is 'Recreate'";
            check.push(FieldError::forbidden("spec.strategy.rollingUpdate", text));
        }
        ("RollingUpdate", rolling) if !rolling.is_null() => {
            for field in ["maxUnavailable", "maxSurge"] {
                count_or_percent(&mut check.errors, &format!("spec.strategy.rollingUpdate.{field}"), &rolling[field]);
            }
            let zero = |field: &str| {
                matches!(&rolling[field], Value::Number(n) if n.as_i64() == Some(0)) || rolling[field] == "0%"
            };
            if zero("maxUnavailable") && zero("maxSurge") {
                let field = "spec.strategy.rollingUpdate.maxUnavailable";
                check.push(FieldError::invalid(field, &rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"));
            }
        }
        _ => {}
    }
    errors.append(&mut check.errors);
    let deadline = meta::integer_at(spec, &["progressDeadlineSeconds"]);
    let ready = meta::integer_at(spec, &["minReadySeconds"]).unwrap_or_default();
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= ready) {
        let text = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", &deadline.into(), text));
    }
    errors
}

pub(crate) fn replica_set(object: &Value) -> Vec<FieldError> {
    common(object, "deployment")
}

pub(crate) fn stateful_set(object: &Value) -> Vec<FieldError> {
    let mut errors = common(object, "statefulset");
    let mut check = Checker::new(object.get("spec").unwrap_or(&Value::Null), "spec");
    check.one_of("podManagementPolicy", &["OrderedReady", "Parallel"], true);
    errors.append(&mut check.errors);
    errors
}

pub(crate) fn daemon_set(object: &Value) -> Vec<FieldError> {
    let mut errors = common(object, "daemonset");
    let strategy = object.pointer("/spec/updateStrategy").unwrap_or(&Value::Null);
    let mut check = Checker::new(strategy, "spec.updateStrategy");
    check.one_of("type", &["RollingUpdate", "OnDelete"], true);
    errors.append(&mut check.errors);
    errors
}

pub(crate) fn replication_controller(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    check.not_negative("replicas");
    let selector = LabelSelector::from_map(meta::map_at(spec, &["selector"]));
    if selector.is_everything() {
        check.push(FieldError::required("spec.selector", ""));
    } else {
        matches_template(&mut check.errors, &selector, spec);
    }
    check.errors.extend(template(&spec["template"], "spec.template"));
    restart_policy(&mut check.errors, spec, &["Always"]);
    check.errors
}

pub(crate) fn job(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    job_spec(spec, "spec")
}

fn job_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut check = Checker::new(spec, path);
    for field in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        check.not_negative(field);
    }
    check.one_of("completionMode", &["Indexed", "NonIndexed"], false);
    if check.text("completionMode") == "Indexed" && check.value("completions").is_null() {
        let field = check.at("completions");
        check.push(FieldError::required(field, "when completion mode is Indexed"));
    }
    check.errors.extend(template(&spec["template"], &format!("{path}.template")));
    let policy = meta::string_at(spec, &["template", "spec", "restartPolicy"]);
    if policy == "Always" {
        let field = format!("{path}.template.spec.restartPolicy");
        let mut error = FieldError::required(field, "valid values: \"OnFailure\", \"Never\"");
        if !policy.is_empty() {
            error = FieldError::not_supported(error.field, policy, &["OnFailure", "Never"]);
        }
        check.push(error);
    }
    check.errors
}

pub(crate) fn job_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["spec.selector", "spec.completionMode", "spec.podFailurePolicy", "spec.backoffLimitPerIndex"] {
        unchanged(&mut errors, field, new, old);
    }
    let indexed = meta::string_at(new, &["spec", "completionMode"]) == "Indexed";
    if !indexed {
        unchanged(&mut errors, "spec.completions", new, old);
    }
    let suspended_unstarted =
        meta::bool_at(old, &["spec", "suspend"]) && meta::at(old, &["status", "startTime"]).is_none();
    if !suspended_unstarted {
        unchanged(&mut errors, "spec.template", new, old);
    }
    errors
}

/// Fields of a cron schedule, or one of the words for common ones.
const CRON_FIELDS: usize = 5;

pub(crate) fn cron_job(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    let schedule = check.text("schedule");
    if check.required("schedule") {
        let fields = schedule.split_whitespace().count();
        if !schedule.starts_with('@') && fields != CRON_FIELDS {
            let text = format!("expected exactly {CRON_FIELDS} fields, found {fields}: {schedule}");
            check.problems("schedule", schedule, vec![text]);
        }
        if schedule.contains("TZ") {
            let text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            check.problems("schedule", schedule, vec![text.to_owned()]);
        }
    }
    check.one_of("concurrencyPolicy", &["Allow", "Forbid", "Replace"], true);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        check.not_negative(field);
    }
    let template = spec.pointer("/jobTemplate/spec").unwrap_or(&Value::Null);
    check.errors.extend(job_spec(template, "spec.jobTemplate.spec"));
    check.errors
}

/// Deployments, replica sets and daemon sets never change whom they select.
pub(crate) fn selector_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    unchanged(&mut errors, "spec.selector", new, old);
    errors
}

pub(crate) fn stateful_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let fixed = |object: &Value| {
        let mut spec = meta::map_at(object, &["spec"]).clone();
        spec.retain(|field, _| !STATEFUL_SET_MUTABLE.contains(&field.as_str()));
        spec
    };
    if fixed(new) == fixed(old) { Vec::new() } else { vec![FieldError::forbidden("spec", STATEFUL_SET_UPDATE)] }
}

pub(crate) fn controller_revision(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(object, "");
    check.required("data");
    check.not_negative("revision");
    check.errors
}

pub(crate) fn controller_revision_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new.get("data") == old.get("data") {
        return Vec::new();
    }
    vec![FieldError::invalid("data", new.get("data").unwrap_or(&Value::Null), IMMUTABLE)]
}

pub(crate) fn pod_disruption_budget(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    let value = |field: &str| spec.get(field).unwrap_or(&Value::Null);
    if !value("minAvailable").is_null() && !value("maxUnavailable").is_null() {
        errors.push(FieldError::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        count_or_percent(&mut errors, &format!("spec.{field}"), value(field));
    }
    label_selector(&mut errors, "spec.selector", value("selector"));
    errors
}

pub(crate) fn horizontal_pod_autoscaler(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    let most = meta::integer_at(spec, &["maxReplicas"]).unwrap_or_default();
    if most < 1 {
        check.push(FieldError::invalid("spec.maxReplicas", &most.into(), "must be greater than 0"));
    }
    let least = meta::integer_at(spec, &["minReplicas"]).unwrap_or(1);
    check.at_least("minReplicas", 1, "must be greater than or equal to 1");
    if most >= 1 && most < least {
        let text = "must be greater than or equal to `minReplicas`";
        check.push(FieldError::invalid("spec.maxReplicas", &most.into(), text));
    }
    let mut target = Checker::new(&spec["scaleTargetRef"], "spec.scaleTargetRef");
    target.required("kind");
    target.required("name");
    check.errors.append(&mut target.errors);
    check.errors
}

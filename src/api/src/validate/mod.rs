//! x
use crate::resource::FieldError;
use serde_json::Value;
pub(crate) fn certificate_signing_request(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn config_map(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn config_map_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn controller_revision(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn controller_revision_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn cron_job(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn daemon_set(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn deployment(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn endpoint_slice(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn event_v1(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn horizontal_pod_autoscaler(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn ingress(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn job(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn job_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn lease(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn namespace(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn network_policy(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn node(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn node_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn persistent_volume(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn persistent_volume_claim(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn persistent_volume_claim_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn pod(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn pod_disruption_budget(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn pod_template(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn pod_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn priority_class(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn priority_class_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn replica_set(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn replication_controller(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn role(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn role_binding(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn role_binding_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn secret(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn secret_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn selector_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn service(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn service_account(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn service_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn stateful_set(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn stateful_set_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}
pub(crate) fn storage_class(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

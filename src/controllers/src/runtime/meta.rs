//! Small questions about objects that many controllers ask.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;

pub fn now() -> Time {
    Time(Timestamp::now())
}

/// Seconds from `since` to `now`, zero if `since` lies ahead.
pub fn elapsed(since: &Time, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since.0)).unwrap_or(Duration::ZERO)
}

/// What is left of `period` that began at `since`; zero when it is over.
pub fn remaining(since: &Time, period: Duration, now: Timestamp) -> Duration {
    period.saturating_sub(elapsed(since, now))
}

/// The one owner that manages the object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

pub fn is_controlled_by(meta: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == owner_uid)
}

/// A reference that says: `owner` manages this.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
}

pub fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
}

pub fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

pub fn pod_phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn pod_is_terminal(pod: &Pod) -> bool {
    matches!(pod_phase(pod), "Succeeded" | "Failed")
}

/// Counts towards the replicas of its owner.
pub fn pod_is_active(pod: &Pod) -> bool {
    !pod_is_terminal(pod) && !is_deleting(&pod.metadata)
}

pub fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub fn pod_is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// How long until a ready pod counts as available: zero if it does, `None` if it is not ready.
pub fn time_to_available(pod: &Pod, min_ready_s: i32, now: Timestamp) -> Option<Duration> {
    let ready = pod_condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    let period = Duration::from_secs(u64::try_from(min_ready_s).unwrap_or(0));
    if period.is_zero() {
        return Some(Duration::ZERO);
    }
    Some(ready.last_transition_time.as_ref().map_or(period, |since| remaining(since, period, now)))
}

pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Zero is absent, as Go's `omitempty` writes it: then equal states are equal objects.
pub fn non_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

//! Quality of service of a pod and what its resource lists mean to the kernel.

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::cgroup::{Limits, quota_us, shares};
use crate::quantity::{list_millis, list_units};

const CPU_PERIOD_US: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }

    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return QosClass::BestEffort };
        let mut any = false;
        let mut guaranteed = true;
        for container in all_containers(spec) {
            for name in ["cpu", "memory"] {
                let request = request(container, name);
                let limit = limit(container, name);
                any |= request.is_some_and(|value| value > 0) || limit.is_some_and(|value| value > 0);
                guaranteed &= limit.is_some_and(|value| value > 0) && request == limit;
            }
        }
        match (any, guaranteed) {
            (false, _) => QosClass::BestEffort,
            (true, true) => QosClass::Guaranteed,
            (true, false) => QosClass::Burstable,
        }
    }
}

fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(spec.containers.iter())
}

/// Milli-units for both cpu and memory here: only equality and presence matter, sums stay in range.
fn limit(container: &Container, name: &str) -> Option<i64> {
    list_millis(container.resources.as_ref()?.limits.as_ref(), name)
}

/// A missing request is the limit, as API defaults have it.
fn request(container: &Container, name: &str) -> Option<i64> {
    list_millis(container.resources.as_ref()?.requests.as_ref(), name).or_else(|| limit(container, name))
}

pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod takes at most at one time: containers and sidecars together, or its largest init container.
fn pod_total(spec: &PodSpec, of: impl Fn(&Container) -> Option<i64>) -> Option<i64> {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let mut sum = Some(0_i64);
    for container in spec.containers.iter().chain(init.iter().filter(|c| is_sidecar(c))) {
        sum = sum.zip(of(container)).map(|(sum, value)| sum + value);
    }
    for container in init.iter().filter(|c| !is_sidecar(c)) {
        sum = sum.zip(of(container)).map(|(sum, value)| sum.max(value));
    }
    sum
}

/// Limits of the pod's cgroup: a limit holds only if every container has one.
pub(crate) fn pod_limits(pod: &Pod) -> Limits {
    let Some(spec) = &pod.spec else { return Limits::default() };
    let cpu_request = pod_total(spec, |c| Some(request(c, "cpu").unwrap_or(0))).unwrap_or(0);
    Limits {
        cpu_shares: shares(cpu_request),
        cpu_quota_us: pod_total(spec, |c| limit(c, "cpu").filter(|value| *value > 0)).map(quota_us),
        memory_bytes: pod_total(spec, |c| {
            list_units(c.resources.as_ref()?.limits.as_ref(), "memory").filter(|value| *value > 0)
        }),
    }
}

/// The resources of one container in the runtime's terms.
pub(crate) fn linux_resources(
    container: &Container,
    qos: QosClass,
    memory_capacity_bytes: i64,
) -> cri::LinuxContainerResources {
    let resources = container.resources.as_ref();
    let memory_limit = resources.and_then(|r| list_units(r.limits.as_ref(), "memory")).unwrap_or(0);
    let memory_request = resources.and_then(|r| list_units(r.requests.as_ref(), "memory")).unwrap_or(memory_limit);
    let cpu_limit = limit(container, "cpu").filter(|value| *value > 0);
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: cpu_limit.map_or(0, quota_us),
        cpu_shares: shares(request(container, "cpu").unwrap_or(0)),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score(qos, memory_request, memory_capacity_bytes),
        ..Default::default()
    }
}

/// The less a pod asked for against what it may use, the sooner the kernel kills it.
fn oom_score(qos: QosClass, memory_request_bytes: i64, capacity_bytes: i64) -> i64 {
    match qos {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let share = i128::from(memory_request_bytes) * 1000 / i128::from(capacity_bytes.max(1));
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "spec": {"containers": [{"name": "a", "resources": resources}]}
        }))
        .unwrap()
    }

    #[test]
    fn classes() {
        assert_eq!(QosClass::of(&pod(serde_json::json!({}))), QosClass::BestEffort);
        let burstable = pod(serde_json::json!({"requests": {"cpu": "100m"}}));
        assert_eq!(QosClass::of(&burstable), QosClass::Burstable);
        assert_eq!(pod_limits(&burstable), Limits { cpu_shares: 102, cpu_quota_us: None, memory_bytes: None });
        let guaranteed = pod(serde_json::json!({"limits": {"cpu": "500m", "memory": "64Mi"}}));
        assert_eq!(QosClass::of(&guaranteed), QosClass::Guaranteed);
        assert_eq!(
            pod_limits(&guaranteed),
            Limits { cpu_shares: 512, cpu_quota_us: Some(50_000), memory_bytes: Some(64 << 20) }
        );
    }

    #[test]
    fn oom_scores() {
        assert_eq!(oom_score(QosClass::Burstable, 1 << 30, 4 << 30), 750);
        assert_eq!(oom_score(QosClass::Burstable, 8 << 30, 4 << 30), 3);
        assert_eq!(oom_score(QosClass::Guaranteed, 0, 1), -997);
    }
}

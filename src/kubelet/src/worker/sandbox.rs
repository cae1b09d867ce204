//! The pod's sandbox: its configuration, and making a new one.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fs_err as fs;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;

use super::view::View;
use super::{StepError, Worker};
use crate::Context;
use crate::cri::{POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};
use crate::events::Kind;
use crate::pod::{PodExt, spec};
use crate::qos::{QosClass, pod_limits};

const NETWORK_RETRY: Duration = Duration::from_secs(1);

pub(super) fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    let spec = spec(pod);
    let node_or = |host: Option<bool>, otherwise: cri::NamespaceMode| {
        if host.unwrap_or(false) { cri::NamespaceMode::Node as i32 } else { otherwise as i32 }
    };
    let shared = spec.share_process_namespace.unwrap_or(false);
    let pid = if shared { cri::NamespaceMode::Pod } else { cri::NamespaceMode::Container };
    cri::NamespaceOption {
        network: node_or(spec.host_network, cri::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, cri::NamespaceMode::Pod),
        ..Default::default()
    }
}

pub(super) fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    [
        (POD_NAME_LABEL.to_owned(), pod.name().to_owned()),
        (POD_NAMESPACE_LABEL.to_owned(), pod.namespace().to_owned()),
        (POD_UID_LABEL.to_owned(), pod.uid().to_owned()),
    ]
    .into()
}

fn port_mappings(pod: &Pod) -> Vec<cri::PortMapping> {
    if pod.host_network() {
        return Vec::new();
    }
    let containers = pod.init_containers().iter().chain(pod.app_containers());
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter(|port| port.host_port.is_some_and(|port| port > 0))
        .map(|port| cri::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp,
                Some("SCTP") => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

pub(super) fn seccomp(profile: Option<&k8s_openapi::api::core::v1::SeccompProfile>) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, reference) = match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", Some(name))) => (ProfileType::Localhost, format!("/var/lib/kubelet/seccomp/{name}")),
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: reference }
}

pub(super) fn config(context: &Context, pod: &Pod, attempt: u32) -> cri::PodSandboxConfig {
    let security = spec(pod).security_context.clone().unwrap_or_default();
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    let containers = pod.init_containers().iter().chain(pod.app_containers());
    let privileged = containers
        .filter_map(|container| container.security_context.as_ref())
        .any(|security| security.privileged.unwrap_or(false));
    let id = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let groups = security.fs_group.iter().chain(security.supplemental_groups.iter().flatten());
    // Sysctls of the host's namespaces are not the pod's to set.
    let sysctls = security.sysctls.iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()));
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        hostname: if pod.host_network() { String::new() } else { pod.hostname() },
        log_directory: pod.log_folder(&context.config).to_string_lossy().into_owned(),
        dns_config: Some(crate::dns::of_pod(pod, &context.config)),
        port_mappings: port_mappings(pod),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: context.cgroups.pod_path(pod.uid(), QosClass::of(pod)),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                run_as_user: id(security.run_as_user),
                run_as_group: id(security.run_as_user.and(security.run_as_group)),
                supplemental_groups: groups.copied().collect(),
                privileged,
                seccomp: Some(cri::SecurityProfile {
                    profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
                    localhost_ref: String::new(),
                }),
                ..Default::default()
            }),
            sysctls: sysctls.collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Worker {
    /// A new sandbox in place of a missing or dead one; what was in the old one ends with it.
    pub(super) async fn make_sandbox(&mut self, pod: &Pod, view: &View) -> Result<(), StepError> {
        if !pod.host_network() && !self.context.network_ready.load(Ordering::Relaxed) {
            let message = "network is not ready: container runtime network not ready";
            self.context.events.pod(pod, Kind::Warning, "NetworkNotReady", message);
            self.look_again_in(NETWORK_RETRY);
            return Err(StepError::NetworkNotReady);
        }
        for old in &view.sandboxes {
            self.context.runtime.stop_sandbox(&old.id).await?;
        }
        if !view.sandboxes.is_empty() {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.context.events.pod(pod, Kind::Normal, "SandboxChanged", message);
        }
        self.refresh_volumes(pod, &[]).await?;
        self.context.cgroups.create_pod(pod.uid(), QosClass::of(pod), &pod_limits(pod))?;
        fs::create_dir_all(pod.log_folder(&self.context.config))?;
        let attempts = view.sandboxes.iter().filter_map(|sandbox| sandbox.metadata.as_ref()).map(|m| m.attempt);
        let attempt = attempts.max().map_or(0, |attempt| attempt + 1);
        let handler = spec(pod).runtime_class_name.as_deref().unwrap_or_default();
        let config = config(&self.context, pod, attempt);
        if let Err(error) = self.context.runtime.run_sandbox(config, handler).await {
            let message = format!("Failed to create pod sandbox: {}", error.message());
            self.context.events.pod(pod, Kind::Warning, "FailedCreatePodSandBox", message);
            return Err(error.into());
        }
        self.settled = false;
        Ok(())
    }
}

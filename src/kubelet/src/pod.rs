//! Small questions to a Pod object, asked everywhere.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use sha2::{Digest, Sha256};

use crate::qos::is_sidecar;
use crate::{Config, Folders};

/// Upstream's default when the API did not set one.
const DEFAULT_GRACE_SECONDS: i64 = 30;
const MAX_HOSTNAME: usize = 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

pub(crate) trait PodExt {
    fn uid(&self) -> &str;
    fn name(&self) -> &str;
    fn namespace(&self) -> &str;
    fn is_deleted(&self) -> bool;
    fn restart_policy(&self) -> RestartPolicy;
    fn host_network(&self) -> bool;
    fn grace_seconds(&self) -> i64;
    fn init_containers(&self) -> &[Container];
    fn app_containers(&self) -> &[Container];
    fn hostname(&self) -> String;
    fn fqdn(&self, domain: &str) -> Option<String>;
    fn folder(&self, config: &Config) -> PathBuf;
    fn log_folder(&self, config: &Config) -> PathBuf;
}

/// The parts of a spec when there is none: an empty pod.
static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

pub(crate) fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

impl PodExt for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn restart_policy(&self) -> RestartPolicy {
        match spec(self).restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }

    fn host_network(&self) -> bool {
        spec(self).host_network.unwrap_or(false)
    }

    fn grace_seconds(&self) -> i64 {
        let asked = self.metadata.deletion_grace_period_seconds;
        asked.or(spec(self).termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE_SECONDS).max(0)
    }

    fn init_containers(&self) -> &[Container] {
        spec(self).init_containers.as_deref().unwrap_or_default()
    }

    fn app_containers(&self) -> &[Container] {
        &spec(self).containers
    }

    fn hostname(&self) -> String {
        let wanted = spec(self).hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(self.name());
        let cut: String = wanted.chars().take(MAX_HOSTNAME).collect();
        cut.trim_end_matches(['-', '.']).to_owned()
    }

    fn fqdn(&self, domain: &str) -> Option<String> {
        let subdomain = spec(self).subdomain.as_deref().filter(|name| !name.is_empty())?;
        Some(format!("{}.{subdomain}.{}.svc.{domain}", self.hostname(), self.namespace()))
    }

    fn folder(&self, config: &Config) -> PathBuf {
        config.folders.state.join("pods").join(self.uid())
    }

    fn log_folder(&self, config: &Config) -> PathBuf {
        log_folder(&config.folders, self.namespace(), self.name(), self.uid())
    }
}

pub(crate) fn log_folder(folders: &Folders, namespace: &str, name: &str, uid: &str) -> PathBuf {
    folders.pod_logs.join(format!("{namespace}_{name}_{uid}"))
}

/// Changes when the container must be replaced by one with another image.
pub(crate) fn container_hash(container: &Container) -> String {
    let mut digest = Sha256::new();
    digest.update(container.name.as_bytes());
    digest.update([0]);
    digest.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex::encode(&digest.finalize()[..8])
}

/// How events name a container.
pub(crate) fn field_path(pod: &Pod, name: &str) -> String {
    let init = pod.init_containers().iter().any(|container| container.name == name);
    format!("spec.{}{{{name}}}", if init { "initContainers" } else { "containers" })
}

pub(crate) fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.init_containers().iter().chain(pod.app_containers()).find(|container| container.name == name)
}

/// Whether this container is started again after exit code `code`.
pub(crate) fn restarts(pod: &Pod, container: &Container, is_init: bool, code: i32) -> bool {
    if is_init && is_sidecar(container) {
        return true;
    }
    match (pod.restart_policy(), is_init) {
        (RestartPolicy::Never, _) => false,
        (RestartPolicy::OnFailure, _) | (RestartPolicy::Always, true) => code != 0,
        (RestartPolicy::Always, false) => true,
    }
}

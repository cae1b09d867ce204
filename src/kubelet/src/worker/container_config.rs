//! The runtime's configuration of one container.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, SecurityContext, VolumeMount};

use super::sandbox::{namespaces, pod_labels, seccomp};
use super::view::{HASH_ANNOTATION, RESTART_COUNT_ANNOTATION};
use crate::Context;
use crate::cri::CONTAINER_NAME_LABEL;
use crate::env::{Facts, expand};
use crate::pod::{PodExt, container_hash, spec};
use crate::qos::{QosClass, linux_resources};
use crate::termination_message::{PATH_ANNOTATION, POLICY_ANNOTATION};
use crate::volumes::{Volumes, resolve_sub_path};

const DEFAULT_TERMINATION_LOG: &str = "/dev/termination-log";
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is wrong with a container's description; waits as CreateContainerConfigError until it is put right.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error(transparent)]
    Env(#[from] crate::env::EnvError),
    #[error("failed to prepare subPath for volumeMount \"{mount}\" of container \"{container}\"")]
    SubPath {
        mount: String,
        container: String,
        #[source]
        source: crate::volumes::VolumeError,
    },
    #[error("volume {name} is not there")]
    Volume { name: String },
    #[error("container has runAsNonRoot and image will run as root")]
    RunsAsRoot,
    #[error("container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root")]
    UnknownUser { user: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

pub(super) struct Request<'a> {
    pub context: &'a Context,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub image: &'a cri::Image,
    pub volumes: &'a Volumes,
    pub pod_ips: &'a [String],
    pub restart_count: i32,
}

impl Request<'_> {
    pub(super) async fn build(&self) -> Result<cri::ContainerConfig, ConfigError> {
        let container = self.container;
        let host_ip = [self.context.config.address.to_string()];
        let ips = if self.pod.host_network() { &host_ip[..] } else { self.pod_ips };
        let facts = Facts::new(self.context, self.pod, ips);
        let env = crate::env::build(self.context, &facts, container).await?;
        let lookup = |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let words = |list: Option<&Vec<String>>| -> Vec<String> {
            list.into_iter().flatten().map(|word| expand(word, lookup)).collect()
        };
        let (command, args) = (words(container.command.as_ref()), words(container.args.as_ref()));
        let mounts = self.mounts(&lookup)?;
        self.verify_non_root()?;
        let mut labels = pod_labels(self.pod);
        labels.insert(CONTAINER_NAME_LABEL.into(), container.name.clone());
        let qos = QosClass::of(self.pod);
        Ok(cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: container.name.clone(),
                attempt: u32::try_from(self.restart_count).unwrap_or(0),
            }),
            image: Some(cri::ImageSpec {
                image: self.image.id.clone(),
                user_specified_image: container.image.clone().unwrap_or_default(),
                ..Default::default()
            }),
            command,
            args,
            working_dir: container.working_dir.clone().unwrap_or_default(),
            envs: env.iter().map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone() }).collect(),
            mounts,
            labels,
            annotations: self.annotations(),
            log_path: format!("{}/{}.log", container.name, self.restart_count),
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            tty: container.tty.unwrap_or(false),
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(linux_resources(container, qos, self.context.machine.memory_bytes)),
                security_context: Some(self.security()),
            }),
            ..Default::default()
        })
    }

    fn annotations(&self) -> std::collections::HashMap<String, String> {
        let container = self.container;
        let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".into());
        [
            (RESTART_COUNT_ANNOTATION.to_owned(), self.restart_count.to_string()),
            (HASH_ANNOTATION.to_owned(), container_hash(container)),
            (PATH_ANNOTATION.to_owned(), self.termination_path().to_owned()),
            (POLICY_ANNOTATION.to_owned(), policy),
        ]
        .into()
    }

    fn termination_path(&self) -> &str {
        let path = self.container.termination_message_path.as_deref();
        path.filter(|path| !path.is_empty()).unwrap_or(DEFAULT_TERMINATION_LOG)
    }

    fn mounts(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<cri::Mount>, ConfigError> {
        let mut mounts = Vec::new();
        for (index, mount) in self.container.volume_mounts.iter().flatten().enumerate() {
            mounts.push(self.volume_mount(index, mount, lookup)?);
        }
        let folder = self.pod.folder(&self.context.config);
        let taken = |path: &str| mounts.iter().any(|mount: &cri::Mount| mount.container_path == path);
        let mut own = Vec::new();
        if !taken("/etc/hosts") {
            let host_hosts =
                if self.pod.host_network() { fs::read_to_string("/etc/hosts").unwrap_or_default() } else { String::new() };
            let domain = &self.context.config.cluster_domain;
            let text = crate::hosts_file::render(self.pod, self.pod_ips, domain, &host_hosts);
            fs::create_dir_all(&folder)?;
            let path = folder.join("etc-hosts");
            fs::write(&path, text)?;
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
            own.push(plain_mount("/etc/hosts", &path));
        }
        let termination = self.termination_path();
        if !taken(termination) {
            let parent = folder.join("containers").join(&self.container.name);
            fs::create_dir_all(&parent)?;
            let path = parent.join(self.restart_count.to_string());
            fs::write(&path, "")?;
            // Whoever the container runs as may write its last words.
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
            own.push(plain_mount(termination, &path));
        }
        mounts.extend(own);
        Ok(mounts)
    }

    fn volume_mount(
        &self,
        index: usize,
        mount: &VolumeMount,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<cri::Mount, ConfigError> {
        let volume = self.volumes.get(&mount.name).ok_or_else(|| ConfigError::Volume { name: mount.name.clone() })?;
        let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(expression)) if !expression.is_empty() => Some(expand(expression, lookup)),
            _ => None,
        };
        let host_path = match sub_path {
            None => volume.path.clone(),
            Some(sub_path) => {
                let folder = self.pod.folder(&self.context.config).join("volume-subpaths");
                let target = folder.join(&mount.name).join(&self.container.name).join(index.to_string());
                resolve_sub_path(volume, &sub_path, &target).map_err(|source| ConfigError::SubPath {
                    mount: mount.name.clone(),
                    container: self.container.name.clone(),
                    source,
                })?
            }
        };
        // Upstream makes a missing hostPath without a type a folder; the runtime would refuse.
        if !volume.ours && !host_path.exists() {
            fs::create_dir_all(&host_path)?;
        }
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
            _ => cri::MountPropagation::PropagationPrivate,
        };
        let path = mount.mount_path.clone();
        Ok(cri::Mount {
            container_path: if path.starts_with('/') { path } else { format!("/{path}") },
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only.unwrap_or(false) || volume.read_only,
            propagation: propagation as i32,
            ..Default::default()
        })
    }

    fn own_security(&self) -> SecurityContext {
        self.container.security_context.clone().unwrap_or_default()
    }

    fn user(&self) -> Option<i64> {
        let pod = spec(self.pod).security_context.as_ref().and_then(|security| security.run_as_user);
        self.own_security().run_as_user.or(pod)
    }

    fn verify_non_root(&self) -> Result<(), ConfigError> {
        let pod = spec(self.pod).security_context.as_ref().and_then(|security| security.run_as_non_root);
        if self.own_security().run_as_non_root.or(pod) != Some(true) {
            return Ok(());
        }
        let user = self.user().or_else(|| self.image.uid.as_ref().map(|uid| uid.value));
        match user {
            Some(0) => Err(ConfigError::RunsAsRoot),
            Some(_) => Ok(()),
            None if self.image.username.is_empty() => Err(ConfigError::RunsAsRoot),
            None => Err(ConfigError::UnknownUser { user: self.image.username.clone() }),
        }
    }

    fn security(&self) -> cri::LinuxContainerSecurityContext {
        let own = self.own_security();
        let pod = spec(self.pod).security_context.clone().unwrap_or_default();
        let privileged = own.privileged.unwrap_or(false);
        let id = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
        let user = self.user();
        let image_user = self.image.uid.as_ref().map(|uid| uid.value);
        let effective_user = user.or(if self.image.username.is_empty() { image_user } else { None });
        let group = own.run_as_group.or(pod.run_as_group);
        let groups = pod.fs_group.iter().chain(pod.supplemental_groups.iter().flatten());
        let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
        let paths = |paths: &[&str]| {
            if unmasked { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
        };
        let capabilities = own.capabilities.clone().unwrap_or_default();
        let profile = own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
        let profile = if privileged { None } else { profile };
        cri::LinuxContainerSecurityContext {
            capabilities: Some(cri::Capability {
                add_capabilities: capabilities.add.unwrap_or_default(),
                drop_capabilities: capabilities.drop.unwrap_or_default(),
                add_ambient_capabilities: Vec::new(),
            }),
            privileged,
            namespace_options: Some(namespaces(self.pod)),
            run_as_user: id(effective_user),
            // The runtime takes a group only together with a user.
            run_as_group: id(if effective_user.is_some() { group } else { None }),
            run_as_username: if effective_user.is_none() { self.image.username.clone() } else { String::new() },
            readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
            supplemental_groups: groups.copied().collect(),
            no_new_privs: own.allow_privilege_escalation == Some(false),
            masked_paths: paths(&MASKED_PATHS),
            readonly_paths: paths(&READ_ONLY_PATHS),
            seccomp: Some(seccomp(profile)),
            ..Default::default()
        }
    }
}

fn plain_mount(container_path: &str, host_path: &Path) -> cri::Mount {
    cri::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

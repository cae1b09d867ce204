//! Volumes of a pod: set up before its containers, kept up to date, taken down after them.

mod atomic;
mod empty_dir;
mod host_path;
mod mounts;
mod payload;
mod sub_path;
mod token;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::Context;
use crate::env::{EnvError, Facts};
use crate::objects::ObjectError;
use crate::pod::{PodExt, spec};

use mounts::unmount_below;
pub(crate) use sub_path::resolve as resolve_sub_path;
pub(crate) use token::TokenCache;

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("{0}")]
    Field(#[from] EnvError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("references non-existent {kind} key: {key}")]
    MissingKey { kind: &'static str, key: String },
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPathType { path: String, wanted: String },
    #[error("path {path} leaves the volume")]
    Escapes { path: String },
    #[error("cannot get a token for service account {account}: {message}")]
    Token { account: String, message: String },
    #[error("volume source is not supported by this node")]
    Unsupported,
    #[error("{path} is still mounted")]
    StillMounted { path: PathBuf },
}

#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
pub(crate) struct SetupError {
    volume: String,
    source: VolumeError,
}

/// Where a volume lies on the host.
#[derive(Debug, Clone)]
pub(crate) struct Mounted {
    pub path: PathBuf,
    pub read_only: bool,
    /// Whether sub paths may be made in it.
    pub ours: bool,
}

pub(crate) type Volumes = HashMap<String, Mounted>;

/// Sets up what is missing and refreshes what has changed. Idempotent, called again while the pod runs.
pub(crate) async fn set_up(
    context: &Context,
    pod: &Pod,
    pod_ips: &[String],
    tokens: &mut TokenCache,
) -> Result<Volumes, SetupError> {
    let mut all = Volumes::new();
    for volume in spec(pod).volumes.iter().flatten() {
        let mounted = set_up_one(context, pod, pod_ips, volume, tokens)
            .await
            .map_err(|source| SetupError { volume: volume.name.clone(), source })?;
        all.insert(volume.name.clone(), mounted);
    }
    Ok(all)
}

/// Whether the pod has volumes whose content follows API objects.
pub(crate) fn has_live_content(pod: &Pod) -> bool {
    spec(pod).volumes.iter().flatten().any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
    })
}

async fn set_up_one(
    context: &Context,
    pod: &Pod,
    pod_ips: &[String],
    volume: &Volume,
    tokens: &mut TokenCache,
) -> Result<Mounted, VolumeError> {
    let folder = |plugin: &str| {
        pod.folder(&context.config).join("volumes").join(format!("kubernetes.io~{plugin}")).join(&volume.name)
    };
    let group = spec(pod).security_context.as_ref().and_then(|security| security.fs_group);
    if let Some(source) = &volume.host_path {
        return host_path::prepare(source);
    }
    if let Some(source) = &volume.empty_dir {
        let path = folder("empty-dir");
        empty_dir::prepare(&path, source, group)?;
        return Ok(Mounted { path, read_only: false, ours: true });
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return host_path::of_claim(context, pod, claim).await;
    }
    let facts = Facts::new(context, pod, pod_ips);
    let mut builder = payload::Builder { context, facts: &facts, tokens, files: payload::Files::new() };
    let plugin = if let Some(source) = &volume.config_map {
        builder.config_map_volume(source).await?;
        "configmap"
    } else if let Some(source) = &volume.secret {
        builder.secret_volume(source).await?;
        "secret"
    } else if let Some(source) = &volume.downward_api {
        builder.downward_volume(source)?;
        "downward-api"
    } else if let Some(source) = &volume.projected {
        builder.projected_volume(source).await?;
        "projected"
    } else {
        return Err(VolumeError::Unsupported);
    };
    let files = builder.files;
    let path = folder(plugin);
    if matches!(plugin, "secret" | "projected") {
        // Secrets must not reach the disk.
        empty_dir::memory(&path, None)?;
    } else {
        fs::create_dir_all(&path)?;
    }
    fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    atomic::write(&path, &files, group)?;
    Ok(Mounted { path, read_only: true, ours: true })
}

/// Unmounts everything under the pod's folder and removes it. Never descends into a mount.
pub(crate) fn tear_down(pod_folder: &Path) -> Result<(), VolumeError> {
    if !pod_folder.exists() {
        return Ok(());
    }
    unmount_below(pod_folder)?;
    fs::remove_dir_all(pod_folder)?;
    Ok(())
}

//! hostPath with its type checks, and claims whose volume is a hostPath or local path.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use fs_err as fs;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolumeClaimVolumeSource, Pod};

use super::{Mounted, VolumeError};
use crate::Context;
use crate::pod::PodExt;

pub(super) fn prepare(source: &HostPathVolumeSource) -> Result<Mounted, VolumeError> {
    let path = Path::new(&source.path);
    let wanted = source.type_.as_deref().unwrap_or_default();
    match wanted {
        "DirectoryOrCreate" if !path.exists() => {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        }
        "FileOrCreate" if !path.exists() => {
            fs::OpenOptions::new().create(true).append(true).open(path)?;
            fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
        }
        _ => {}
    }
    let kind = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    let fits = match wanted {
        "" => true,
        "Directory" | "DirectoryOrCreate" => kind.is_some_and(|kind| kind.is_dir()),
        "File" | "FileOrCreate" => kind.is_some_and(|kind| kind.is_file()),
        "Socket" => kind.is_some_and(|kind| kind.is_socket()),
        "CharDevice" => kind.is_some_and(|kind| kind.is_char_device()),
        "BlockDevice" => kind.is_some_and(|kind| kind.is_block_device()),
        _ => false,
    };
    if !fits {
        return Err(VolumeError::HostPathType { path: source.path.clone(), wanted: wanted.to_owned() });
    }
    Ok(Mounted { path: path.to_owned(), read_only: false, ours: false })
}

pub(super) async fn of_claim(
    context: &Context,
    pod: &Pod,
    claim: &PersistentVolumeClaimVolumeSource,
) -> Result<Mounted, VolumeError> {
    let volume = context.objects.volume_of_claim(pod.namespace(), &claim.claim_name).await?;
    let spec = volume.spec.unwrap_or_default();
    let mut mounted = if let Some(source) = &spec.host_path {
        prepare(source)?
    } else if let Some(source) = &spec.local {
        let directory = HostPathVolumeSource { path: source.path.clone(), type_: Some("Directory".into()) };
        prepare(&directory)?
    } else {
        return Err(VolumeError::Unsupported);
    };
    mounted.read_only = claim.read_only.unwrap_or(false);
    Ok(mounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_types() {
        let folder = std::env::temp_dir().join(format!("naru-host-path-{}", std::process::id()));
        let source = |path: &Path, kind: &str| HostPathVolumeSource {
            path: path.to_string_lossy().into_owned(),
            type_: Some(kind.into()),
        };
        assert!(prepare(&source(&folder, "Directory")).is_err());
        assert!(prepare(&source(&folder, "DirectoryOrCreate")).is_ok());
        assert!(prepare(&source(&folder, "File")).is_err());
        assert!(prepare(&source(&folder.join("f"), "FileOrCreate")).is_ok());
        assert!(prepare(&source(&folder.join("f"), "Socket")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}

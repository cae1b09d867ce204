//! Container logs are kept to so many files of so many bytes: five of ten mebibytes unless the operator says otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;

use crate::Context;

const INTERVAL: Duration = Duration::from_secs(10);

pub(crate) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let containers = match context.runtime.containers(None).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::debug!(%error, "logs not looked at");
                continue;
            }
        };
        let running = k8s_cri::v1::ContainerState::ContainerRunning as i32;
        for container in containers.into_iter().filter(|container| container.state == running) {
            let Some(log) = log_path(&context, &container) else { continue };
            if !fs::metadata(&log)
                .is_ok_and(|metadata| metadata.len() > context.config.settings.container_log_max_bytes)
            {
                continue;
            }
            if let Err(error) = rotate(&context, &container.id, &log).await {
                tracing::warn!(error, log = %log.display(), "log not rotated");
            }
        }
    }
}

fn log_path(context: &Context, container: &k8s_cri::v1::Container) -> Option<PathBuf> {
    let label = |name: &str| container.labels.get(name);
    let folder = crate::pod::log_folder(
        &context.config.folders,
        label(crate::cri::POD_NAMESPACE_LABEL)?,
        label(crate::cri::POD_NAME_LABEL)?,
        label(crate::cri::POD_UID_LABEL)?,
    );
    let metadata = container.metadata.as_ref()?;
    Some(folder.join(&metadata.name).join(format!("{}.log", metadata.attempt)))
}

async fn rotate(context: &Context, id: &str, log: &Path) -> Result<(), String> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let rotated = PathBuf::from(format!("{}.{stamp}", log.display()));
    fs::rename(log, &rotated).map_err(|error| error.to_string())?;
    if let Err(error) = context.runtime.reopen_log(id).await {
        // The runtime still writes to the old file: give it its name back.
        fs::rename(&rotated, log).map_err(|error| error.to_string())?;
        return Err(error.to_string());
    }
    remove_oldest(log, context.config.settings.container_log_max_files).map_err(|error| error.to_string())
}

fn remove_oldest(log: &Path, max_files: usize) -> std::io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut rotated: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    // The time is part of the name, so names sort by age.
    rotated.sort();
    let surplus = rotated.len().saturating_sub(max_files.saturating_sub(1));
    for path in &rotated[..surplus] {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest() {
        let folder = std::env::temp_dir().join(format!("naru-rotation-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for n in 0..7 {
            fs::write(folder.join(format!("0.log.2026010{n}-000000")), "").unwrap();
        }
        remove_oldest(&folder.join("0.log"), 3).unwrap();
        let left = fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 2, "two rotated ones beside the current one");
        assert!(!folder.join("0.log.20260100-000000").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}

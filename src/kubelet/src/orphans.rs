//! What is left of pods that this node no longer has: sandboxes, volumes, cgroups, logs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;

use crate::Context;
use crate::cri::{CriError, POD_UID_LABEL};

/// Something must be seen ownerless twice, so this is also the least time before it goes.
const INTERVAL: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: &Arc<Context>) {
    let mut suspects: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        if !context.pods.is_complete() {
            continue;
        }
        let found = match uids(context).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "orphans not looked for");
                continue;
            }
        };
        let orphans: BTreeSet<String> = found.into_iter().filter(|uid| !context.pods.contains(uid)).collect();
        for uid in orphans.intersection(&suspects) {
            tracing::info!(uid, "removing what is left of a pod that is not bound here");
            if let Err(error) = clean(context, uid).await {
                tracing::warn!(uid, error, "orphan not removed");
            }
        }
        suspects = orphans;
    }
}

async fn uids(context: &Context) -> Result<BTreeSet<String>, CriError> {
    let mut found = context.cgroups.pod_uids();
    for sandbox in context.runtime.sandboxes(None).await? {
        found.extend(sandbox.labels.get(POD_UID_LABEL).cloned());
    }
    for entry in fs::read_dir(context.config.folders.state.join("pods")).into_iter().flatten().flatten() {
        found.insert(entry.file_name().to_string_lossy().into_owned());
    }
    for entry in fs::read_dir(&context.config.folders.pod_logs).into_iter().flatten().flatten() {
        if let Some(uid) = entry.file_name().to_string_lossy().rsplit('_').next() {
            found.insert(uid.to_owned());
        }
    }
    Ok(found)
}

async fn clean(context: &Context, uid: &str) -> Result<(), String> {
    let text = |error: CriError| error.to_string();
    for sandbox in context.runtime.sandboxes(Some(uid)).await.map_err(text)? {
        context.runtime.stop_sandbox(&sandbox.id).await.map_err(text)?;
        context.runtime.remove_sandbox(&sandbox.id).await.map_err(text)?;
    }
    crate::volumes::tear_down(&context.config.folders.state.join("pods").join(uid)).map_err(|e| e.to_string())?;
    context.cgroups.remove_pod(uid).await.map_err(|error| error.to_string())?;
    for entry in fs::read_dir(&context.config.folders.pod_logs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('_');
        if let (Some(namespace), Some(pod), Some(owner)) = (parts.next(), parts.next(), parts.next())
            && owner == uid
        {
            crate::worker::remove_logs(context, namespace, pod, &entry.path());
        }
    }
    Ok(())
}

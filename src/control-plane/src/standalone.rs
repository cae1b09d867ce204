//! Scheduler or controllers alone, against any API server that a kubeconfig names.

use std::path::Path;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::{notify, signals};

async fn client(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("cannot use the kubeconfig {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("the kubeconfig {} names no usable cluster", kubeconfig.display()))?;
    Ok(kube::Client::try_from(config)?)
}

pub(crate) async fn scheduler(kubeconfig: &Path) -> anyhow::Result<()> {
    let client = client(kubeconfig).await?;
    let shutdown = signals::shutdown()?;
    notify::notify(notify::READY);
    naru_scheduler::Config::default().run(client, shutdown).await;
    Ok(())
}

pub(crate) async fn controllers(
    kubeconfig: &Path,
    pod_cidr: String,
    root_ca_file: Option<&Path>,
) -> anyhow::Result<()> {
    let client = client(kubeconfig).await?;
    let shutdown = signals::shutdown()?;
    let root_ca_pem = root_ca_file.map(fs_err::read_to_string).transpose()?;
    notify::notify(notify::READY);
    naru_controllers::Config { pod_cidr, root_ca_pem, ..Default::default() }.run(client, shutdown).await?;
    Ok(())
}

//! Writes the CNI configuration once the node's pod network is known; its presence is what makes the runtime, and so
//! the node, ready. The reference plugins do the work: ptp, host-local, portmap. `ptp` rather than `bridge`, so that
//! every packet of a pod is routed and passes the service rules, also between two pods of one host; on a bridge the
//! answers would go past them wherever the kernel has no br_netfilter.

use fs_err::tokio as fs;
use serde_json::{Value, json};
use tracing::info;

use crate::netlink::Netlink;
use crate::watch::Watched;
use crate::{Config, Error};

pub(crate) async fn run(config: Config, netlink: Netlink, mut watched: Watched) -> Result<(), Error> {
    watched.ready().await;
    let mtu_bytes = netlink.mtu_bytes(config.node_address).await?;
    loop {
        let own = watched.nodes.find(|node| node.metadata.name.as_deref() == Some(&config.node_name));
        let network = own.and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
        if let Some(network) = network {
            write(&config, &document(&network, mtu_bytes)).await?;
        }
        watched.changed().await;
    }
}

fn document(network: &str, mtu_bytes: Option<u32>) -> Value {
    let mut interface = json!({
        "type": "ptp",
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": network}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            // Kept where a reboot empties it, like the pods' interfaces themselves.
            "dataDir": "/run/naru/cni",
        },
    });
    if let Some(mtu_bytes) = mtu_bytes {
        interface["mtu"] = json!(mtu_bytes);
    }
    json!({
        "cniVersion": "0.4.0",
        "name": "naru",
        "plugins": [interface, {"type": "portmap", "capabilities": {"portMappings": true}}],
    })
}

/// Written beside and renamed, and only when it differs: the runtime reloads at every event in the directory.
async fn write(config: &Config, document: &Value) -> Result<(), Error> {
    let path = &config.cni.configuration;
    let text = format!("{document:#}\n");
    if fs::read_to_string(path).await.is_ok_and(|present| present == text) {
        return Ok(());
    }
    let failed = |source| Error::Io { action: "write the CNI configuration".to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).await.map_err(failed)?;
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, &text).await.map_err(failed)?;
    fs::rename(&temporary, path).await.map_err(failed)?;
    info!(path = %path.display(), "pods of this host get their addresses from here");
    Ok(())
}

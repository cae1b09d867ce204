//! Cluster DNS on every host (Kubernetes DNS specification 1.1.0): names of services are answered from the caches,
//! everything else goes to the host's own resolvers. It listens on the address that pods are told, on this host's
//! loopback interface, so a question never leaves the host.

mod forward;
mod server;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use crate::watch::Watched;
use crate::{Config, Error};
use forward::Forwarder;
use zone::Zone;

const PORT: u16 = 53;
/// Somebody else may hold the port for a moment while a process is replaced.
const BIND_RETRY: Duration = Duration::from_secs(1);
const BIND_ATTEMPTS: u32 = 30;

pub(crate) async fn run(config: Config, mut watched: Watched) -> Result<(), Error> {
    let address = (config.dns_service_address, PORT).into();
    let mut attempt = 0;
    let sockets = loop {
        attempt += 1;
        match server::Sockets::bind(address).await {
            Ok(sockets) => break sockets,
            Err(_) if attempt < BIND_ATTEMPTS => tokio::time::sleep(BIND_RETRY).await,
            Err(source) => return Err(Error::Io { action: format!("listen on {address} for DNS"), source }),
        }
    };
    // Until the caches are full it is unknown what exists: questions wait in the sockets.
    watched.ready().await;
    let build = |watched: &Watched| {
        Arc::new(Zone::build(&config.cluster_domain, &watched.services.state(), &watched.slices.state()))
    };
    let (publish, zone) = watch::channel(build(&watched));
    info!(%address, "cluster DNS answers");
    let serving = sockets.serve(zone, Arc::new(Forwarder::new(config.dns_service_address)));
    let following = async {
        loop {
            watched.changed().await;
            publish.send_replace(build(&watched));
        }
    };
    tokio::select! {
        () = serving => Ok(()),
        () = following => Ok(()),
    }
}

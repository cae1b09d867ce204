//! Everything in one process: store, API server, first objects, controllers, scheduler.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use naru_apiserver::admission::AdmissionChain;
use naru_apiserver::authentication::{
    Authentication, OPENID_CONFIGURATION_PATH, OPENID_KEYS_PATH, TokenAuthority, openid_configuration, openid_keys,
};
use naru_apiserver::authorization::Rbac;
use naru_apiserver::bootstrap::{BootstrapConfig, bootstrap};
use naru_apiserver::chain::{Authorizer, ObjectReader};
use naru_apiserver::computed::Reviews;
use naru_apiserver::{ApiServer, Catalog, KubeletAccess, Objects, tls};
use naru_store::{EmbeddedStore, Options};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::{in_process, notify, signals};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const BIND_ATTEMPTS: usize = 100;
const BIND_PAUSE: Duration = Duration::from_millis(20);
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Runs until a signal comes or a part that must not end has ended.
pub(crate) async fn run(path: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let config = Config::load(path)?;
    let shutdown = signals::shutdown()?;
    // Bound before the store is read: early clients wait in the queue and are not refused.
    let listener = listen(&config).await?;
    let objects = open_store(&config).await?;
    let server = build(&config, &objects)?;
    server.set_ready(false);
    let identity = tls::Identity { certificate: &config.pki.certificate, key: &config.pki.key };
    let tls = tls::server(&config.pki.certificate_authority, &identity)?;
    let serving = {
        let (server, shutdown) = (server.clone(), signals::asked(shutdown.clone()));
        tokio::spawn(async move { server.serve(listener, Some(tls), shutdown).await })
    };
    prepare(&config, &objects, &server).await?;
    server.set_ready(true);
    notify::notify(notify::READY);
    tracing::info!(name = config.name, port = config.port, ready_ms = started.elapsed().as_millis(), "ready");
    let outcome = members(&config, &server, &shutdown).await;
    notify::notify(notify::STOPPING);
    // A member that failed ends the process at once; systemd starts it anew.
    outcome?;
    serving.await.context("the server ended abnormally")?;
    Ok(())
}

/// A predecessor that was killed may hold the port for a moment.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(config.bind_address, config.port);
    for _ in 1..BIND_ATTEMPTS {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(BIND_PAUSE).await,
            outcome => return outcome.with_context(|| format!("cannot listen on {address}")),
        }
    }
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn open_store(config: &Config) -> anyhow::Result<Arc<Objects>> {
    let directory = config.data_directory.join("store");
    let catalog = Catalog::new(naru_api::table());
    let indexer = catalog.indexer();
    let store = tokio::task::spawn_blocking(move || -> anyhow::Result<EmbeddedStore> {
        fs_err::create_dir_all(&directory)?;
        Ok(EmbeddedStore::open(&Options::new(directory), &indexer)?)
    });
    let store = store.await.context("reading the store ended abnormally")??;
    Ok(Objects::with_settings(Arc::new(store), catalog, config.api_server.settings()))
}

/// The handler chain from its members.
fn build(config: &Config, objects: &Arc<Objects>) -> anyhow::Result<ApiServer> {
    let pki = &config.pki;
    let reader: Arc<dyn ObjectReader> = Arc::clone(objects) as Arc<dyn ObjectReader>;
    let private = fs_err::read_to_string(&pki.service_account_key)?;
    let public = fs_err::read_to_string(&pki.service_account_public_key)?;
    let tokens = Arc::new(TokenAuthority::new(ISSUER, &private, &[public], Arc::clone(&reader))?);
    let rbac = Arc::new(Rbac::new(Arc::clone(&reader)));
    let authorizer: Arc<dyn Authorizer> = Arc::clone(&rbac) as Arc<dyn Authorizer>;
    let kubelet = tls::Identity { certificate: &pki.kubelet_client_certificate, key: &pki.kubelet_client_key };
    let advertised = format!("{}:{}", config.advertise_address, config.port);
    let admission = AdmissionChain::new(Arc::clone(&reader), Arc::clone(&rbac), config.service_range()?)
        .with_node_ports(config.api_server.node_ports());
    let server = naru_apiserver::Config {
        objects: Arc::clone(objects),
        authenticator: Arc::new(Authentication::new(Arc::clone(&tokens), Arc::clone(&authorizer))),
        authorizer,
        admission: Arc::new(admission),
        computed: Arc::new(Reviews::new(rbac, Arc::clone(&tokens), reader)),
        kubelet: Some(KubeletAccess { tls: tls::client(&pki.certificate_authority, &kubelet)? }),
        documents: vec![
            (OPENID_CONFIGURATION_PATH.to_owned(), openid_configuration(&tokens, &advertised)),
            (OPENID_KEYS_PATH.to_owned(), openid_keys(&tokens)),
        ],
        advertised,
    };
    Ok(server.build())
}

async fn prepare(config: &Config, objects: &Arc<Objects>, server: &ApiServer) -> anyhow::Result<()> {
    let first = BootstrapConfig {
        advertise_address: config.advertise_address,
        port: config.port,
        service_range: config.service_range()?,
        dns_service_address: config.dns_service_ip,
        certificate_authority_pem: fs_err::read_to_string(&config.pki.certificate_authority)?,
    };
    let writer = in_process::Bootstrapper::new(server.clone());
    bootstrap(&**objects, &writer, &first).await.context("the cluster's own objects could not be written")
}

/// Controllers and scheduler, until shutdown. An end before that is a failure.
async fn members(config: &Config, server: &ApiServer, shutdown: &watch::Receiver<bool>) -> anyhow::Result<()> {
    let root_ca_pem = Some(fs_err::read_to_string(&config.pki.certificate_authority)?);
    let controllers = naru_controllers::Config { pod_cidr: config.pod_cidr.clone(), root_ca_pem, ..Default::default() };
    let controllers = controllers.run(in_process::client(server, CONTROLLER_MANAGER), shutdown.clone());
    let scheduler = naru_scheduler::Config::default().run(in_process::client(server, SCHEDULER), shutdown.clone());
    let controllers = async { controllers.await.context("controllers") };
    let scheduler = async {
        scheduler.await;
        anyhow::Ok(())
    };
    tokio::try_join!(controllers, scheduler)?;
    anyhow::ensure!(*shutdown.borrow(), "controllers and scheduler ended by themselves");
    Ok(())
}

#[cfg(test)]
mod tests;

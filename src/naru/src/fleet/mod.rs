//! The real fleet: one SSH session per host for the whole run, each with the agent at its other end.

mod agent;
mod prompt;
mod secrets;
mod way;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{Request, Response};
use naru_hosts::{AgentProgram, Dialer, HostEvent, TrafficCount};
use naru_inventory::{Host, Inventory};
use naru_observe::{Fleet, HostAgent, Problem, ProblemKind};
use naru_pki::{Kubeconfig, PrivateKey, signing_request};
use naru_resources::Certificate;
use tokio::sync::{Mutex, OnceCell};

use self::agent::RemoteAgent;
use self::prompt::TerminalPrompt;
use self::secrets::Secrets;
pub(crate) use self::way::expand_home;
use self::way::{Way, Ways};
use crate::artifacts::Found;
use crate::exit::Failure;

/// How long a host may take to show its key.
const SCAN_DEADLINE: Duration = Duration::from_secs(10);

/// Connections of one run.
pub(crate) struct SshFleet {
    inventory: Inventory,
    program: PathBuf,
    accepts_new_host_keys: bool,
    secrets: Secrets,
    dialer: Arc<Dialer>,
    /// Made when the first host needs them.
    ways: OnceCell<Ways>,
    agents: Mutex<BTreeMap<String, Arc<RemoteAgent>>>,
    fence: Arc<AtomicU64>,
}

impl SshFleet {
    pub(crate) fn new(inventory: &Inventory, found: &Found, accepts_new_host_keys: bool) -> Self {
        Self {
            inventory: inventory.clone(),
            program: found.node_path.clone(),
            accepts_new_host_keys,
            secrets: Secrets::beside(Path::new("")),
            dialer: Dialer::new(Some(Arc::new(TerminalPrompt)), Arc::new(tell)),
            ways: OnceCell::new(),
            agents: Mutex::default(),
            fence: Arc::new(AtomicU64::new(agent::NO_FENCE)),
        }
    }

    /// `file:` references are relative to the folder of this inventory. Before anything is connected.
    pub(crate) fn set_inventory_file(&mut self, file: &Path) {
        self.secrets = Secrets::beside(file.parent().unwrap_or(Path::new("")));
    }

    /// What went over the wire so far.
    pub(crate) fn traffic(&self) -> TrafficCount {
        self.dialer.traffic()
    }

    async fn ways(&self) -> Result<&Ways, Problem> {
        let make = || async {
            let config = way::ssh_config(&self.inventory.spec.ssh)?;
            let path = self.program.clone();
            let reading = tokio::task::spawn_blocking(move || AgentProgram::read(&path).map(Arc::new));
            let program = reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let program = program.map_err(|error| Problem {
                kind: ProblemKind::Agent,
                primary: format!("the agent program {} cannot be used: {error}", self.program.display()),
                detail: None,
                hint: Some("--artifacts DIR names the folder of naru-node".to_owned()),
            })?;
            Ok(Ways { dialer: self.dialer.clone(), program, config, secrets: self.secrets.clone() })
        };
        self.ways.get_or_try_init(make).await
    }

    async fn way(&self, host: &Host, accepts_new: bool) -> Result<Way, Problem> {
        self.ways().await?.to(&self.inventory, host, accepts_new)
    }

    async fn agent(&self, host: &Host) -> Result<Arc<dyn HostAgent>, Problem> {
        let known = self.agents.lock().await.get(&host.name).cloned();
        if let Some(agent) = known {
            return Ok(agent);
        }
        // Not under the map's lock: connecting to one host must not wait for another.
        let way = self.way(host, self.accepts_new_host_keys).await?;
        let agent = Arc::new(RemoteAgent::new(way, self.secrets.clone(), self.fence.clone()));
        agent.reach().await.map_err(|error| agent::problem(&error))?;
        Ok(self.agents.lock().await.entry(host.name.clone()).or_insert(agent).clone())
    }
}

/// What people should see of host keys and of the agent's way to a host.
#[expect(clippy::print_stderr, reason = "a key that is believed from now on is told to the operator")]
fn tell(event: HostEvent) {
    match event {
        HostEvent::HostKeyAccepted { host, address, fingerprint, file } => {
            eprintln!("{host}: the host key of {address} is believed from now on: {fingerprint} ({})", file.display());
        }
        HostEvent::Uploading { host, sent_bytes, size_bytes } => {
            tracing::debug!(host, sent_bytes, size_bytes, "the agent is on its way");
        }
    }
}

impl Fleet for SshFleet {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(self.agent(host))
    }

    fn forget<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let known = self.agents.lock().await.get(host).cloned();
            if let Some(agent) = known {
                agent.reset();
            }
        })
    }

    fn set_fence(&self, fence: u64) {
        self.fence.store(fence, Ordering::SeqCst);
    }

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            let way = self.way(host, self.accepts_new_host_keys).await?;
            let agent = RemoteAgent::new(way, self.secrets.clone(), self.fence.clone());
            agent.reach().await.map_err(|error| agent::problem(&error))?;
            Ok(Arc::new(agent) as Arc<dyn HostAgent>)
        })
    }
}

/// The key that a host shows now, without any proof that it is the right one.
pub(crate) async fn host_key(address: &str, port: u16) -> Result<String, Failure> {
    let key = naru_hosts::scan_host_key(address, port, SCAN_DEADLINE).await;
    key.map_err(|error| Failure::problem(address, &agent::problem(&error)))
}

/// A kubeconfig whose key is made here and whose certificate is signed by this agent.
pub(crate) async fn kubeconfig(
    cluster: &str,
    agent: &dyn HostAgent,
    certificate: Certificate,
    authority_key_path: &str,
    server: &str,
) -> Result<String, Failure> {
    let fail = |error: &naru_pki::PkiError| Failure::because("the administrator's certificate cannot be made", error);
    let profile = naru_pki::Profile {
        common_name: certificate.common_name.clone(),
        organizations: certificate.organizations.clone(),
        alternative_names: Vec::new(),
        purposes: vec![naru_pki::Purpose::Client],
        validity: certificate.validity(),
    };
    let key = PrivateKey::generate().map_err(|error| fail(&error))?;
    let signing_request_pem = signing_request(&key, &profile).map_err(|error| fail(&error))?;
    let authority_key_path = authority_key_path.to_owned();
    match agent.call(Request::Sign { signing_request_pem, certificate, authority_key_path }).await? {
        Response::Signed { certificate_pem, authority_pem } => {
            let kubeconfig = Kubeconfig {
                cluster_name: cluster,
                user_name: &format!("{cluster}-admin"),
                server: &format!("https://{server}"),
                authority_pem: &authority_pem,
                certificate_pem: &certificate_pem,
                key: &key,
            };
            // It goes to standard output, where it was asked for.
            Ok(kubeconfig.to_yaml().map_err(|error| fail(&error))?.to_string())
        }
        _ => Err(Failure::ours("the control plane answered a signing request with something else")),
    }
}

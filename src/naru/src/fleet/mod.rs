//! The real fleet: SSH connections to hosts, one per host for the whole run, each with the agent at its other end.

mod agent;
mod local;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use naru_agent::{Request, Response};
use naru_inventory::{Connection, Host, Inventory};
use naru_observe::{Fleet, HostAgent, Problem, ProblemKind};
use naru_pki::{Kubeconfig, PrivateKey, signing_request};
use naru_resources::Certificate;
use tokio::sync::Mutex;

use self::agent::{Line, StreamAgent};
use self::local::LocalLine;
use crate::artifacts::Found;
use crate::exit::Failure;

/// Connections of one run.
pub(crate) struct SshFleet {
    agents: Mutex<BTreeMap<String, Arc<StreamAgent>>>,
}

impl SshFleet {
    pub(crate) fn new(_inventory: &Inventory, _found: &Found, _accept_new_host_keys: bool) -> Result<Self, Failure> {
        Ok(Self { agents: Mutex::default() })
    }

    async fn line(&self, host: &Host) -> Result<Box<dyn Line>, Problem> {
        match host.connection {
            Connection::Local => Ok(Box::new(LocalLine { host: naru_agent::Host::local() })),
            Connection::Ssh => Err(Problem {
                kind: ProblemKind::Unreachable,
                primary: "SSH is not part of this build".to_owned(),
                detail: None,
                hint: None,
            }),
        }
    }

    async fn agent(&self, host: &Host) -> Result<Arc<dyn HostAgent>, Problem> {
        let known = self.agents.lock().await.get(&host.name).cloned();
        if let Some(agent) = known {
            return Ok(agent);
        }
        // Not under the map's lock: connecting to one host must not wait for another.
        let agent = Arc::new(StreamAgent::new(&host.name, self.line(host).await?));
        let mut agents = self.agents.lock().await;
        Ok(agents.entry(host.name.clone()).or_insert(agent).clone())
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
}

/// `~/x` below the home folder.
pub(crate) fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// The key that a host shows now, without any proof that it is the right one.
pub(crate) async fn host_key(address: &str, _port: u16) -> Result<String, Failure> {
    Err(Failure::ours(format!("{address}: SSH is not part of this build")))
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
        validity: naru_pki::Profile::days(certificate.days),
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

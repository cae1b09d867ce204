//! The programs of a node and what they say: runtime, etcd, control plane, kubelet, and the way to the API.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use naru_resources::Host;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{CONTROL_PLANE_UNIT, NODE_UNIT, RUNTIME_UNIT, broken, holds, trouble, unit};
use crate::runtime::Runtime;
use crate::{ApiRequest, EtcdRequest, Link, LinkName, api, etcd};

const NODE_CONFIGURATION: &str = "/etc/naru/node.yaml";
const CONTROL_PLANE_CONFIGURATION: &str = "/etc/naru/control-plane.yaml";
const CERTIFICATES: &str = "/etc/naru/pki";
const KUBELET_PORT: u16 = 10_250;
const API_PORT: u16 = 6_443;
/// Where every program of the node finds the API.
const LOAD_BALANCER_PORT: u16 = 6_444;
const DEADLINE: Duration = Duration::from_secs(5);
const MAX_CONTROL_PLANES: usize = 16;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    control_planes: Vec<SocketAddr>,
}

/// A question to systemd or a journal, away from the threads that serve connections.
async fn asked<T: Send + 'static>(host: &Host, question: impl FnOnce(&Host) -> T + Send + 'static) -> Option<T> {
    let host = host.clone();
    tokio::task::spawn_blocking(move || question(&host)).await.ok()
}

/// How a unit is, and the line of its journal that tells most.
async fn service(host: &Host, name: &'static str) -> (Result<String, String>, Option<String>) {
    let looked = asked(host, move |host| {
        let state = unit(host, name);
        let log = trouble(host, name, state.is_ok());
        (state, log)
    });
    looked.await.unwrap_or_else(|| (Err(format!("{name} could not be looked at")), None))
}

pub(super) async fn runtime(host: &Host) -> Link {
    let name = LinkName::Runtime;
    let (state, log) = service(host, RUNTIME_UNIT).await;
    let unit = state.clone().unwrap_or_else(|state| state);
    let hint =
        Some("look at /etc/containerd/config.toml and `journalctl -u containerd`; `naru apply` mends both".to_owned());
    let Some(mut runtime) = Runtime::of(host) else {
        return Link { log, hint, ..broken(name, format!("{unit}, and there is no socket of it")) };
    };
    match runtime.status().await {
        // Without a network for pods the runtime works; that is a link of its own.
        Ok((version, not_ready)) => match not_ready.into_iter().find(|reason| !reason.starts_with("Network")) {
            None => holds(name, format!("{version} answers")),
            Some(reason) => Link { log, hint, ..broken(name, format!("{version} answers, but {reason}")) },
        },
        Err(reason) => Link { log, hint, ..broken(name, format!("{unit}, and its socket does not answer: {reason}")) },
    }
}

pub(super) async fn etcd(host: &Host) -> Option<Link> {
    const UNIT: &str = "naru-etcd.service";
    if !host.path(etcd::PKI).exists() {
        return None;
    }
    let name = LinkName::Etcd;
    let (_, log) = service(host, UNIT).await;
    let hint = Some(format!("look at `journalctl -u {UNIT}`; a majority of the members has to be up"));
    let members = asked(host, |host| etcd::answer(host, &EtcdRequest::Members)).await;
    Some(match members {
        Some(Ok(members)) => {
            let sick: Vec<String> =
                members.iter().filter(|member| !member.is_healthy).map(|member| member.name.clone()).collect();
            let found = format!("{} members, {} of them healthy", members.len(), members.len() - sick.len());
            if sick.is_empty() {
                holds(name, found)
            } else {
                Link { log, hint, ..broken(name, format!("{found}; not {}", sick.join(", "))) }
            }
        }
        Some(Err(failure)) => {
            let detail = failure.detail.unwrap_or_default();
            Link { log, hint, ..broken(name, format!("{}: {detail}", failure.message)) }
        }
        None => Link { log, hint, ..broken(name, "its members could not be asked") },
    })
}

pub(super) async fn control_plane(host: &Host) -> Option<Link> {
    if !host.path(CONTROL_PLANE_CONFIGURATION).exists() {
        return None;
    }
    let (state, log) = service(host, CONTROL_PLANE_UNIT).await;
    let answer = ready(host, SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT))).await;
    let hint = Some(format!("look at `journalctl -u {CONTROL_PLANE_UNIT}`"));
    let unit = state.clone().unwrap_or_else(|state| state);
    Some(match (state, answer) {
        (Ok(_), Ok(())) => holds(LinkName::ControlPlane, format!("{unit}, its API is ready")),
        (_, Ok(())) => Link { log, hint, ..broken(LinkName::ControlPlane, format!("{unit}, though an API answers")) },
        (_, Err(reason)) => Link { log, hint, ..broken(LinkName::ControlPlane, format!("{unit}, its API: {reason}")) },
    })
}

pub(super) async fn kubelet(host: &Host) -> Link {
    let (state, log) = service(host, NODE_UNIT).await;
    let hint = Some(format!("look at `journalctl -u {NODE_UNIT}`; `naru apply` restarts it with its configuration"));
    let answer = get(host, SocketAddr::from((Ipv4Addr::LOCALHOST, KUBELET_PORT)), "/healthz").await;
    let unit = state.clone().unwrap_or_else(|state| state);
    match (state, answer) {
        // Whoever says that we may not ask is alive; and its certificate need not name the loopback address.
        (Ok(_), Ok(_)) => holds(LinkName::Kubelet, format!("{unit} and answers")),
        (Ok(_), Err(reason)) if reason.contains("certificate") => {
            holds(LinkName::Kubelet, format!("{unit} and answers"))
        }
        (_, Err(reason)) => {
            Link { log, hint, ..broken(LinkName::Kubelet, format!("{unit}, port {KUBELET_PORT}: {reason}")) }
        }
        (Err(_), Ok(_)) => {
            Link { log, hint, ..broken(LinkName::Kubelet, format!("{unit}, though port {KUBELET_PORT} answers")) }
        }
    }
}

/// By the way that the node's programs go, and by each control plane on its own to tell whose fault it is.
pub(super) async fn api(host: &Host) -> Link {
    let text = fs::read_to_string(host.path(NODE_CONFIGURATION)).unwrap_or_default();
    let node: Node = serde_saphyr::from_str(&text).unwrap_or_default();
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, LOAD_BALANCER_PORT))];
    addresses.extend(node.control_planes.into_iter().take(MAX_CONTROL_PLANES));
    let answers = futures::future::join_all(addresses.iter().map(|address| ready(host, *address))).await;
    let words = addresses.iter().zip(&answers).map(|(address, answer)| match answer {
        Ok(()) => format!("{address} is ready"),
        Err(reason) => format!("{address}: {reason}"),
    });
    let found = words.collect::<Vec<_>>().join("; ");
    if answers[0].is_ok() {
        return holds(LinkName::Api, found);
    }
    let any = answers[1..].iter().any(Result::is_ok);
    let hint = match (any, addresses.len()) {
        (_, 1) => format!("{NODE_CONFIGURATION} names no control plane; `naru apply` writes it"),
        (true, _) => format!("a control plane can be reached, so {NODE_UNIT} does not do its part: restart it"),
        (false, _) => "start a control plane, or open the way to its port 6443 (firewall, routes)".to_owned(),
    };
    let log = asked(host, |host| trouble(host, NODE_UNIT, true)).await.flatten();
    Link { log, hint: Some(hint), ..broken(LinkName::Api, found) }
}

async fn ready(host: &Host, address: SocketAddr) -> Result<(), String> {
    match get(host, address, "/readyz").await? {
        200 => Ok(()),
        status => Err(format!("it answers {status} to /readyz")),
    }
}

/// Asks as the node does, with its certificate; answers the status.
async fn get(host: &Host, address: SocketAddr, path: &str) -> Result<u16, String> {
    let tls = tls(host)?;
    let request = ApiRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        content_type: String::new(),
        body: String::new(),
        timeout_ms: 0,
    };
    match timeout(DEADLINE, api::exchange(tls, address, &request)).await {
        Ok(Ok(response)) => Ok(response.status),
        Ok(Err(failure)) => Err(failure.detail.unwrap_or(failure.message)),
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

fn tls(host: &Host) -> Result<Arc<ClientConfig>, String> {
    let read = |file: &str| {
        fs::read_to_string(host.path(CERTIFICATES).join(file))
            .map_err(|_| format!("{CERTIFICATES}/{file} is not there"))
    };
    let key = Zeroizing::new(read("kubelet.key")?);
    api::client(&read("ca.crt")?, &read("kubelet.crt")?, &key)
}

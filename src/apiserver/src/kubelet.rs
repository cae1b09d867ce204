//! Passing requests on to kubelets: logs as streams; exec, attach and port-forward as byte tunnels after an upgrade.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::chain::ObjectReader;
use crate::registry::{Call, Registry};
use crate::status::ApiError;
use crate::web::{self, Body, BoxError, Outcome, full};

const KUBELET_PORT: u16 = 10250;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers that concern one connection only.
const HOP_HEADERS: [header::HeaderName; 6] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::HOST, header::AUTHORIZATION];

/// How this server shows itself to kubelets, and which authority theirs must be signed by.
#[derive(Clone)]
pub struct KubeletAccess {
    pub tls: Arc<rustls::ClientConfig>,
}

/// What of a pod or a node is asked for.
pub(crate) fn is_proxied(call: &Call) -> bool {
    let info = &call.info;
    let pods =
        info.resource == "pods" && matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward");
    let nodes = info.resource == "nodes" && info.subresource == "proxy";
    info.is_resource && info.api_group.is_empty() && (pods || nodes)
}

pub(crate) async fn proxy(
    access: Option<&KubeletAccess>,
    registry: &Registry,
    call: &Call,
    body: Bytes,
    upgrade: Option<OnUpgrade>,
) -> Outcome {
    let access =
        access.ok_or_else(|| ApiError::new(503, "ServiceUnavailable", "no way to reach kubelets is set up"))?;
    let (node, path) = match call.info.resource.as_str() {
        "nodes" => (call.info.name.clone(), node_path(call)),
        _ => pod_path(registry, call)?,
    };
    let address = node_address(registry, &node)?;
    let fail = |error: BoxError| ApiError::new(502, "BadGateway", format!("error dialing backend: {error}"));
    let mut sender = tokio::time::timeout(CONNECT_TIMEOUT, connect(access, address))
        .await
        .map_err(|_| fail(format!("{address} did not answer within {} s", CONNECT_TIMEOUT.as_secs()).into()))?
        .map_err(fail)?;
    let method = if call.info.subresource == "log" { Method::GET } else { call.parts.method.clone() };
    let mut request = Request::new(full(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| ApiError::bad_request("the path cannot be passed on"))?;
    copy_headers(&call.parts.headers, request.headers_mut(), upgrade.is_some());
    let host = HeaderValue::from_str(&address.to_string()).expect("an address is a valid header");
    request.headers_mut().insert(header::HOST, host);
    let mut response = sender.send_request(request).await.map_err(|error| fail(error.into()))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = upgrade
    {
        let kubelet = hyper::upgrade::on(&mut response);
        tokio::spawn(tunnel(client, kubelet));
        let mut answer = Response::new(full(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = response.headers().clone();
        return Ok(answer);
    }
    relay(call, response).await
}

async fn tunnel(client: OnUpgrade, kubelet: OnUpgrade) {
    let (client, kubelet) = match (client.await, kubelet.await) {
        (Ok(client), Ok(kubelet)) => (client, kubelet),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(%error, "an upgraded connection was not handed over");
            return;
        }
    };
    let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await {
        tracing::debug!(%error, "a tunnel to a kubelet broke");
    }
}

/// The kubelet's answer as ours. Its errors are plain text, clients expect a Status.
async fn relay(call: &Call, response: Response<hyper::body::Incoming>) -> Outcome {
    let code = response.status();
    if call.info.resource == "pods" && (code.is_client_error() || code.is_server_error()) {
        let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        let reason = match code {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::BAD_REQUEST => "BadRequest",
            _ => "InternalError",
        };
        return Err(ApiError::new(code.as_u16(), reason, text));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let mut answer = web::text(code, Bytes::new());
    if let Some(content_type) = content_type.filter(|_| call.info.subresource != "log") {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    *answer.body_mut() = response.into_body().map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync();
    Ok(answer)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, upgrade: bool) {
    for (name, value) in from {
        let hop = HOP_HEADERS.contains(name) || (name == header::UPGRADE && !upgrade);
        if !hop && name != header::CONTENT_LENGTH {
            to.append(name, value.clone());
        }
    }
    if upgrade {
        to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

fn node_path(call: &Call) -> String {
    let marker = format!("/nodes/{}/proxy", call.info.name);
    let path = call.parts.uri.path();
    let rest = path.find(&marker).map_or("", |start| &path[start + marker.len()..]);
    let rest = if rest.is_empty() { "/" } else { rest };
    call.parts.uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"))
}

/// The node of the pod, and the kubelet's path for the same thing.
fn pod_path(registry: &Registry, call: &Call) -> Result<(String, String), ApiError> {
    let info = &call.info;
    let pod = registry
        .objects
        .get("", "pods", &info.namespace, &info.name)
        .ok_or_else(|| ApiError::not_found("", "pods", &info.name))?;
    let container = container(&pod, info.name.as_str(), call.query.get("container"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        let text = match info.subresource.as_str() {
            "log" => format!("pod {} does not have a host assigned", info.name),
            _ => format!("pod {} does not have a host assigned", info.name),
        };
        return Err(ApiError::bad_request(text));
    }
    let (namespace, name) = (&info.namespace, &info.name);
    let path = match info.subresource.as_str() {
        "log" => format!("/containerLogs/{namespace}/{name}/{container}"),
        "exec" => format!("/exec/{namespace}/{name}/{container}"),
        "attach" => format!("/attach/{namespace}/{name}/{container}"),
        _ => format!("/portForward/{namespace}/{name}"),
    };
    let query = kubelet_query(call.parts.uri.query().unwrap_or_default());
    Ok((node, if query.is_empty() { path } else { format!("{path}?{query}") }))
}

/// The kubelet calls the streams of exec and attach input, output and error.
fn kubelet_query(query: &str) -> String {
    let renamed = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("container=")).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, "true"));
        let truthy = matches!(value, "true" | "1");
        match key {
            "stdin" | "stdout" | "stderr" | "tty" => {
                let key = match key {
                    "stdin" => "input",
                    "stdout" => "output",
                    "stderr" => "error",
                    other => other,
                };
                format!("{key}={}", u8::from(truthy))
            }
            _ => part.to_owned(),
        }
    });
    renamed.collect::<Vec<_>>().join("&")
}

fn container(pod: &Value, pod_name: &str, asked: &str) -> Result<String, ApiError> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let containers = names("containers");
    let all = [containers.clone(), names("initContainers"), names("ephemeralContainers")].concat();
    if !asked.is_empty() {
        return match all.iter().any(|name| name == asked) {
            true => Ok(asked.to_owned()),
            false => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}"))),
        };
    }
    let preferred = naru_api::meta::annotation(pod, "kubectl.kubernetes.io/default-container").unwrap_or_default();
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        several if several.iter().any(|name| name == preferred) => Ok(preferred.to_owned()),
        several => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            several.join(" ")
        ))),
    }
}

fn node_address(registry: &Registry, name: &str) -> Result<SocketAddr, ApiError> {
    let node = registry.objects.get("", "nodes", "", name).ok_or_else(|| ApiError::not_found("", "nodes", name))?;
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses.filter(|address| address["type"] == "InternalIP");
    let address =
        internal.filter_map(|address| address["address"].as_str()).find_map(|text| text.parse::<IpAddr>().ok());
    let address = address.ok_or_else(|| ApiError::internal(format!("node {name} has no InternalIP address yet")))?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(KUBELET_PORT);
    Ok(SocketAddr::new(address, port))
}

async fn connect(
    access: &KubeletAccess,
    address: SocketAddr,
) -> Result<hyper::client::conn::http1::SendRequest<Body>, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::clone(&access.tls)).connect(name, stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a kubelet broke");
        }
    });
    Ok(sender)
}

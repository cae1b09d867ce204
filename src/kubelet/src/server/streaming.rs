//! exec, attach and port-forward: the runtime has a streaming server of its own; after both sides have
//! agreed to an upgrade, bytes pass through unchanged.

use std::sync::Arc;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use tokio::net::TcpStream;

use super::{Answer, bytes_body, query, runtime_failure, text};
use crate::Context;
use crate::cri::CONTAINER_NAME_LABEL;
use crate::pod::PodExt;

/// Headers of the client that the runtime's streaming server needs.
const PASSED_PREFIX: &str = "x-stream-protocol-version";

pub(super) async fn serve(context: &Arc<Context>, parts: &[&str], request: Request<Incoming>) -> Answer {
    let url = match target(context, parts, &query(&request)).await {
        Ok(url) => url,
        Err(answer) => return answer,
    };
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        // Clients that tried WebSocket fall back to SPDY, the only protocol that containerd speaks.
        return text(StatusCode::FORBIDDEN, "this node streams by SPDY/3.1 only");
    }
    match connect(&url, request).await {
        Ok(answer) => answer,
        Err(message) => text(StatusCode::BAD_GATEWAY, message),
    }
}

/// The runtime's URL for this stream.
async fn target(context: &Context, parts: &[&str], query: &[(String, String)]) -> Result<Uri, Answer> {
    let (kind, namespace, name) = match parts {
        [kind, namespace, name, ..] => (*kind, *namespace, *name),
        _ => return Err(text(StatusCode::NOT_FOUND, "404 page not found")),
    };
    let Some(pod) = context.pods.find(namespace, name) else {
        return Err(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found")));
    };
    let failed = |error: &crate::CriError| runtime_failure(error);
    let flag = |name: &str| query.iter().any(|(key, value)| key == name && (value == "1" || value == "true"));
    let either = |short: &str, long: &str| flag(short) || flag(long);
    let url = if kind == "portForward" {
        let sandboxes = context.runtime.sandboxes(Some(pod.uid())).await.map_err(|error| failed(&error))?;
        let ready = cri::PodSandboxState::SandboxReady as i32;
        let Some(sandbox) = sandboxes.into_iter().find(|sandbox| sandbox.state == ready) else {
            return Err(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" has no sandbox")));
        };
        context.runtime.port_forward_url(&sandbox.id).await.map_err(|error| failed(&error))?
    } else {
        let Some(container) = parts.last().filter(|_| parts.len() >= 4) else {
            return Err(text(StatusCode::NOT_FOUND, "404 page not found"));
        };
        let containers = context.runtime.containers(Some(pod.uid())).await.map_err(|error| failed(&error))?;
        let running = cri::ContainerState::ContainerRunning as i32;
        let found = containers.into_iter().find(|item| {
            item.state == running && item.labels.get(CONTAINER_NAME_LABEL).is_some_and(|label| label == container)
        });
        let Some(found) = found else {
            return Err(text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")")));
        };
        let tty = flag("tty");
        let (stdin, stdout) = (either("input", "stdin"), either("output", "stdout"));
        // A terminal has one stream for both.
        let stderr = either("error", "stderr") && !tty;
        let container_id = found.id;
        if kind == "attach" {
            let request = cri::AttachRequest { container_id, stdin, tty, stdout, stderr };
            context.runtime.attach_url(request).await.map_err(|error| failed(&error))?
        } else {
            let cmd = query.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
            let request = cri::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
            context.runtime.exec_url(request).await.map_err(|error| failed(&error))?
        }
    };
    url.parse().map_err(|_| text(StatusCode::BAD_GATEWAY, format!("the runtime gave a bad URL: {url}")))
}

async fn connect(url: &Uri, mut request: Request<Incoming>) -> Result<Answer, String> {
    let authority = url.authority().ok_or("the runtime's URL names no host")?;
    let host = authority.host();
    let ip: std::net::IpAddr = if host == "localhost" {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        host.trim_matches(['[', ']']).parse().map_err(|_| format!("the runtime's host {host} is no address"))?
    };
    let stream = TcpStream::connect((ip, authority.port_u16().unwrap_or(80))).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut outgoing = Request::post(path).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    copy_headers(request.headers(), outgoing.headers_mut());
    let host = authority.as_str().parse().map_err(|_| "the runtime's host is no header value".to_owned())?;
    outgoing.headers_mut().insert(HOST, host);
    let mut answer = sender.send_request(outgoing).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let mut refused = Response::new(bytes_body(body));
        *refused.status_mut() = status;
        return Ok(refused);
    }
    let mut response = Response::new(bytes_body(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(answer.headers(), response.headers_mut());
    tokio::spawn(async move {
        let both = tokio::try_join!(hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
        match both {
            Ok((client, runtime)) => {
                let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
                if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut runtime).await {
                    tracing::debug!(%error, "stream ended");
                }
            }
            Err(error) => tracing::debug!(%error, "stream not upgraded"),
        }
    });
    Ok(response)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if name == CONNECTION || name == UPGRADE || name.as_str().starts_with(PASSED_PREFIX) {
            to.append(name.clone(), value.clone());
        }
    }
}

//! The kubelet's HTTPS server: logs, streams, health, pods. Callers prove themselves by a cluster certificate.

mod follow;
mod logs;
mod stats;
mod streaming;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Context;
use crate::cri::CriError;

/// Open connections; log followers and exec sessions hold theirs long.
const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const ADMIN_GROUP: &str = "system:masters";
const API_SERVER_CLIENT: &str = "kube-apiserver-kubelet-client";

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot read certificate or key {path}")]
    Pem {
        path: String,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("cannot use the certificates")]
    Tls(#[from] rustls::Error),
    #[error("cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("cannot listen")]
    Listen(#[from] std::io::Error),
}

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;

pub(crate) struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let failed = |source| ServerError::Pem { path: path.display().to_string(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

/// Binds at once: a port that cannot be had must be an error at start, not later.
pub(crate) async fn bind(context: &Context) -> Result<Listener, ServerError> {
    let files = &context.config.tls;
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| ServerError::Pem { path: files.key.display().to_string(), source })?;
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(&files.certificate_authority)? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // Streams are upgrades, which HTTP/2 does not have.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, context.config.port))).await?;
    Ok(Listener { tcp, tls: TlsAcceptor::from(Arc::new(tls)) })
}

pub(crate) async fn serve(context: Arc<Context>, listener: Listener) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.tcp.accept().await {
            Ok((stream, _)) => {
                let (context, tls) = (context.clone(), listener.tls.clone());
                tokio::spawn(async move {
                    serve_connection(context, tls, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(context: Arc<Context>, tls: TlsAcceptor, stream: TcpStream) {
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let caller = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|c| may_call(c));
    let service = service_fn(move |request| {
        let context = context.clone();
        async move {
            Ok::<_, Infallible>(match caller {
                None => text(StatusCode::UNAUTHORIZED, "Unauthorized"),
                Some(false) => text(StatusCode::FORBIDDEN, "Forbidden"),
                Some(true) => route(&context, request).await,
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "connection ended badly");
    }
}

/// The chain was verified by TLS; this says whether the name in it may use this API.
fn may_call(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let subject = parsed.subject();
    let admin = subject.iter_organization().any(|name| name.as_str().is_ok_and(|name| name == ADMIN_GROUP));
    admin || subject.iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == API_SERVER_CLIENT))
}

pub(crate) fn bytes_body(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    let mut response = Response::new(bytes_body(message.into()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(bytes_body(bytes));
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(crate) fn runtime_failure(error: &CriError) -> Answer {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    text(status, error.message())
}

/// Query parameters, decoded, in order; names may repeat.
pub(crate) fn query(request: &Request<Incoming>) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
                match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &tail[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn route(context: &Arc<Context>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping"] => text(StatusCode::OK, "ok"),
        ["pods"] if request.method() == Method::GET => {
            let items = context.pods.pods();
            let items: Vec<_> = items.iter().map(|pod| pod.as_ref()).collect();
            json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
        }
        ["stats", "summary"] => json(&stats::summary(context).await),
        ["metrics"] => text(StatusCode::OK, stats::metrics(context)),
        ["containerLogs", namespace, pod, container] => {
            logs::serve(context, namespace, pod, container, &query(&request)).await
        }
        ["exec" | "attach" | "portForward" | "run", ..] => streaming::serve(context, &parts, request).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_queries() {
        assert_eq!(decode("a%20b+c%2Fd%"), "a b c/d%");
    }
}

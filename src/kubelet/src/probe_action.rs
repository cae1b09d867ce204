//! One attempt of a probe or lifecycle hook: exec, HTTP, TCP, gRPC, sleep.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::cri::Runtime;

/// Longer answers are cut in messages.
const MAX_OUTPUT_BYTES: usize = 1024;
const MAX_BODY_BYTES: usize = 10 << 10;
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The container a probe looks at.
pub(crate) struct Target<'a> {
    pub runtime: &'a Runtime,
    pub container_id: &'a str,
    pub container: &'a Container,
    pub pod_ip: &'a str,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Action<'a> {
    pub exec: Option<&'a ExecAction>,
    pub http: Option<&'a HTTPGetAction>,
    pub tcp: Option<&'a TCPSocketAction>,
    pub grpc: Option<&'a GRPCAction>,
}

impl Target<'_> {
    /// `Err` holds what the probe saw.
    pub(crate) async fn attempt(&self, action: Action<'_>, timeout: Duration) -> Result<(), String> {
        if let Some(exec) = action.exec {
            return self.exec(exec, timeout).await;
        }
        let work = async {
            if let Some(http) = action.http {
                self.http(http).await
            } else if let Some(tcp) = action.tcp {
                let port = self.port(&tcp.port)?;
                self.dial(tcp.host.as_deref(), port).await.map(drop)
            } else if let Some(grpc) = action.grpc {
                self.grpc(grpc).await
            } else {
                Err("probe has no handler".into())
            }
        };
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err("context deadline exceeded".into()))
    }

    /// A hook has no timeout of its own; the caller's grace period bounds it.
    pub(crate) async fn hook(&self, handler: &LifecycleHandler) -> Result<(), String> {
        if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            return Ok(());
        }
        let action = Action {
            exec: handler.exec.as_ref(),
            http: handler.http_get.as_ref(),
            tcp: handler.tcp_socket.as_ref(),
            grpc: None,
        };
        // The exec call must end by itself some day even if nobody waits for it any more.
        let limit = if action.exec.is_some() { Duration::from_secs(3600) } else { HOOK_TIMEOUT };
        self.attempt(action, limit).await
    }

    async fn exec(&self, exec: &ExecAction, timeout: Duration) -> Result<(), String> {
        let command = exec.command.as_deref().unwrap_or_default();
        let answer = self.runtime.exec_sync(self.container_id, command, timeout).await.map_err(|e| e.message())?;
        if answer.exit_code == 0 {
            return Ok(());
        }
        let mut output = String::from_utf8_lossy(&answer.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&answer.stderr));
        let output = cut(output);
        Err(if output.trim().is_empty() { format!("command exited with {}", answer.exit_code) } else { output })
    }

    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => self
                .container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port)
                .or_else(|| name.parse().ok()),
        };
        number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("couldn't find port: {port:?}"))
    }

    async fn dial(&self, host: Option<&str>, port: u16) -> Result<TcpStream, String> {
        let host = host.filter(|host| !host.is_empty()).unwrap_or(self.pod_ip);
        let ip = if host == "localhost" { "127.0.0.1" } else { host };
        let ip = ip.parse().map_err(|_| format!("host {host:?} is not an IP address"))?;
        let address = SocketAddr::new(ip, port);
        TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: connect: {error}"))
    }

    async fn http(&self, get: &HTTPGetAction) -> Result<(), String> {
        let port = self.port(&get.port)?;
        let stream = self.dial(get.host.as_deref(), port).await?;
        if get.scheme.as_deref() != Some("HTTPS") {
            return http_get(stream, get, self.pod_ip, port).await;
        }
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a constant name");
        let connector = tokio_rustls::TlsConnector::from(insecure_tls());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        http_get(stream, get, self.pod_ip, port).await
    }

    async fn grpc(&self, check: &GRPCAction) -> Result<(), String> {
        let port = u16::try_from(check.port).map_err(|_| format!("bad port {}", check.port))?;
        let stream = self.dial(None, port).await?;
        let executor = TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let service = check.service.as_deref().unwrap_or_default();
        let request = http::Request::post(format!("http://{}:{port}/grpc.health.v1.Health/Check", self.pod_ip))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(health_request(service)))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await.map_err(|e| e.to_string())?;
            Ok::<_, String>(body.to_bytes())
        };
        let answer = answer.await;
        driver.abort();
        // Frame header of five bytes, then field 1 (status) = 1 (SERVING).
        if answer?.get(5..) == Some(&[0x08, 0x01]) { Ok(()) } else { Err("service unhealthy".into()) }
    }
}

/// `HealthCheckRequest { service = 1 }` in a gRPC frame.
fn health_request(service: &str) -> Bytes {
    let name = &service.as_bytes()[..service.len().min(120)];
    let mut message = Vec::new();
    if !name.is_empty() {
        message.push(0x0a);
        message.push(u8::try_from(name.len()).expect("cut to 120 above"));
        message.extend_from_slice(name);
    }
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).expect("at most 122")];
    frame.append(&mut message);
    frame.into()
}

async fn http_get<S>(stream: S, get: &HTTPGetAction, host: &str, port: u16) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = http::Request::get(path);
    let mut named_host = false;
    let mut named_agent = false;
    for header in get.http_headers.iter().flatten() {
        named_host |= header.name.eq_ignore_ascii_case("host");
        named_agent |= header.name.eq_ignore_ascii_case("user-agent");
        request = request.header(&header.name, &header.value);
    }
    if !named_host {
        request = request.header("host", format!("{host}:{port}"));
    }
    if !named_agent {
        request = request.header("user-agent", "kube-probe/1.36");
    }
    let request = request.header("accept", "*/*").header("connection", "close");
    let request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
    let result = sender.send_request(request).await.map_err(|error| error.to_string());
    let status = result.map(|response| response.status());
    driver.abort();
    let status = status?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_OUTPUT_BYTES {
        let mut end = MAX_OUTPUT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// Probes look whether somebody answers, not who: upstream does not verify either.
fn insecure_tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const TIMEOUT: Duration = Duration::from_secs(20);

    async fn answer_once(status: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        });
        port
    }

    #[tokio::test]
    async fn http_and_tcp() {
        let runtime = Runtime::new(std::path::Path::new("/nonexistent"), std::time::Duration::from_secs(1));
        let container = Container::default();
        let target = Target { runtime: &runtime, container_id: "c", container: &container, pod_ip: "127.0.0.1" };
        for (status, good) in [("200 OK", true), ("302 Found", true), ("404 Not Found", false)] {
            let port = answer_once(status).await;
            let get = HTTPGetAction { port: IntOrString::Int(i32::from(port)), ..Default::default() };
            let action = Action { http: Some(&get), ..Default::default() };
            assert_eq!(target.attempt(action, TIMEOUT).await.is_ok(), good, "{status}");
        }
        let tcp = TCPSocketAction { port: IntOrString::Int(1), host: None };
        let action = Action { tcp: Some(&tcp), ..Default::default() };
        assert!(target.attempt(action, TIMEOUT).await.is_err());
    }
}

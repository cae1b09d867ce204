//! Calls of the Kubernetes API from the control-plane host itself, as an administrator whose certificate is made
//! from the cluster's authority, lives in this process only, and is soon worth nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use naru_pki::{Authority, CertificateFacts, Profile, Purpose};
use naru_resources::Host;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{ApiRequest, ApiResponse, Failure, FailureKind};

const CONFIGURATION: &str = "/etc/naru/control-plane.yaml";
const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 60);
/// A certificate with less life than this is replaced by a new one.
const LEAST_LIFE_SECONDS: i64 = 120;
const MAX_BODY_BYTES: usize = 24 * 1024 * 1024;
const ADMINISTRATOR: (&str, &str) = ("naru:admin", "system:masters");

/// What is read of the control plane's configuration; the rest is not ours to judge.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    port: u16,
    pki: Pki,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pki {
    certificate_authority: String,
    certificate_authority_key: String,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { port: 6443, pki: Pki::default() }
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            certificate_authority: "/etc/naru/pki/ca.crt".to_owned(),
            certificate_authority_key: "/etc/naru/pki/ca.key".to_owned(),
        }
    }
}

/// The administrator's identity of one connection.
#[derive(Default)]
pub(crate) struct ApiAccess {
    identity: Option<Identity>,
}

struct Identity {
    authority_pem: String,
    certificate: CertificateFacts,
    tls: Arc<ClientConfig>,
}

impl ApiAccess {
    pub(crate) async fn call(&mut self, host: &Host, request: &ApiRequest) -> Result<ApiResponse, Failure> {
        let configuration = configuration(host)?;
        let tls = self.identity(host, &configuration)?;
        let deadline = Duration::from_millis(request.timeout_ms);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, configuration.port));
        match timeout(deadline, exchange(tls, address, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(silent(format!("{} {} took longer than {deadline:?}", request.method, request.path))),
        }
    }

    fn identity(&mut self, host: &Host, configuration: &Configuration) -> Result<Arc<ClientConfig>, Failure> {
        let path = host.path(&configuration.pki.certificate_authority);
        let authority_pem = fs_err::read_to_string(path).map_err(|error| no_control_plane(&error.to_string()))?;
        if let Some(identity) = &self.identity {
            let left_seconds = identity.certificate.not_after.as_second() - now_seconds();
            if identity.authority_pem == authority_pem && left_seconds > LEAST_LIFE_SECONDS {
                return Ok(identity.tls.clone());
            }
        }
        let key_path = host.path(&configuration.pki.certificate_authority_key);
        let key_pem = fs_err::read_to_string(key_path).map_err(|error| no_control_plane(&error.to_string()))?;
        let (certificate_pem, tls) =
            administrator(&authority_pem, &key_pem).map_err(|error| no_control_plane(&error))?;
        let certificate =
            CertificateFacts::read(&certificate_pem).map_err(|error| no_control_plane(&error.to_string()))?;
        self.identity = Some(Identity { authority_pem, certificate, tls: tls.clone() });
        Ok(tls)
    }
}

fn now_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn configuration(host: &Host) -> Result<Configuration, Failure> {
    match fs_err::read_to_string(host.path(CONFIGURATION)) {
        Ok(text) => serde_saphyr::from_str(&text)
            .map_err(|error| no_control_plane(&format!("{CONFIGURATION} cannot be read: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Configuration::default()),
        Err(error) => Err(no_control_plane(&error.to_string())),
    }
}

fn administrator(authority_pem: &str, key_pem: &str) -> Result<(String, Arc<ClientConfig>), String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let authority = Authority::from_pem(authority_pem, key_pem).map_err(|error| words(&error))?;
    let profile = Profile {
        common_name: ADMINISTRATOR.0.to_owned(),
        organizations: vec![ADMINISTRATOR.1.to_owned()],
        alternative_names: Vec::new(),
        purposes: vec![Purpose::Client],
        validity: CERTIFICATE_LIFE,
    };
    let (certificate_pem, key) = authority.issue(&profile).map_err(|error| words(&error))?;
    let tls = client(authority_pem, &certificate_pem, &key.to_pem())?;
    Ok((certificate_pem, tls))
}

/// TLS as the holder of a certificate, towards servers that this authority vouches for.
pub(crate) fn client(authority_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Arc<ClientConfig>, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.map_err(|error| words(&error))?).map_err(|error| words(&error))?;
    }
    let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| words(&error))?];
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| words(&error))?;
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| words(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| words(&error))?;
    Ok(Arc::new(tls))
}

/// The API server's certificate must be good for the address that it is asked at.
pub(crate) async fn exchange(
    tls: Arc<ClientConfig>,
    address: SocketAddr,
    request: &ApiRequest,
) -> Result<ApiResponse, Failure> {
    let broken = |error: &dyn std::error::Error| silent(chain(error));
    let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| broken(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let connection = tokio::spawn(connection);
    let mut http = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(request.path.as_str())
        .header("host", address.to_string())
        .header("accept", "application/json")
        .header("user-agent", concat!("naru-agent/", env!("CARGO_PKG_VERSION")));
    if !request.body.is_empty() {
        let kind = if request.content_type.is_empty() { "application/json" } else { &request.content_type };
        http = http.header("content-type", kind);
    }
    let http = http.body(Full::new(Bytes::from(request.body.clone()))).map_err(|error| Failure {
        kind: FailureKind::Permanent,
        message: format!("`{} {}` is no request: {error}", request.method, request.path),
        detail: None,
        hint: None,
    })?;
    let response = sender.send_request(http).await.map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| silent(format!("the answer broke off: {error}")))?.to_bytes();
    connection.abort();
    Ok(ApiResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(cause) = current {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        current = cause.source();
    }
    text
}

/// The API server is there or will be; trying again may help.
fn silent(detail: String) -> Failure {
    Failure {
        kind: FailureKind::Transient,
        message: "the API server on this host does not answer".to_owned(),
        detail: Some(detail),
        hint: Some("`journalctl -u naru-control-plane` on the host tells more".to_owned()),
    }
}

fn no_control_plane(reason: &str) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        message: "this host cannot speak for the cluster".to_owned(),
        detail: Some(reason.to_owned()),
        hint: Some("API calls go through control-plane hosts".to_owned()),
    }
}

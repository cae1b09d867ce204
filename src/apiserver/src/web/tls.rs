//! TLS settings from PEM files, for serving and for reaching kubelets.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not a PEM file of the expected kind")]
    Pem { path: String, source: rustls::pki_types::pem::Error },
    #[error("the TLS settings from {path} do not fit together")]
    Settings { path: String, source: rustls::Error },
    #[error("the certificate authority {path} cannot verify clients")]
    Verifier { path: String, source: rustls::server::VerifierBuilderError },
}

/// A certificate chain and its key.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl Identity<'_> {
    fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(self.key)?).map_err(|source| pem(self.key, source))?;
        Ok((chain, key))
    }
}

/// Serves HTTP/2 and HTTP/1.1; clients may show a certificate of the cluster's authority.
pub fn server(authority: &Path, identity: &Identity<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let path = || authority.display().to_string();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(authority)?))
        .allow_unauthenticated()
        .build()
        .map_err(|source| TlsError::Verifier { path: path(), source })?;
    let (chain, key) = identity.load()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Settings { path: identity.certificate.display().to_string(), source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Shows `identity` to servers of the cluster's authority.
pub fn client(authority: &Path, identity: &Identity<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key) = identity.load()?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots(authority)?)
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Settings { path: identity.certificate.display().to_string(), source })?;
    Ok(Arc::new(config))
}

fn roots(authority: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        let added = roots.add(certificate);
        added.map_err(|source| TlsError::Settings { path: authority.display().to_string(), source })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    parsed.map_err(|source| pem(path, source))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs_err::read(path).map_err(|source| TlsError::Read { path: path.display().to_string(), source })
}

fn pem(path: &Path, source: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::Pem { path: path.display().to_string(), source }
}

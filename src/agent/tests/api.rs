//! API calls against a real TLS server that asks for a client certificate, as the API server does.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use naru_agent::{ApiRequest, Client, FailureKind, Host, Request, Response, Stop, serve};
use naru_pki::{Authority, CertificateFacts, Profile, Purpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const DEADLINE: Duration = Duration::from_secs(20);

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let profile = Profile {
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        alternative_names: vec!["127.0.0.1".to_owned()],
        purposes: vec![Purpose::Server],
        validity: Duration::from_secs(3600),
    };
    let (certificate, key) = authority.issue(&profile).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers who asked for what.
async fn answer(who: String, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let kind = parts.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let text = format!("{who} {} {} [{kind}] {body}", parts.method, parts.uri);
    Ok(hyper::Response::builder().status(201).body(Full::new(text.into())).unwrap())
}

async fn server(authority: &Authority) -> u16 {
    let acceptor = acceptor(authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let der = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            let facts = CertificateFacts::from_der(&der).unwrap();
            let who = format!("{}/{}", facts.common_name, facts.organizations.join(","));
            let service = service_fn(move |request| answer(who.clone(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

#[tokio::test]
async fn an_administrator_asks_and_a_silent_server_is_worth_another_try() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::below(folder.path(), Vec::new());
    let authority = Authority::generate("naru", 10).unwrap();
    let port = server(&authority).await;
    fs_err::create_dir_all(host.path("/etc/naru/pki")).unwrap();
    fs_err::write(host.path("/etc/naru/pki/ca.crt"), authority.certificate_pem()).unwrap();
    fs_err::write(host.path("/etc/naru/pki/ca.key"), authority.key().to_pem().as_bytes()).unwrap();
    let configure = |port: u16| {
        let yaml = format!("apiVersion: naru.dev/v1alpha1\nkind: ControlPlaneConfiguration\nname: cp1\nport: {port}\n");
        fs_err::write(host.path("/etc/naru/control-plane.yaml"), yaml).unwrap();
    };
    configure(port);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(serve(reader, writer, host.clone(), Stop::default()));
    let (reader, writer) = tokio::io::split(near);
    let mut client = Client::new(reader, writer);
    let request = Request::Api(ApiRequest {
        method: "PATCH".to_owned(),
        path: "/api/v1/nodes/w1?fieldManager=naru".to_owned(),
        content_type: "application/merge-patch+json".to_owned(),
        body: "{}".to_owned(),
        timeout_ms: 5000,
    });
    for _ in 0..2 {
        let Response::Api(response) = client.call(&request, DEADLINE).await.unwrap() else { panic!() };
        assert_eq!(response.status, 201);
        assert_eq!(
            response.body,
            "naru:admin/system:masters PATCH /api/v1/nodes/w1?fieldManager=naru [application/merge-patch+json] {}"
        );
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    configure(closed);
    let Response::Failed(failure) = client.call(&request, DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(failure.kind, FailureKind::Transient);
}

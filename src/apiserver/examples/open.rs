//! An API server without permissions, on loopback, for trying clients against it: `open DIRECTORY PORT [CA CERT KEY]`.

use std::path::Path;
use std::sync::Arc;

use naru_apiserver::chain::{Admission, AdmissionRequest, Authenticator, Authorizer, Computed, RequestInfo, UserInfo};
use naru_apiserver::{ApiError, Catalog, Config, Objects, tls};
use naru_store::{EmbeddedStore, Options};
use serde_json::Value;

struct Open;

impl Authenticator for Open {
    fn authenticate(&self, _: &http::HeaderMap, _: Option<&[u8]>) -> Result<Option<UserInfo>, ApiError> {
        Ok(None)
    }
}

impl Authorizer for Open {
    fn authorize(&self, _: &UserInfo, _: &RequestInfo) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Admission for Open {
    fn admit(&self, _: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn settled(&self, _: &naru_api::Resource, _: &Value, _: bool) {}
}

impl Computed for Open {
    fn create(&self, _: &UserInfo, _: &RequestInfo, object: Value) -> Result<Value, ApiError> {
        Ok(object)
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| "a crypto provider is set already")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, port, rest @ ..] = arguments.as_slice() else {
        return Err("open DIRECTORY PORT [CA CERT KEY]".into());
    };
    let catalog = Catalog::new(naru_api::table());
    let store = EmbeddedStore::open(&Options::new(directory), &catalog.indexer())?;
    let server = Config {
        objects: Objects::new(Arc::new(store), catalog),
        authenticator: Arc::new(Open),
        authorizer: Arc::new(Open),
        admission: Arc::new(Open),
        computed: Arc::new(Open),
        kubelet: None,
        advertised: format!("127.0.0.1:{port}"),
        documents: Vec::new(),
    }
    .build();
    let config = match rest {
        [authority, certificate, key] => {
            let identity = tls::Identity { certificate: Path::new(certificate), key: Path::new(key) };
            Some(tls::server(Path::new(authority), &identity)?)
        }
        _ => None,
    };
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    server.serve(listener, config, stop).await;
    Ok(())
}

//! The handler chain: what is asked, by whom, may they, and then the registry.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::chain::{Admission, Authenticator, Authorizer, Computed, RequestInfo, UserInfo};
use crate::kubelet::{self, KubeletAccess};
use crate::registry::objects::Objects;
use crate::registry::{Call, Registry};
use crate::status::ApiError;
use crate::web::accept::Output;
use crate::web::query::Query;
use crate::web::server::ClientCertificate;
use crate::web::{self, Body, BoxError, Outcome, body, failure, request_info};
use crate::{documents, metrics};

/// Everything that an API server is put together from.
pub struct Config {
    pub objects: Arc<Objects>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Arc<dyn Admission>,
    pub computed: Arc<dyn Computed>,
    /// Without it, logs and exec are answered with 503.
    pub kubelet: Option<KubeletAccess>,
    /// `address:port` as clients reach this server, for discovery.
    pub advertised: String,
    /// Documents at fixed paths (OpenID configuration and keys).
    pub documents: Vec<(String, Value)>,
}

impl Config {
    pub fn build(self) -> ApiServer {
        let registry = Registry { objects: self.objects, admission: self.admission, computed: self.computed };
        ApiServer {
            inner: Arc::new(Inner {
                registry,
                authenticator: self.authenticator,
                authorizer: self.authorizer,
                kubelet: self.kubelet,
                advertised: self.advertised,
                documents: self.documents,
                metrics: metrics::Metrics::default(),
                ready: std::sync::atomic::AtomicBool::new(true),
            }),
        }
    }
}

pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A handle; cloning it is cheap.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    kubelet: Option<KubeletAccess>,
    advertised: String,
    documents: Vec<(String, Value)>,
    metrics: metrics::Metrics,
    ready: std::sync::atomic::AtomicBool,
}

impl ApiServer {
    /// Serves connections until `shutdown` resolves. Without TLS only for tests on loopback.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let shutdown = async {
            shutdown.await;
            // A watch would hold its connection until its own end.
            self.inner.registry.objects.end_watches();
        };
        web::server::serve(self.clone(), listener, tls, shutdown).await;
    }

    /// One request through the whole chain but authentication, for members of this process.
    pub async fn handle_as<B>(&self, user: UserInfo, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.answer(Some(user), request, None).await
    }

    /// Whether `/readyz` says ok. True from the start; set it false while bootstrap objects are still missing.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, std::sync::atomic::Ordering::Release);
    }

    /// Boxed, so that connections have one small future type for every request.
    pub(crate) fn handle(self, request: Request<Body>, upgrade: Option<OnUpgrade>) -> ResponseFuture {
        Box::pin(async move { self.answer(None, request, upgrade).await })
    }

    async fn answer(
        &self,
        user: Option<UserInfo>,
        request: Request<Body>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Body> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = request_info::parse(request.method(), request.uri(), &query);
        let head = request.method() == Method::HEAD;
        let verb = info.verb.clone();
        let outcome = self.inner.respond(user, info, query, request, upgrade).await;
        let mut response = outcome.unwrap_or_else(|error| failure(&error));
        self.inner.metrics.count(&verb, response.status());
        if head {
            *response.body_mut() = web::full(Bytes::new());
        }
        response
    }
}

impl Inner {
    async fn respond(
        &self,
        user: Option<UserInfo>,
        info: RequestInfo,
        query: Query,
        request: Request<Body>,
        upgrade: Option<OnUpgrade>,
    ) -> Outcome {
        if let Some(response) = self.health(&info, &query) {
            return Ok(response);
        }
        let user = match user {
            Some(user) => user,
            None => self.authenticate(&request)?,
        };
        self.authorizer.authorize(&user, &info)?;
        let (parts, body) = request.into_parts();
        if !info.is_resource {
            return self.document(&info, &parts.headers);
        }
        // Exec and its kin carry no object; their Accept header may be anything.
        let output = match info.subresource.as_str() {
            "log" | "exec" | "attach" | "portforward" | "proxy" => Output::JSON,
            _ => Output::negotiate(&parts.headers)?,
        };
        let call = Call { info, user, query, parts, output };
        if kubelet::is_proxied(&call) {
            let body = if upgrade.is_some() { Bytes::new() } else { body::read(body).await? };
            return kubelet::proxy(self.kubelet.as_ref(), &self.registry, &call, body, upgrade).await;
        }
        let work = async {
            let body = body::read(body).await?;
            self.registry.serve(&call, body).await
        };
        // Watches are only set up here; their body streams afterwards.
        let limit = self.registry.objects.settings.request_timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("request did not complete within the allotted {} s", limit.as_secs());
                Err(ApiError::new(504, "Timeout", text))
            }
        }
    }

    fn authenticate(&self, request: &Request<Body>) -> Result<UserInfo, ApiError> {
        let certificate = request.extensions().get::<ClientCertificate>();
        let shown = certificate.map(|certificate| certificate.0.as_ref());
        let user = self.authenticator.authenticate(request.headers(), shown)?;
        Ok(user.unwrap_or_else(|| UserInfo {
            username: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..UserInfo::default()
        }))
    }

    /// Health needs no permission: load balancers and the provisioner ask before they have any.
    fn health(&self, info: &RequestInfo, query: &Query) -> Option<Response<Body>> {
        let name =
            ["healthz", "livez", "readyz"].into_iter().find(|name| info.path.strip_prefix('/') == Some(*name))?;
        let bootstrapped = self.ready.load(std::sync::atomic::Ordering::Acquire);
        // A store that takes no writes still answers reads, so the process lives; it is not ready.
        let checks = [
            ("ping", true),
            ("store", name == "livez" || self.registry.objects.store.health().is_ok()),
            ("bootstrap", name != "readyz" || bootstrapped),
        ];
        let is_well = checks.iter().all(|(_, passed)| *passed);
        let code = if is_well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        if is_well && !query.has("verbose") {
            return Some(web::text(code, "ok"));
        }
        let line = |(check, passed): &(&str, bool)| match passed {
            true => format!("[+]{check} ok\n"),
            // Why is for the log: this answer needs no permission.
            false => format!("[-]{check} failed: reason withheld\n"),
        };
        let lines: String = checks.iter().map(line).collect();
        Some(web::text(code, format!("{lines}{name} check {}\n", if is_well { "passed" } else { "failed" })))
    }

    fn document(&self, info: &RequestInfo, headers: &http::HeaderMap) -> Outcome {
        if !matches!(info.verb.as_str(), "get" | "head") {
            return Err(ApiError::unknown_path());
        }
        if let Some((_, document)) = self.documents.iter().find(|(path, _)| *path == info.path) {
            return Ok(web::json(StatusCode::OK, document));
        }
        if info.path == "/metrics" {
            return Ok(web::text(StatusCode::OK, self.metrics.render(&self.registry.objects)));
        }
        documents::serve(&info.path, headers, &self.advertised)
    }
}

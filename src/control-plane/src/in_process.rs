//! Clients inside this process: the whole handler chain without a socket, each under its own identity.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use naru_apiserver::bootstrap::ObjectWriter;
use naru_apiserver::{ApiError, ApiServer, UserInfo};
use serde_json::Value;

/// Largest answer that bootstrap reads.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A client that acts as `username`.
pub(crate) fn client(server: &ApiServer, username: &str) -> kube::Client {
    let server = server.clone();
    let user = identity(username, &["system:authenticated"]);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (server, user) = (server.clone(), user.clone());
        async move { Ok::<_, Infallible>(server.handle_as(user, request).await) }
    });
    kube::Client::new(service, "default")
}

fn identity(username: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    UserInfo { username: username.to_owned(), groups, ..UserInfo::default() }
}

/// Writes the first objects, with all rights.
pub(crate) struct Bootstrapper {
    server: ApiServer,
}

impl Bootstrapper {
    pub(crate) fn new(server: ApiServer) -> Self {
        Self { server }
    }

    async fn send(&self, method: Method, path: String, body: Option<Value>) -> Result<Value, ApiError> {
        let internal = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .map_err(|error| internal(&error))?;
        let user = identity("system:apiserver", &["system:masters", "system:authenticated"]);
        let response = self.server.handle_as(user, request).await;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| internal(&error))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(ApiError::internal("an answer to bootstrap is too large"));
            }
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| internal(&error))?;
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.get("message").and_then(Value::as_str).unwrap_or("no message");
        Err(ApiError::new(status.as_u16(), reason(status.as_u16()), message))
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        409 => "Conflict",
        404 => "NotFound",
        403 => "Forbidden",
        422 => "Invalid",
        _ => "InternalError",
    }
}

impl ObjectWriter for Bootstrapper {
    fn request<'a>(
        &'a self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>> {
        Box::pin(self.send(method, path, body))
    }
}

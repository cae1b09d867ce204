//! Image presence by pull policy, with back-off, and the credentials of pull secrets.

use std::time::Instant;

use base64::Engine;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::Context;
use crate::cri::CriError;
use crate::events::Kind;
use crate::pod::{PodExt, field_path, spec};
use crate::worker::Backoff;

/// Why a container waits for its image: the reason of its waiting state, and the message.
#[derive(Debug, Clone)]
pub(crate) struct ImageProblem {
    pub reason: &'static str,
    pub message: String,
}

impl ImageProblem {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// Docker's rule: no tag or digest means `latest`, and `latest` is always pulled.
fn default_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    if !image.contains('@') && (!name.contains(':') || name.ends_with(":latest")) { "Always" } else { "IfNotPresent" }
}

/// The image, pulled if the policy wants so.
pub(crate) async fn ensure(
    context: &Context,
    pod: &Pod,
    container: &Container,
    backoff: &mut Backoff,
) -> Result<cri::Image, ImageProblem> {
    let reference = container.image.as_deref().unwrap_or_default();
    let field = field_path(pod, &container.name);
    let inspect = |error: CriError| ImageProblem::new("ImageInspectError", error.message());
    let present = context.runtime.image(reference).await.map_err(inspect)?;
    let policy = container.image_pull_policy.as_deref().unwrap_or_else(|| default_policy(reference));
    match (policy, present) {
        ("Never" | "IfNotPresent", Some(image)) => {
            if backoff.remaining(Instant::now()).is_none() {
                let message = format!("Container image \"{reference}\" already present on machine");
                context.events.container(pod, &field, Kind::Normal, "Pulled", message);
            }
            Ok(image)
        }
        ("Never", None) => {
            let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
            context.events.container(pod, &field, Kind::Warning, "ErrImageNeverPull", message.clone());
            Err(ImageProblem::new("ErrImageNeverPull", message))
        }
        _ => pull(context, pod, container, reference, backoff).await,
    }
}

async fn pull(
    context: &Context,
    pod: &Pod,
    container: &Container,
    reference: &str,
    backoff: &mut Backoff,
) -> Result<cri::Image, ImageProblem> {
    let field = field_path(pod, &container.name);
    if backoff.remaining(Instant::now()).is_some() {
        let message = format!("Back-off pulling image \"{reference}\"");
        context.events.container(pod, &field, Kind::Normal, "BackOff", message.clone());
        return Err(ImageProblem::new("ImagePullBackOff", message));
    }
    context.events.container(pod, &field, Kind::Normal, "Pulling", format!("Pulling image \"{reference}\""));
    let started = Instant::now();
    let mut candidates = credentials(context, pod, reference).await;
    // Without credentials last: a public image needs none, and a private one was tried with them before.
    candidates.push(None);
    let mut failure = String::new();
    for auth in candidates {
        match context.runtime.pull(reference, auth).await {
            Ok(_) => {
                let image = context.runtime.image(reference).await;
                let image = image.map_err(|error| ImageProblem::new("ImageInspectError", error.message()))?;
                let Some(image) = image else {
                    return Err(ImageProblem::new("ErrImagePull", format!("{reference} is missing after its pull")));
                };
                let message =
                    format!("Successfully pulled image \"{reference}\" in {:.3}s", started.elapsed().as_secs_f64());
                context.events.container(pod, &field, Kind::Normal, "Pulled", message);
                return Ok(image);
            }
            Err(error) => failure = error.message(),
        }
    }
    backoff.bump(Instant::now());
    let message = format!("Failed to pull image \"{reference}\": {failure}");
    context.events.container(pod, &field, Kind::Warning, "Failed", message);
    context.events.container(pod, &field, Kind::Warning, "Failed", "Error: ErrImagePull".into());
    Err(ImageProblem::new("ErrImagePull", failure))
}

/// The registry part of an image name.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

async fn credentials(context: &Context, pod: &Pod, reference: &str) -> Vec<Option<cri::AuthConfig>> {
    let mut found = Vec::new();
    for secret in spec(pod).image_pull_secrets.iter().flatten() {
        match context.objects.secret(pod.namespace(), &secret.name).await {
            Ok(secret) => {
                let data = secret.data.as_ref();
                let json = data.and_then(|data| data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")));
                found.extend(json.and_then(|json| docker_auth(&json.0, registry(reference))).map(Some));
            }
            Err(error) => tracing::warn!(%error, pod = pod.name(), "pull secret not usable"),
        }
    }
    found
}

fn docker_auth(json: &[u8], registry: &str) -> Option<cri::AuthConfig> {
    let document: serde_json::Value = serde_json::from_slice(json).ok()?;
    let entries = document.get("auths").unwrap_or(&document).as_object()?;
    let (_, entry) = entries.iter().find(|(server, _)| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        host == registry || (registry == "docker.io" && host == "index.docker.io")
    })?;
    let text = |name: &str| entry.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty()
        && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(text("auth"))
        && let Some((user, pass)) = String::from_utf8_lossy(&decoded).split_once(':')
    {
        (username, password) = (user.to_owned(), pass.to_owned());
    }
    Some(cri::AuthConfig { username, password, identity_token: text("identitytoken"), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_docker_credentials() {
        let json = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}, "r.example:5000":{"username":"a","password":"b"}}}"#;
        let auth = docker_auth(json, registry("nginx")).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
        let auth = docker_auth(json, registry("r.example:5000/x/y:1")).unwrap();
        assert_eq!(auth.username, "a");
        assert!(docker_auth(json, "other").is_none());
    }

    #[test]
    fn policy_by_tag() {
        assert_eq!(default_policy("a.example:5000/x"), "Always");
        assert_eq!(default_policy("x:latest"), "Always");
        assert_eq!(default_policy("naru.dev/web:1"), "IfNotPresent");
    }
}

//! Documents that describe the API: version, discovery in both forms, OpenAPI.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use naru_api::discovery::{self, AggregatedVersion};
use serde_json::{Value, json};

use crate::web::{self, Outcome, full, respond};
use crate::status::ApiError;

pub const GIT_VERSION: &str = "v1.36.0+naru";

pub(crate) fn serve(path: &str, headers: &HeaderMap, advertised: &str) -> Outcome {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => ok(&root()),
        ["version"] => ok(&version()),
        ["api"] => match aggregated(headers) {
            Some(version) => Ok(aggregated_response(version, &discovery::aggregated_core(version))),
            None => ok(&discovery::api_versions(advertised)),
        },
        ["apis"] => match aggregated(headers) {
            Some(version) => Ok(aggregated_response(version, &discovery::aggregated_groups(version))),
            None => ok(&discovery::api_group_list()),
        },
        ["api", version] => found(discovery::api_resource_list("", version)),
        ["apis", group] => found(discovery::api_group(group)),
        ["apis", group, version] => found(discovery::api_resource_list(group, version)),
        _ => Err(ApiError::unknown_path()),
    }
}

fn ok(document: &Value) -> Outcome {
    Ok(web::json(StatusCode::OK, document))
}

fn found(document: Option<Value>) -> Outcome {
    ok(&document.ok_or_else(ApiError::unknown_path)?)
}

fn aggregated_response(version: AggregatedVersion, document: &Value) -> http::Response<web::Body> {
    respond(StatusCode::OK, version.content_type(), full(web::encode(document)))
}

/// The aggregated form that the client asks for before any other, if it does.
fn aggregated(headers: &HeaderMap) -> Option<AggregatedVersion> {
    let accept = headers.get(ACCEPT)?.to_str().ok()?;
    for offer in accept.split(',') {
        if offer.contains("as=APIGroupDiscoveryList") && offer.contains("application/json") {
            if offer.contains("v=v2beta1") {
                return Some(AggregatedVersion::V2Beta1);
            }
            if offer.contains("v=v2") {
                return Some(AggregatedVersion::V2);
            }
        } else if offer.trim().starts_with("application/json") {
            return None;
        }
    }
    None
}

fn root() -> Value {
    let groups = naru_api::groups();
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in groups.iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    json!({"paths": paths})
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "rust", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

//! Documents that describe the API: version, discovery in both forms, OpenAPI.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use naru_api::discovery::{self, AggregatedVersion};
use naru_openapi::Document;
use serde_json::{Value, json};

use crate::status::ApiError;
use crate::web::{self, Body, Outcome, full, respond};

const PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

pub const GIT_VERSION: &str = "v1.36.0+naru";

pub(crate) fn serve(path: &str, headers: &HeaderMap, advertised: &str) -> Outcome {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => ok(&root()),
        ["version"] => ok(&version()),
        ["openapi", "v2"] => Ok(version_2(headers)),
        ["openapi", "v3"] => ok(&naru_openapi::version_3_index()),
        ["openapi", "v3", rest @ ..] => {
            let document = naru_openapi::version_3(&rest.join("/")).ok_or_else(ApiError::unknown_path)?;
            Ok(compressed(headers, "application/json", &document))
        }
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

fn aggregated_response(version: AggregatedVersion, document: &Value) -> Response<Body> {
    respond(StatusCode::OK, version.content_type(), full(web::encode(document)))
}

/// The gnostic protobuf form is what kubectl before 1.27 and helm ask for; each name of it is answered with the same.
fn version_2(headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match accept.contains("proto-openapi.spec.v2") {
        true => compressed(headers, PROTOBUF_TYPE, &naru_openapi::version_2_protobuf()),
        false => compressed(headers, "application/json", &naru_openapi::version_2_json()),
    }
}

/// The document as it lies in the program, unless the client cannot read gzip. 304 if it has it already.
fn compressed(headers: &HeaderMap, content_type: &'static str, document: &Document) -> Response<Body> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let etag = format!("\"{}\"", document.etag());
    let mut response = if text(IF_NONE_MATCH).contains(&etag) {
        respond(StatusCode::NOT_MODIFIED, content_type, full(Vec::new()))
    } else if text(ACCEPT_ENCODING).contains("gzip") {
        let mut response = respond(StatusCode::OK, content_type, full(Bytes::from_static(document.gzip)));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        respond(StatusCode::OK, content_type, full(document.plain()))
    };
    let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits in quotes");
    response.headers_mut().insert(ETAG, etag);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    response
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
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned),
    );
    json!({"paths": paths})
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "rust", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

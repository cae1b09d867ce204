//! Request bodies: bounded, then decoded from JSON, YAML or protobuf.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::status::ApiError;
use crate::web::{Body, protobuf};

pub(crate) const BODY_BYTES_MAX: usize = 3 << 20;
/// Deepest nesting of a decoded document is bounded by the JSON library's own recursion limit (128).
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

pub(crate) async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| ApiError::bad_request(format!("the request body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > BODY_BYTES_MAX {
            let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            return Err(ApiError::new(413, "RequestEntityTooLarge", text));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// An object as sent to create or update.
pub(crate) fn object(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    let media = media_type(headers);
    let value = match media {
        "" | "application/json" => json(bytes)?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(bytes)?,
        protobuf::MEDIA_TYPE => protobuf::decode(bytes)
            .map_err(|error| ApiError::bad_request(format!("the object provided could not be decoded: {error}")))?,
        other => {
            let text = format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: {ACCEPTED}"
            );
            return Err(ApiError::unsupported_media_type(text));
        }
    };
    match value.is_object() {
        true => Ok(value),
        false => Err(ApiError::bad_request("the request body is not an object")),
    }
}

/// The body of a DELETE, which is often empty.
pub(crate) fn delete_options(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) { Ok(Value::Null) } else { object(headers, bytes) }
}

pub(crate) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the object provided could not be decoded: {error}")))
}

fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("the request body is not UTF-8"))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("yaml: the object provided could not be decoded: {error}")))
}

//! Patches: JSON (RFC 6902), merge (RFC 7386) and strategic merge.

use bytes::Bytes;
use http::StatusCode;
use naru_api::patch::{self, PatchError};
use naru_api::{FieldError, Resource};
use serde_json::Value;

use crate::registry::modify::Part;
use crate::registry::{Call, Registry, Target};
use crate::status::ApiError;
use crate::web::{Outcome, body};

const ACCEPTED: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
}

/// A patch that has been read but not yet applied.
pub(crate) struct Patch {
    kind: Kind,
    content: Value,
}

impl Patch {
    pub(crate) fn read(call: &Call, bytes: &[u8]) -> Result<Self, ApiError> {
        let kind = match body::media_type(&call.parts.headers) {
            "application/json-patch+json" => Kind::Json,
            "application/merge-patch+json" => Kind::Merge,
            "application/strategic-merge-patch+json" => Kind::Strategic,
            _ => {
                let text = format!(
                    "the body of the request was in an unknown format - accepted media types include: {ACCEPTED}"
                );
                return Err(ApiError::unsupported_media_type(text));
            }
        };
        Ok(Self { kind, content: body::json(bytes)? })
    }

    pub(crate) fn apply(&self, row: &Resource, name: &str, object: &Value) -> Result<Value, ApiError> {
        let result = match self.kind {
            Kind::Json => patch::json_patch(object, &self.content),
            Kind::Merge => patch::merge_patch(object, &self.content),
            Kind::Strategic => patch::strategic_merge_patch(row, object, &self.content),
        };
        let patched = result.map_err(|error| failure(row, name, &error))?;
        if !patched.is_object() {
            return Err(ApiError::bad_request("the patched object is not a map"));
        }
        Ok(patched)
    }
}

fn failure(row: &Resource, name: &str, error: &PatchError) -> ApiError {
    match error.status_code() {
        422 => {
            let errors = [FieldError::invalid("patch", &Value::String(error.to_string()), "cannot be applied")];
            let mut failure = ApiError::invalid(row, name, &errors);
            failure.message = error.to_string();
            failure
        }
        413 => ApiError::new(413, "RequestEntityTooLarge", error.to_string()),
        _ => ApiError::bad_request(error.to_string()),
    }
}

impl Registry {
    pub(crate) async fn patch(&self, call: &Call, target: &Target<'_>, part: Part, bytes: &Bytes) -> Outcome {
        let row = target.row;
        let patch = Patch::read(call, bytes)?;
        let dry_run = call.query.dry_run()?;
        let warnings = parking_lot::Mutex::new(Vec::new());
        let change = |old: &Value| {
            let new = patch.apply(row, target.name, old)?;
            *warnings.lock() = self.check_fields(call, row, &new)?;
            for (field, expected) in [("kind", row.kind.to_owned()), ("apiVersion", row.api_version())] {
                if new[field].as_str() != Some(expected.as_str()) {
                    return Err(ApiError::bad_request(format!("a patch cannot change {field} to {}", new[field])));
                }
            }
            Ok(new)
        };
        let saved = self.modify(call, target, part, dry_run, &change).await?;
        let outcome = self.respond_saved(call, row, saved, StatusCode::OK);
        Self::warned(outcome, &warnings.into_inner())
    }
}

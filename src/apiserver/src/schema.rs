//! What the kinds' schemas say of an object that a client has sent.

use naru_api::Resource;
use naru_openapi::Findings;
use serde_json::Value;

use crate::status::ApiError;

/// Paths of fields that the kind's schema does not know. A value of the wrong type is an error at once, as no typed
/// program could read the object back.
pub(crate) fn unknown_fields(row: &Resource, object: &Value) -> Result<Vec<String>, ApiError> {
    findings(row, object).map(|findings| findings.unknown)
}

/// Only that: no value has the wrong type.
pub(crate) fn check_types(row: &Resource, object: &Value) -> Result<(), ApiError> {
    findings(row, object).map(drop)
}

fn findings(row: &Resource, object: &Value) -> Result<Findings, ApiError> {
    let findings = naru_openapi::check(row.group, row.version, row.kind, object).unwrap_or_default();
    if let Some(mistyped) = findings.mistyped.first() {
        let (kind, version) = (row.kind, row.version);
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {mistyped}"
        )));
    }
    Ok(findings)
}

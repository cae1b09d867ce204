//! Where other crates' knowledge of schemas comes in.

use naru_api::Resource;
use serde_json::Value;

/// Paths of fields that the kind's schema does not know.
pub(crate) fn unknown_fields(_row: &Resource, _object: &Value) -> Vec<String> {
    Vec::new()
}

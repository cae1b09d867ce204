//! The three patch forms that turn an object into another: JSON patch, JSON merge patch, strategic merge patch.

mod strategic;
mod strategy;
mod types;

pub use strategic::strategic_merge_patch;
pub use strategy::{FieldStrategy, ListType, Patch, is_atomic_type, strategy, type_name};

use serde_json::Value;

/// More operations in one JSON patch are refused.
const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Why a patch does not apply; the texts go to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not what it should be (400).
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object (422).
    #[error("{0}")]
    Unprocessable(String),
    /// The patch has too many operations (413).
    #[error("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {0}")]
    TooLarge(usize),
}

impl PatchError {
    /// The HTTP status that tells of it.
    pub fn status_code(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unprocessable(_) => 422,
            Self::TooLarge(_) => 413,
        }
    }
}

/// `application/json-patch+json`.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = patch.as_array().map_or(0, Vec::len);
    if operations > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooLarge(operations));
    }
    let parsed: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let mut result = object.clone();
    json_patch::patch(&mut result, &parsed).map_err(|error| {
        let operation = &patch[error.operation];
        let path = error.path.to_string();
        PatchError::Unprocessable(match (operation["op"].as_str().unwrap_or_default(), &error.kind) {
            ("test", _) => format!("testing value {path} failed: test failed"),
            ("add", _) => format!("add operation does not apply: doc is missing path: \"{path}\": missing value"),
            (name, _) => format!("{name} operation does not apply: doc is missing key: {path}: missing value"),
        })
    })?;
    Ok(result)
}

/// `application/merge-patch+json`.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("error decoding patch: a merge patch must be a JSON object".to_owned()));
    }
    let mut result = object.clone();
    json_patch::merge(&mut result, patch);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_patches() {
        let object = json!({"a": {"b": 1}, "l": [1, 2]});
        let patch = json!([{"op": "test", "path": "/a/b", "value": 1}, {"op": "add", "path": "/l/-", "value": 3},
            {"op": "remove", "path": "/a/b"}]);
        assert_eq!(json_patch(&object, &patch), Ok(json!({"a": {}, "l": [1, 2, 3]})));
        let error = json_patch(&object, &json!([{"op": "remove", "path": "/x"}])).unwrap_err();
        assert_eq!(error.status_code(), 422);
        assert_eq!(error.to_string(), "remove operation does not apply: doc is missing key: /x: missing value");
        let error = json_patch(&object, &json!([{"op": "test", "path": "/a/b", "value": 2}])).unwrap_err();
        assert_eq!(error.to_string(), "testing value /a/b failed: test failed");
        assert_eq!(json_patch(&object, &json!({"op": "remove"})).unwrap_err().status_code(), 400);
        assert_eq!(json_patch(&object, &json!([{"op": "fly", "path": "/a"}])).unwrap_err().status_code(), 400);
    }

    #[test]
    fn merge_patches() {
        let object = json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [1]});
        let patch = json!({"a": null, "b": {"c": null, "e": 4}, "l": [2]});
        assert_eq!(merge_patch(&object, &patch), Ok(json!({"b": {"d": 3, "e": 4}, "l": [2]})));
        assert_eq!(merge_patch(&object, &json!([1])).unwrap_err().status_code(), 400);
    }
}

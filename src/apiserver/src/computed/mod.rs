//! Kinds that are answered, never stored: access reviews, token reviews, token requests.

mod access;
mod identity;
mod token_request;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::authentication::TokenAuthority;
use crate::authorization::Rbac;
use crate::chain::{Computed, ObjectReader, RequestInfo, UserInfo};
use crate::status::ApiError;

/// Answers all computed kinds.
pub struct Reviews {
    rbac: Arc<Rbac>,
    tokens: Arc<TokenAuthority>,
    reader: Arc<dyn ObjectReader>,
}

impl Reviews {
    pub fn new(rbac: Arc<Rbac>, tokens: Arc<TokenAuthority>, reader: Arc<dyn ObjectReader>) -> Self {
        Self { rbac, tokens, reader }
    }
}

impl Computed for Reviews {
    fn create(&self, user: &UserInfo, info: &RequestInfo, object: Value) -> Result<Value, ApiError> {
        let mut answer = match (info.api_group.as_str(), info.resource.as_str(), info.subresource.as_str()) {
            ("authorization.k8s.io", "subjectaccessreviews", "") => self.subject_access(object),
            ("authorization.k8s.io", "localsubjectaccessreviews", "") => {
                self.local_subject_access(&info.namespace, object)
            }
            ("authorization.k8s.io", "selfsubjectaccessreviews", "") => self.self_subject_access(user, object),
            ("authorization.k8s.io", "selfsubjectrulesreviews", "") => self.self_subject_rules(user, object),
            ("authentication.k8s.io", "selfsubjectreviews", "") => Ok(identity::self_subject(user, object)),
            ("authentication.k8s.io", "tokenreviews", "") => identity::token_review(&self.tokens, object),
            ("", "serviceaccounts", "token") => self.token_request(user, info, object),
            _ => Err(ApiError::unknown_path()),
        }?;
        if let Some(metadata) = answer.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry("creationTimestamp").or_insert(Value::Null);
        } else {
            answer["metadata"] = json!({"creationTimestamp": null});
        }
        Ok(answer)
    }
}

/// The 422 of a computed kind, which has no row strategy to make it.
fn invalid(group: &str, kind: &str, name: &str, field: &str, reason: &str, message: &str) -> ApiError {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let mut error = ApiError::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {field}: {message}"));
    let mut details = json!({
        "name": name, "kind": kind, "causes": [{"reason": reason, "message": message, "field": field}],
    });
    if !group.is_empty() {
        details["group"] = json!(group);
    }
    error.details = Some(details);
    error
}

#[cfg(test)]
mod tests;

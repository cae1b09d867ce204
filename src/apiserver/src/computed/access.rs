//! SubjectAccessReview and its family.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Reviews, invalid};
use crate::admission::fields::{text, texts};
use crate::authorization::Rule;
use crate::chain::{RequestInfo, UserInfo};
use crate::status::ApiError;

const GROUP: &str = "authorization.k8s.io";

impl Reviews {
    pub(super) fn subject_access(&self, mut object: Value) -> Result<Value, ApiError> {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let asked = asked_request("SubjectAccessReview", &spec)?;
        let user = asked_user("SubjectAccessReview", &spec)?;
        object["status"] = self.answer(&user, &asked);
        Ok(object)
    }

    pub(super) fn local_subject_access(&self, namespace: &str, mut object: Value) -> Result<Value, ApiError> {
        let spec = object.get("spec").cloned().unwrap_or_default();
        if spec.get("resourceAttributes").is_none_or(Value::is_null) {
            let field = "spec.nonResourceAttributes";
            let message = "Invalid value: disallowed on this kind of request";
            return Err(invalid(GROUP, "LocalSubjectAccessReview", "", field, "FieldValueInvalid", message));
        }
        let asked = asked_request("LocalSubjectAccessReview", &spec)?;
        if asked.namespace != namespace {
            return Err(ApiError::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {namespace}"
            )));
        }
        let user = asked_user("LocalSubjectAccessReview", &spec)?;
        object["status"] = self.answer(&user, &asked);
        Ok(object)
    }

    pub(super) fn self_subject_access(&self, user: &UserInfo, mut object: Value) -> Result<Value, ApiError> {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let asked = asked_request("SelfSubjectAccessReview", &spec)?;
        object["status"] = self.answer(user, &asked);
        Ok(object)
    }

    pub(super) fn self_subject_rules(&self, user: &UserInfo, mut object: Value) -> Result<Value, ApiError> {
        let namespace = text(&object, "/spec/namespace").to_owned();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let (rules, missing) = self.rbac.policy().rules_for(user, &namespace);
        let (of_paths, of_resources): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
        let paths: Vec<Value> = of_paths
            .iter()
            .map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}))
            .collect();
        object["status"] = json!({
            "resourceRules": of_resources,
            "nonResourceRules": paths,
            "incomplete": !missing.is_empty(),
        });
        if !missing.is_empty() {
            object["status"]["evaluationError"] = json!(missing.join(", "));
        }
        Ok(object)
    }

    fn answer(&self, user: &UserInfo, asked: &RequestInfo) -> Value {
        let decision = self.rbac.decide(user, asked);
        let mut status = json!({"allowed": decision.allowed});
        if !decision.reason.is_empty() {
            status["reason"] = json!(decision.reason);
        }
        status
    }
}

fn asked_request(kind: &str, spec: &Value) -> Result<RequestInfo, ApiError> {
    let present = |key: &str| spec.get(key).filter(|value| !value.is_null());
    match (present("resourceAttributes"), present("nonResourceAttributes")) {
        (Some(attributes), None) => Ok(RequestInfo {
            is_resource: true,
            path: String::new(),
            verb: text(attributes, "/verb").to_owned(),
            api_group: text(attributes, "/group").to_owned(),
            api_version: text(attributes, "/version").to_owned(),
            namespace: text(attributes, "/namespace").to_owned(),
            resource: text(attributes, "/resource").to_owned(),
            subresource: text(attributes, "/subresource").to_owned(),
            name: text(attributes, "/name").to_owned(),
        }),
        (None, Some(attributes)) => Ok(RequestInfo {
            path: text(attributes, "/path").to_owned(),
            verb: text(attributes, "/verb").to_owned(),
            ..RequestInfo::default()
        }),
        (Some(_), Some(_)) => {
            let message = "Invalid value: cannot be specified in combination with resourceAttributes";
            Err(invalid(GROUP, kind, "", "spec.nonResourceAttributes", "FieldValueInvalid", message))
        }
        (None, None) => {
            let message =
                "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(invalid(GROUP, kind, "", "spec.resourceAttributes", "FieldValueInvalid", message))
        }
    }
}

fn asked_user(kind: &str, spec: &Value) -> Result<UserInfo, ApiError> {
    let (username, groups) = (text(spec, "/user").to_owned(), texts(spec, "/groups"));
    if username.is_empty() && groups.is_empty() {
        let message = "Invalid value: \"\": at least one of user or group must be specified";
        return Err(invalid(GROUP, kind, "", "spec.user", "FieldValueInvalid", message));
    }
    let extra = spec.get("extra").and_then(Value::as_object);
    let extra: BTreeMap<String, Vec<String>> =
        extra.into_iter().flatten().map(|(key, values)| (key.to_lowercase(), texts(values, ""))).collect();
    Ok(UserInfo { username, uid: text(spec, "/uid").to_owned(), groups, extra })
}

//! `serviceaccounts/token`: tokens for pods and for whoever may ask.

use serde_json::{Value, json};

use super::{Reviews, invalid};
use crate::admission::fields::{text, texts};
use crate::authentication::{BoundObject, Issue};
use crate::chain::{RequestInfo, UserInfo};
use crate::status::ApiError;

const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
const MIN_EXPIRATION_SECONDS: i64 = 600;
const MAX_EXPIRATION_SECONDS: i64 = 1 << 32;
const NODE_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";

impl Reviews {
    pub(super) fn token_request(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        mut request: Value,
    ) -> Result<Value, ApiError> {
        let (namespace, name) = (info.namespace.as_str(), info.name.as_str());
        let account = self.reader.get("", "serviceaccounts", namespace, name);
        let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
        check_names(info, &request)?;
        let expiration_s = expiration_s(name, &request)?;
        let mut audiences = texts(&request, "/spec/audiences");
        if audiences.is_empty() {
            audiences = vec![self.tokens.issuer().to_owned()];
        }
        let bound = self.bound_object(namespace, name, request.pointer("/spec/boundObjectRef"))?;
        self.restrict_node(user, namespace, name, bound.as_ref())?;
        let now = jiff::Timestamp::now();
        let token = self.tokens.sign(Issue {
            namespace,
            service_account: name,
            service_account_uid: text(&account, "/metadata/uid"),
            audiences: audiences.clone(),
            expiration_s,
            bound,
            now_unix_s: now.as_second(),
        });
        let token = token.map_err(|error| ApiError::internal(error.to_string()))?;
        let expires = jiff::Timestamp::from_second(now.as_second() + expiration_s)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let metadata = crate::admission::fields::map_mut(&mut request, "metadata");
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(namespace));
        metadata.insert("creationTimestamp".to_owned(), json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        let spec = crate::admission::fields::map_mut(&mut request, "spec");
        spec.insert("audiences".to_owned(), json!(audiences));
        spec.insert("expirationSeconds".to_owned(), json!(expiration_s));
        spec.entry("boundObjectRef").or_insert(Value::Null);
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        request["status"] = json!({"token": token, "expirationTimestamp": expires});
        Ok(request)
    }

    fn bound_object(
        &self,
        namespace: &str,
        account: &str,
        reference: Option<&Value>,
    ) -> Result<Option<BoundObject>, ApiError> {
        let Some(reference) = reference.filter(|reference| !reference.is_null()) else { return Ok(None) };
        let (kind, name) = (text(reference, "/kind").to_owned(), text(reference, "/name").to_owned());
        let (plural, place) = match (text(reference, "/apiVersion"), kind.as_str()) {
            ("v1", "Pod") => ("pods", namespace),
            ("v1", "Secret") => ("secrets", namespace),
            ("v1", "Node") => ("nodes", ""),
            (version, kind) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {version}, Kind={kind}"
                )));
            }
        };
        let object = self.reader.get("", plural, place, &name);
        let object = object.ok_or_else(|| ApiError::not_found("", plural, &name))?;
        let uid = text(&object, "/metadata/uid").to_owned();
        let wanted = text(reference, "/uid");
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", &kind, &name, &why));
        }
        Ok(Some(match plural {
            "pods" => {
                if text(&object, "/spec/serviceAccountName") != account {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different \
                         serviceaccount name."
                    )));
                }
                let node = text(&object, "/spec/nodeName");
                let node = (!node.is_empty()).then(|| {
                    let found = self.reader.get("", "nodes", "", node);
                    let uid = found.map(|found| text(&found, "/metadata/uid").to_owned()).unwrap_or_default();
                    (node.to_owned(), uid)
                });
                BoundObject::Pod { name, uid, node }
            }
            "secrets" => BoundObject::Secret { name, uid },
            _ => BoundObject::Node { name, uid },
        }))
    }

    /// A node gets tokens only for pods that run on it.
    fn restrict_node(
        &self,
        user: &UserInfo,
        namespace: &str,
        account: &str,
        bound: Option<&BoundObject>,
    ) -> Result<(), ApiError> {
        let Some(node) = user.username.strip_prefix(NODE_PREFIX) else { return Ok(()) };
        if !user.groups.iter().any(|group| group == NODES_GROUP) {
            return Ok(());
        }
        let refused = |why: &str| Err(ApiError::forbidden("", "serviceaccounts", account, why));
        let Some(BoundObject::Pod { name, .. }) = bound else {
            return refused("node requested token not bound to a pod");
        };
        match self.reader.get("", "pods", namespace, name) {
            Some(pod) if text(&pod, "/spec/nodeName") == node => Ok(()),
            _ => refused("node requested token bound to a pod scheduled on a different node"),
        }
    }
}

fn check_names(info: &RequestInfo, request: &Value) -> Result<(), ApiError> {
    let (name, namespace) = (text(request, "/metadata/name"), text(request, "/metadata/namespace"));
    if !name.is_empty() && name != info.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            info.name
        )));
    }
    if !namespace.is_empty() && namespace != info.namespace {
        return Err(ApiError::bad_request("the namespace of the provided object does not match the request"));
    }
    Ok(())
}

fn expiration_s(name: &str, request: &Value) -> Result<i64, ApiError> {
    let asked = match request.pointer("/spec/expirationSeconds") {
        None | Some(Value::Null) => return Ok(DEFAULT_EXPIRATION_SECONDS),
        Some(asked) => asked.as_i64().ok_or_else(|| ApiError::bad_request("spec.expirationSeconds is not a number"))?,
    };
    let why = match asked {
        ..MIN_EXPIRATION_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_EXPIRATION_SECONDS..=MAX_EXPIRATION_SECONDS => return Ok(asked),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let message = format!("Invalid value: {asked}: {why}");
    let group = "authentication.k8s.io";
    Err(invalid(group, "TokenRequest", name, "spec.expirationSeconds", "FieldValueInvalid", &message))
}

//! Namespaces: objects live only in ones that exist and are not being deleted; three of them stay for ever.

use serde_json::json;

use super::fields::{is_main, refused, text};
use crate::chain::{AdmissionRequest, ObjectReader, Operation};
use crate::status::ApiError;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn admit(reader: &dyn ObjectReader, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    if is_main(request, "", "namespaces", Operation::Delete) && IMMORTAL.contains(&request.info.name.as_str()) {
        return Err(refused(request, "this namespace may not be deleted"));
    }
    let namespace = request.info.namespace.as_str();
    let of_namespace = request.resource.group.is_empty() && request.resource.plural == "namespaces";
    if namespace.is_empty() || of_namespace || request.operation == Operation::Delete {
        return Ok(());
    }
    let Some(found) = reader.get("", "namespaces", "", namespace) else {
        return Err(ApiError::not_found("", "namespaces", namespace));
    };
    let terminating =
        text(&found, "/status/phase") == "Terminating" || found.pointer("/metadata/deletionTimestamp").is_some();
    if request.operation != Operation::Create || !terminating {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut error = refused(request, &why);
    error.details.get_or_insert_with(|| json!({}))["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(error)
}

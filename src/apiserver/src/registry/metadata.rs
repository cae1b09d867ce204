//! The rules of `metadata` that hold for all kinds.

use naru_api::{FieldError, Resource};
use serde_json::{Map, Value, json};

use crate::registry::Target;
use crate::registry::objects::now_unix_s;
use crate::status::ApiError;

/// Fields that belong to the server: an update carries over the old values.
const SYSTEM_FIELDS: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];
/// Fields that are never kept.
const DROPPED_FIELDS: [&str; 2] = ["managedFields", "selfLink"];

pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// `metadata` as a map, made when absent; a client error when it is something else.
pub(crate) fn of(object: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().ok_or_else(|| ApiError::bad_request("metadata is not an object"))
}

/// Removes what must not be there, and what is there but empty.
pub(crate) fn clean(metadata: &mut Map<String, Value>) {
    for field in DROPPED_FIELDS {
        metadata.remove(field);
    }
    metadata.retain(|_, value| !is_empty(value));
}

/// Fills the metadata of an object about to be made. The name may still be missing.
pub(crate) fn prepare_create(target: &Target<'_>, object: &mut Value) -> Result<(), ApiError> {
    let row = target.row;
    let metadata = of(object)?;
    clean(metadata);
    if metadata.remove("resourceVersion").is_some() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for field in SYSTEM_FIELDS {
        metadata.remove(field);
    }
    namespace(target, metadata)?;
    if !target.name.is_empty() && !metadata.contains_key("name") {
        metadata.insert("name".to_owned(), json!(target.name));
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(naru_api::time::rfc3339_seconds(now_unix_s())));
    if row.strategy.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
    Ok(())
}

fn namespace(target: &Target<'_>, metadata: &mut Map<String, Value>) -> Result<(), ApiError> {
    let found = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !target.row.is_namespaced() {
        metadata.remove("namespace");
        return Ok(());
    }
    if !found.is_empty() && found != target.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".to_owned(), json!(target.namespace));
    Ok(())
}

/// Gives a name from `generateName`; false when there is none to go by.
pub(crate) fn generate_name(object: &mut Value) -> bool {
    let base = object["metadata"]["generateName"].as_str().unwrap_or_default();
    if base.is_empty() {
        return false;
    }
    let name = naru_api::names::generated_name(base, rand::random());
    object["metadata"]["name"] = json!(name);
    true
}

/// Carries the server's own fields over into an update and checks what the client claims about them.
pub(crate) fn prepare_update(target: &Target<'_>, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    let metadata = of(new)?;
    clean(metadata);
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(metadata, "name");
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    metadata.insert("name".to_owned(), json!(target.name));
    namespace(target, metadata)?;
    let old = old["metadata"].as_object().expect("every stored object has metadata");
    let version = text(metadata, "resourceVersion");
    if !version.is_empty() && version != text(old, "resourceVersion") {
        return Err(modified(target));
    }
    let uid = text(metadata, "uid");
    if !uid.is_empty() && uid != text(old, "uid") {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", text(old, "uid"));
        return Err(target.conflict(&why));
    }
    for field in SYSTEM_FIELDS.into_iter().chain(["resourceVersion"]) {
        match old.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    Ok(())
}

pub(crate) fn modified(target: &Target<'_>) -> ApiError {
    target.conflict("the object has been modified; please apply your changes to the latest version and try again")
}

/// An object that is being deleted gets no new finalizers.
pub(crate) fn check_finalizers(row: &Resource, name: &str, old: &Value, new: &Value) -> Result<(), ApiError> {
    if is_empty(&old["metadata"]["deletionTimestamp"]) {
        return Ok(());
    }
    let before = naru_api::meta::finalizers(old);
    let added: Vec<&str> =
        naru_api::meta::finalizers(new).into_iter().filter(|finalizer| !before.contains(finalizer)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{added:?}"
    );
    Err(ApiError::invalid(row, name, &[FieldError::forbidden("metadata.finalizers", &detail)]))
}

/// Whether anything but metadata and status differs.
pub(crate) fn spec_differs(old: &Value, new: &Value) -> bool {
    let ignored = |key: &str| matches!(key, "metadata" | "status");
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return true };
    let differs = |left: &Map<String, Value>, right: &Map<String, Value>| {
        left.iter().any(|(key, value)| !ignored(key) && right.get(key).unwrap_or(&Value::Null) != value)
    };
    differs(old, new) || differs(new, old)
}

pub(crate) fn bump_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    object["metadata"]["generation"] = json!(generation + 1);
}

//! Short ways to read and to write fields of an object that is still plain JSON.

use serde_json::{Map, Value, json};

use crate::chain::{AdmissionRequest, Operation};
use crate::status::ApiError;

/// The text at a JSON pointer, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a JSON pointer, empty where there is none.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of the list at a JSON pointer.
pub(crate) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    items(value, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(crate) fn flag(value: &Value, pointer: &str) -> Option<bool> {
    value.pointer(pointer).and_then(Value::as_bool)
}

/// The map under `key`, made if it is absent or null.
pub(crate) fn map_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("made an object just above")
}

/// The list under `key`, made if it is absent or null.
pub(crate) fn list_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value[key];
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("made a list just above")
}

pub(crate) fn remove(value: &mut Value, key: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
}

/// Whether the request writes the object of this kind itself, not a subresource of it.
pub(crate) fn is_main(request: &AdmissionRequest<'_>, group: &str, plural: &str, operation: Operation) -> bool {
    request.operation == operation
        && request.info.subresource.is_empty()
        && request.resource.plural == plural
        && request.resource.group == group
}

/// The name that an error should carry: of the path, else of the object, else its generateName.
pub(crate) fn name_of<'a>(request: &'a AdmissionRequest<'_>) -> &'a str {
    [request.info.name.as_str(), text(request.object, "/metadata/name"), text(request.object, "/metadata/generateName")]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

/// The 403 of an admission step.
pub(crate) fn refused(request: &AdmissionRequest<'_>, why: &str) -> ApiError {
    ApiError::forbidden(request.resource.group, request.resource.plural, name_of(request), why)
}

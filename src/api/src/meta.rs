//! Reading and writing the metadata that all objects have. Absent and null mean the same everywhere.

use serde_json::{Map, Value};

/// The annotation in which a controller-owned list keeps nothing: used where a missing map must read as empty.
static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// The string at a path of field names, empty when absent.
pub fn string_at<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path of field names.
pub fn integer_at(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The boolean at a path of field names; false when absent.
pub fn bool_at(value: &Value, path: &[&str]) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a path of field names; empty when absent.
pub fn list_at<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The map at a path of field names; empty when absent.
pub fn map_at<'a>(value: &'a Value, path: &[&str]) -> &'a Map<String, Value> {
    at(value, path).and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The value at a path of field names; null reads as absent.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let mut current = value;
    for name in path {
        current = current.get(name)?;
    }
    (!current.is_null()).then_some(current)
}

pub fn name(object: &Value) -> &str {
    string_at(object, &["metadata", "name"])
}

pub fn generate_name(object: &Value) -> &str {
    string_at(object, &["metadata", "generateName"])
}

/// Empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    string_at(object, &["metadata", "namespace"])
}

pub fn uid(object: &Value) -> &str {
    string_at(object, &["metadata", "uid"])
}

pub fn resource_version(object: &Value) -> &str {
    string_at(object, &["metadata", "resourceVersion"])
}

pub fn generation(object: &Value) -> i64 {
    integer_at(object, &["metadata", "generation"]).unwrap_or_default()
}

pub fn creation_timestamp(object: &Value) -> Option<&str> {
    non_empty(string_at(object, &["metadata", "creationTimestamp"]))
}

pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    non_empty(string_at(object, &["metadata", "deletionTimestamp"]))
}

pub fn labels(object: &Value) -> &Map<String, Value> {
    map_at(object, &["metadata", "labels"])
}

pub fn annotations(object: &Value) -> &Map<String, Value> {
    map_at(object, &["metadata", "annotations"])
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object).get(key).and_then(Value::as_str)
}

pub fn finalizers(object: &Value) -> Vec<&str> {
    list_at(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

pub fn owner_references(object: &Value) -> Vec<OwnerReference<'_>> {
    let read = |reference| OwnerReference {
        api_version: string_at(reference, &["apiVersion"]),
        kind: string_at(reference, &["kind"]),
        name: string_at(reference, &["name"]),
        uid: string_at(reference, &["uid"]),
        controller: bool_at(reference, &["controller"]),
        block_owner_deletion: bool_at(reference, &["blockOwnerDeletion"]),
    };
    list_at(object, &["metadata", "ownerReferences"]).iter().map(read).collect()
}

/// The owner that manages this object, if any.
pub fn controller_of(object: &Value) -> Option<OwnerReference<'_>> {
    owner_references(object).into_iter().find(|owner| owner.controller)
}

/// The entry of `status.conditions` with this type.
pub fn condition<'a>(object: &'a Value, condition_type: &str) -> Option<&'a Value> {
    list_at(object, &["status", "conditions"]).iter().find(|entry| string_at(entry, &["type"]) == condition_type)
}

/// Whether the condition of this type has status `True`.
pub fn condition_is_true(object: &Value, condition_type: &str) -> bool {
    condition(object, condition_type).is_some_and(|entry| string_at(entry, &["status"]) == "True")
}

/// Splits `apps/v1` into group and version; the core group is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Joins group and version to an `apiVersion`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The map of this name in a parent, made (also in place of null) when absent. Anything else than a map stays as it is
/// and yields nothing: validation tells of it.
pub fn map_mut<'a>(parent: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let entry = parent.as_object_mut()?.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut()
}

/// `metadata`, made when absent.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    map_mut(object, "metadata")
}

/// Adds or replaces one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_in_metadata_map(object, "labels", key, value);
}

/// Adds or replaces one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_in_metadata_map(object, "annotations", key, value);
}

fn set_in_metadata_map(object: &mut Value, map: &str, key: &str, value: &str) {
    let Some(metadata) = object.as_object_mut().map(|map| map.entry("metadata").or_insert(Value::Null)) else {
        return;
    };
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    if let Some(entries) = map_mut(metadata, map) {
        entries.insert(key.to_owned(), value.into());
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_reads_as_absent() {
        let object =
            json!({"metadata": {"name": null, "labels": null, "creationTimestamp": null, "ownerReferences": null}});
        assert_eq!(name(&object), "");
        assert!(labels(&object).is_empty());
        assert_eq!(creation_timestamp(&object), None);
        assert!(owner_references(&object).is_empty());
    }

    #[test]
    fn controller_is_the_marked_owner() {
        let object = json!({"metadata": {"ownerReferences": [
            {"kind": "ReplicaSet", "uid": "1"}, {"kind": "Job", "uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&object).map(|owner| owner.uid), Some("2"));
    }

    #[test]
    fn labels_are_set_over_null() {
        let mut object = json!({"metadata": {"labels": null}});
        set_label(&mut object, "a", "b");
        assert_eq!(object, json!({"metadata": {"labels": {"a": "b"}}}));
        let mut bare = json!({});
        set_annotation(&mut bare, "a", "b");
        assert_eq!(annotation(&bare, "a"), Some("b"));
    }
}

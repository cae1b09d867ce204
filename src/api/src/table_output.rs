//! The Table form (`meta.k8s.io/v1`) of lists and single objects, as kubectl asks for it.

use crate::resource::Resource;
use serde_json::{Map, Value, json};

/// `includeObject` of the request: what each row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// From the query parameter; an unknown value yields nothing (400).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The Table of these objects. `list_metadata` is the `metadata` of the list (or `{"resourceVersion": …}` of one
/// object).
pub fn table(
    resource: &Resource,
    objects: &[&Value],
    list_metadata: Value,
    now_unix_s: i64,
    include: IncludeObject,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, now_unix_s, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": column_definitions(resource),
        "rows": rows,
    })
}

/// A Table for one watch event: upstream sends the column definitions with the first event only.
pub fn watch_table(
    resource: &Resource,
    object: &Value,
    now_unix_s: i64,
    include: IncludeObject,
    with_columns: bool,
) -> Value {
    let version = json!({"resourceVersion": crate::meta::resource_version(object)});
    let mut table = table(resource, &[object], version, now_unix_s, include);
    if !with_columns {
        table["columnDefinitions"] = Value::Null;
    }
    table
}

/// `columnDefinitions` of the kind.
pub fn column_definitions(resource: &Resource) -> Value {
    let definition = |column: &crate::resource::Column| {
        json!({
            "name": column.name,
            "type": column.r#type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    resource.columns.iter().map(definition).collect()
}

fn row(resource: &Resource, object: &Value, now_unix_s: i64, include: IncludeObject) -> Value {
    let cells: Vec<Value> = resource.columns.iter().map(|column| (column.cell)(object, now_unix_s)).collect();
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells.into());
    if let Some(condition) = completed(resource, object) {
        row.insert("conditions".to_owned(), json!([condition]));
    }
    let shown = match include {
        IncludeObject::None => None,
        IncludeObject::Metadata => Some(partial_metadata(object)),
        IncludeObject::Object => Some(object.clone()),
    };
    if let Some(shown) = shown {
        row.insert("object".to_owned(), shown);
    }
    Value::Object(row)
}

/// `PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// `PartialObjectMetadataList` of objects.
pub fn partial_metadata_list(objects: &[&Value], list_metadata: Value) -> Value {
    let items: Vec<Value> = objects.iter().map(|object| partial_metadata(object)).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "items": items,
    })
}

/// The mark by which clients can hide pods that are done.
fn completed(resource: &Resource, object: &Value) -> Option<Value> {
    if resource.kind != "Pod" {
        return None;
    }
    let message = match crate::meta::string_at(object, &["status", "phase"]) {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    let reason = &object["status"]["phase"];
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_carry_what_was_asked_for() {
        let resource = crate::by_kind("", "v1", "ConfigMap").unwrap();
        let object =
            json!({"metadata": {"name": "a", "creationTimestamp": "2023-11-14T22:13:20Z"}, "data": {"k": "v"}});
        let make = |include| table(resource, &[&object], json!({"resourceVersion": "7"}), 1_700_000_060, include);
        let with_metadata = make(IncludeObject::Metadata);
        assert_eq!(with_metadata["rows"][0]["cells"], json!(["a", 1, "60s"]));
        assert_eq!(with_metadata["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(with_metadata["metadata"]["resourceVersion"], "7");
        assert_eq!(with_metadata["columnDefinitions"][0]["format"], "name");
        assert_eq!(make(IncludeObject::None)["rows"][0].get("object"), None);
        assert_eq!(make(IncludeObject::Object)["rows"][0]["object"]["data"]["k"], "v");
        assert_eq!(IncludeObject::parse("All"), None);
        assert_eq!(watch_table(resource, &object, 0, IncludeObject::None, false)["columnDefinitions"], Value::Null);
    }

    #[test]
    fn every_kind_prints_an_empty_object() {
        for resource in crate::table().iter() {
            let table = table(resource, &[&json!({})], json!({}), 0, IncludeObject::None);
            let cells = table["rows"][0]["cells"].as_array().unwrap();
            assert_eq!(cells.len(), resource.columns.len());
            assert!(!cells.is_empty(), "{}", resource.plural);
        }
    }

    #[test]
    fn completed_pods_are_marked() {
        let resource = crate::by_kind("", "v1", "Pod").unwrap();
        let table = table(resource, &[&json!({"status": {"phase": "Failed"}})], json!({}), 0, IncludeObject::None);
        assert_eq!(table["rows"][0]["conditions"][0]["message"], "The pod failed.");
    }
}

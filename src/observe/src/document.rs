//! Further documents of an inventory as objects of the API: where they live, whether the live object is as wanted, and
//! what to patch if not. What the server adds by itself is nobody's business.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::merge::{differences, merge_patch, merged, without_nulls};

/// What was applied last, kept on the object itself.
pub const LAST_APPLIED_ANNOTATION: &str = "naru.dev/last-applied";
const DEFAULT_NAMESPACE: &str = "default";

/// A document that can be an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    wanted: Json,
}

/// Paths of an object and of those of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub collection: String,
    pub object: String,
    /// Empty for what belongs to no namespace.
    pub namespace: String,
}

impl Document {
    /// # Errors
    /// When it lacks what every object has.
    pub fn read(document: &Json) -> Result<Self, String> {
        for pointer in ["/apiVersion", "/kind", "/metadata/name"] {
            if document.pointer(pointer).and_then(Json::as_str).is_none_or(str::is_empty) {
                return Err(format!("a document of the inventory has no {}", pointer[1..].replace('/', ".")));
            }
        }
        let mut wanted = without_nulls(document);
        if let Some(fields) = wanted.as_object_mut() {
            fields.remove("status");
            if document["kind"] == "Secret" && document["apiVersion"] == "v1" {
                fold_string_data(fields);
            }
        }
        Ok(Self { wanted })
    }

    #[must_use]
    pub fn api_version(&self) -> &str {
        self.wanted["apiVersion"].as_str().unwrap_or_default()
    }

    fn text(&self, pointer: &str) -> &str {
        self.wanted.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
    }

    /// Where the API tells the kinds of this version.
    #[must_use]
    pub fn discovery_path(&self) -> String {
        match self.api_version() {
            core if !core.contains('/') => format!("/api/{core}"),
            grouped => format!("/apis/{grouped}"),
        }
    }

    /// Where the object lives, by the answer to `discovery_path`; nothing if that does not know the kind.
    #[must_use]
    pub fn place(&self, kinds: &Json) -> Option<Place> {
        let mut rows = kinds["resources"].as_array()?.iter();
        let is_it = |row: &&Json| {
            row["kind"] == self.wanted["kind"] && row["name"].as_str().is_some_and(|name| !name.contains('/'))
        };
        let row = rows.find(is_it)?;
        let plural = row["name"].as_str()?;
        let namespace = match (row["namespaced"] == true, self.text("/metadata/namespace")) {
            (false, _) => "",
            (true, "") => DEFAULT_NAMESPACE,
            (true, own) => own,
        };
        let base = self.discovery_path();
        let collection = match namespace {
            "" => format!("{base}/{plural}"),
            namespace => format!("{base}/namespaces/{namespace}/{plural}"),
        };
        let object = format!("{collection}/{}", self.text("/metadata/name"));
        Some(Place { collection, object, namespace: namespace.to_owned() })
    }

    /// Fields of the live object that are not as wanted, as `spec.replicas`.
    #[must_use]
    pub fn differences(&self, live: &Json) -> Vec<String> {
        differences(&self.merged(live), live)
    }

    /// A merge patch that makes the live object as wanted; nothing if it is.
    #[must_use]
    pub fn patch(&self, live: &Json) -> Option<Json> {
        merge_patch(&self.merged(live), live)
    }

    fn merged(&self, live: &Json) -> Json {
        let last = live["metadata"]["annotations"][LAST_APPLIED_ANNOTATION].as_str();
        let last: Json = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        merged(&self.wanted, live, &last)
    }

    /// The object as it is created.
    #[must_use]
    pub fn to_create(&self, place: &Place) -> Json {
        let mut object = self.wanted.clone();
        if !place.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(place.namespace);
        }
        object["metadata"]["annotations"][LAST_APPLIED_ANNOTATION] = json!(self.last_applied());
        object
    }

    /// What is kept on the object. Of a Secret only which fields there were: whoever may read annotations may not
    /// therefore read secrets.
    #[must_use]
    pub fn last_applied(&self) -> String {
        let mut kept = self.wanted.clone();
        if self.wanted["kind"] == "Secret"
            && let Some(data) = kept["data"].as_object_mut()
        {
            data.values_mut().for_each(|value| *value = json!(""));
        }
        kept.to_string()
    }
}

impl fmt::Display for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.text("/kind"), self.text("/metadata/name"));
        match self.text("/metadata/namespace") {
            "" => write!(formatter, "{kind} {name}"),
            namespace => write!(formatter, "{kind} {namespace}/{name}"),
        }
    }
}

/// `stringData` can only be written; what is read back is `data`.
fn fold_string_data(fields: &mut Map<String, Json>) {
    let Some(Json::Object(texts)) = fields.remove("stringData") else { return };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    for (key, text) in texts {
        data[key] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: Json) -> Document {
        Document::read(&document).unwrap()
    }

    #[test]
    fn places_by_discovery() {
        let kinds = json!({"resources": [
            {"name": "deployments/scale", "kind": "Deployment", "namespaced": true},
            {"name": "deployments", "kind": "Deployment", "namespaced": true},
        ]});
        let web = read(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}));
        assert_eq!(web.discovery_path(), "/apis/apps/v1");
        let place = web.place(&kinds).unwrap();
        assert_eq!(place.object, "/apis/apps/v1/namespaces/default/deployments/web");
        assert_eq!(web.to_create(&place)["metadata"]["namespace"], "default");
        let other = read(json!({"apiVersion": "apps/v1", "kind": "Other", "metadata": {"name": "web"}}));
        assert_eq!(other.place(&kinds), None);
        let spaces = json!({"resources": [{"name": "namespaces", "kind": "Namespace", "namespaced": false}]});
        let space = read(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
        assert_eq!(space.place(&spaces).unwrap().object, "/api/v1/namespaces/a");
        assert!(Document::read(&json!({"kind": "X", "apiVersion": "v1"})).unwrap_err().contains("metadata.name"));
    }

    #[test]
    fn a_removed_field_goes_and_those_of_others_stay() {
        let old = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
            "data": {"one": "1", "two": "2"}}));
        let mut live =
            old.to_create(&Place { collection: String::new(), object: String::new(), namespace: "x".into() });
        live["data"]["three"] = json!("3");
        assert_eq!(old.differences(&live), Vec::<String>::new());
        let new = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
            "data": {"one": "11"}}));
        assert_eq!(new.differences(&live), ["data.one", "data.two"]);
        assert_eq!(new.patch(&live).unwrap(), json!({"data": {"one": "11", "two": null}}));
    }

    #[test]
    fn secrets_are_not_kept_beside_the_secret() {
        let secret = read(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
            "stringData": {"password": "hunter2"}}));
        assert!(!secret.last_applied().contains("aHVudGVyMg=="), "{}", secret.last_applied());
        let live = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "type": "Opaque",
            "data": {"password": "aHVudGVyMg=="}});
        assert_eq!(secret.differences(&live), Vec::<String>::new());
    }
}

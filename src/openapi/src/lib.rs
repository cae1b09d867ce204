//! The OpenAPI documents of the resource table, made at build time and kept compressed, and what follows from their
//! schemas: which fields of an object are unknown or of the wrong type.

mod check;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

pub use check::{Findings, Mistyped, check};

include!(concat!(env!("OUT_DIR"), "/index.rs"));

/// A document as gzip; most clients take it as it is.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    pub gzip: &'static [u8],
}

impl Document {
    /// The document itself.
    pub fn plain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(self.gzip).read_to_end(&mut bytes).expect("compressed by our own build");
        bytes
    }

    /// A hash that changes with the content, in upper-case hexadecimal.
    pub fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.gzip.hash(&mut hasher);
        format!("{:016X}", hasher.finish())
    }
}

/// `/openapi/v2` as JSON.
pub fn version_2_json() -> Document {
    Document { gzip: include_bytes!(concat!(env!("OUT_DIR"), "/v2.json.gz")) }
}

/// `/openapi/v2` as gnostic protobuf (`application/com.github.proto-openapi.spec.v2.v1.0+protobuf`, and the older
/// name with `@`).
pub fn version_2_protobuf() -> Document {
    Document { gzip: include_bytes!(concat!(env!("OUT_DIR"), "/v2.pb.gz")) }
}

/// `/openapi/v3`: where each group and version is described.
pub fn version_3_index() -> Value {
    let paths: Map<String, Value> = VERSION_3
        .iter()
        .map(|(path, gzip)| {
            let url = format!("/openapi/v3/{path}?hash={}", Document { gzip }.etag());
            ((*path).to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/<path>`, for paths such as `api/v1` and `apis/apps/v1`.
pub fn version_3(path: &str) -> Option<Document> {
    VERSION_3.iter().find(|(of_document, _)| *of_document == path).map(|(_, gzip)| Document { gzip })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(document: Document) -> Value {
        serde_json::from_slice(&document.plain()).unwrap()
    }

    #[test]
    fn every_reference_has_a_definition() {
        fn visit(value: &Value, root: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.trim_start_matches('#');
                        assert!(root.pointer(pointer).is_some(), "{reference} leads nowhere");
                    }
                    object.values().for_each(|value| visit(value, root));
                }
                Value::Array(items) => items.iter().for_each(|value| visit(value, root)),
                _ => {}
            }
        }
        let version_2 = json(version_2_json());
        visit(&version_2, &version_2);
        for (path, _) in VERSION_3 {
            let document = json(version_3(path).unwrap());
            visit(&document, &document);
        }
    }

    #[test]
    fn kubectl_finds_field_validation_on_patch() {
        let document = json(version_3("apis/apps/v1").unwrap());
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    }

    #[test]
    fn lists_say_how_they_merge() {
        let document = json(version_2_json());
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    }

    #[test]
    fn the_index_leads_to_every_document() {
        let index = version_3_index();
        let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
        assert!(version_3("api/v2").is_none());
    }
}

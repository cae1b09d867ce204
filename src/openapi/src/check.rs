//! Finds fields that no kind knows and values of the wrong type, so that what is stored can be read by typed clients.

use serde_json::Value;

include!(concat!(env!("OUT_DIR"), "/types.rs"));

/// A schema with named fields, sorted by name.
pub(crate) struct Structure {
    name: &'static str,
    fields: &'static [(&'static str, Type)],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Any,
    Boolean,
    Integer32,
    Integer64,
    String,
    IntOrString,
    Quantity,
    /// RFC 3339.
    Time,
    List(&'static Type),
    Map(&'static Type),
    /// Index in `STRUCTURES`.
    Structure(u16),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Paths as `spec.template.spec.containers[0].imagee`.
    pub unknown: Vec<String>,
    pub mistyped: Vec<Mistyped>,
}

/// A value of the wrong type. `Display` is the sentence that Go's decoder would say.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistyped {
    pub path: String,
    pub found: &'static str,
    pub structure: &'static str,
    pub expected: &'static str,
}

impl std::fmt::Display for Mistyped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, found, structure, expected } = self;
        write!(out, "json: cannot unmarshal {found} into Go struct field {structure}.{path} of type {expected}")
    }
}

/// `None` when the kind is not one of the resource table (or speaks no structure of its own).
pub fn check(group: &str, version: &str, kind: &str, object: &Value) -> Option<Findings> {
    let (.., index) = KINDS
        .iter()
        .find(|(of_group, of_version, of_kind, _)| (*of_group, *of_version, *of_kind) == (group, version, kind))?;
    let mut findings = Findings::default();
    visit(object, Type::Structure(*index), "", &mut Path::default(), &mut findings);
    Some(findings)
}

/// The way from the root, kept only as long as needed.
#[derive(Default)]
struct Path<'a> {
    parts: Vec<Part<'a>>,
    /// The value is an element of a list or a map, not a field.
    within_collection: bool,
}

enum Part<'a> {
    Field(&'a str),
    Index(usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Field(name) if text.is_empty() => text.push_str(name),
                Part::Field(name) => text.extend([".", name]),
                Part::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

fn visit<'a>(value: &'a Value, kind: Type, structure: &'static str, path: &mut Path<'a>, findings: &mut Findings) {
    let mut mistyped = |expected| {
        let found = describe(value);
        findings.mistyped.push(Mistyped { path: path.text(), found, structure, expected });
    };
    match (kind, value) {
        (Type::Any, _) => {}
        // Go makes an empty element of it; other typed clients fail on the whole list that holds such an object.
        (kind, Value::Null) if path.within_collection => mistyped(expected(kind)),
        (_, Value::Null) => {}
        (Type::Time, Value::String(text)) if naru_api::time::parse_micros(text).is_some() => {}
        (Type::Boolean, Value::Bool(_)) | (Type::String, Value::String(_)) => {}
        (Type::Quantity, Value::String(_) | Value::Number(_)) | (Type::IntOrString, Value::String(_)) => {}
        (Type::Integer64, Value::Number(number)) if number.is_i64() => {}
        (Type::Integer32 | Type::IntOrString, Value::Number(number))
            if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {}
        (Type::List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                path.parts.push(Part::Index(index));
                path.within_collection = true;
                visit(value, *item, structure, path, findings);
                path.parts.pop();
            }
        }
        (Type::Map(item), Value::Object(entries)) => {
            for (name, value) in entries {
                path.parts.push(Part::Field(name));
                path.within_collection = true;
                visit(value, *item, structure, path, findings);
                path.parts.pop();
            }
        }
        (Type::Structure(index), Value::Object(entries)) => {
            let structure = &STRUCTURES[usize::from(index)];
            for (name, value) in entries {
                path.parts.push(Part::Field(name));
                path.within_collection = false;
                match structure.fields.binary_search_by_key(&name.as_str(), |(field, _)| field) {
                    Ok(found) => visit(value, structure.fields[found].1, structure.name, path, findings),
                    Err(_) => findings.unknown.push(path.text()),
                }
                path.parts.pop();
            }
        }
        (kind, _) => mistyped(expected(kind)),
    }
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Any => "interface {}",
        Type::Boolean => "bool",
        Type::Integer32 => "int32",
        Type::Integer64 => "int64",
        Type::String => "string",
        Type::IntOrString => "intstr.IntOrString",
        Type::Quantity => "resource.Quantity",
        Type::Time => "Time",
        Type::List(_) => "slice",
        Type::Map(_) => "map",
        Type::Structure(index) => STRUCTURES[usize::from(index)].name,
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_good_deployment_has_no_findings() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}, "creationTimestamp": null},
            "spec": {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
                "template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]}}}});
        assert_eq!(check("apps", "v1", "Deployment", &object), Some(Findings::default()));
    }

    #[test]
    fn names_unknown_fields_by_path() {
        let object = json!({"kind": "Pod", "sepc": {}, "spec": {"containers": [{"name": "a", "imagee": "x"}]}});
        let findings = check("", "v1", "Pod", &object).unwrap();
        assert_eq!(findings.unknown, ["sepc", "spec.containers[0].imagee"]);
    }

    #[test]
    fn names_wrong_types_as_go_does() {
        let object = json!({"spec": {"replicas": "three", "paused": 1, "template": []}});
        let texts: Vec<String> =
            check("apps", "v1", "Deployment", &object).unwrap().mistyped.iter().map(ToString::to_string).collect();
        assert!(
            texts.contains(
                &"json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
                    .to_owned()
            ),
            "{texts:?}"
        );
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn a_number_beyond_32_bits_is_no_replica_count() {
        let findings = check("apps", "v1", "Deployment", &json!({"spec": {"replicas": 3_000_000_000_u64}})).unwrap();
        assert_eq!(findings.mistyped.len(), 1);
    }

    #[test]
    fn a_moment_has_to_be_one() {
        let lease = |time: &str| {
            let object = json!({"metadata": {"creationTimestamp": null}, "spec": {"renewTime": time}});
            check("coordination.k8s.io", "v1", "Lease", &object).unwrap().mistyped.len()
        };
        assert_eq!((lease("2026-11-20T10:00:00.000000Z"), lease("2026-11-20T10:00:00+02:00")), (0, 0));
        assert_eq!((lease("yesterday"), lease("")), (1, 1));
    }

    #[test]
    fn null_is_no_element() {
        let object = json!({"metadata": {"labels": {"a": null}, "annotations": null},
            "spec": {"containers": [null], "volumes": [{"name": "v", "emptyDir": null}]}});
        let findings = check("", "v1", "Pod", &object).unwrap();
        let mut paths: Vec<&str> = findings.mistyped.iter().map(|one| one.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["metadata.labels.a", "spec.containers[0]"]);
    }

    #[test]
    fn kinds_of_nobody_are_not_checked() {
        assert_eq!(check("example.com", "v1", "Thing", &json!({})), None);
    }
}

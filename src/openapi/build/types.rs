//! Rust statics that say which fields each kind has and of which type.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::definitions::{self, REFERENCE_PREFIX};

pub(crate) fn generate(all: &Map<String, Value>) -> String {
    let structures: BTreeMap<&str, usize> = all
        .iter()
        .filter(|(_, schema)| schema.get("properties").is_some())
        .enumerate()
        .map(|(index, (name, _))| (name.as_str(), index))
        .collect();
    let mut out = String::from("pub(crate) static STRUCTURES: &[Structure] = &[\n");
    for (name, schema) in all.iter().filter(|(name, _)| structures.contains_key(name.as_str())) {
        let short_name = name.rsplit('.').next().expect("rsplit yields at least one part");
        let properties = schema["properties"].as_object().expect("filtered above");
        let mut fields: Vec<(&String, String)> =
            properties.iter().map(|(field, property)| (field, reference(property, all, &structures))).collect();
        fields.sort();
        write!(out, "    Structure {{ name: {short_name:?}, fields: &[").expect("writing to memory");
        for (field, kind) in fields {
            write!(out, "({field:?}, {kind}), ").expect("writing to memory");
        }
        out += "] },\n";
    }
    out += "];\n\npub(crate) static KINDS: &[(&str, &str, &str, u16)] = &[\n";
    let spoken = naru_api::table().iter().flat_map(|row| {
        let of_subresources =
            row.subresources.iter().map(|subresource| (subresource.group, subresource.version, subresource.kind));
        std::iter::once((row.group, row.version, row.kind)).chain(of_subresources)
    });
    let mut kinds: Vec<(&str, &str, &str)> = spoken.collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (group, version, kind) in kinds {
        if let Some(index) = structures.get(definitions::name(group, version, kind).as_str()) {
            writeln!(out, "    ({group:?}, {version:?}, {kind:?}, {index}),").expect("writing to memory");
        }
    }
    out + "];\n"
}

fn reference(schema: &Value, all: &Map<String, Value>, structures: &BTreeMap<&str, usize>) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches(REFERENCE_PREFIX);
        return match structures.get(name) {
            Some(index) => format!("Type::Structure({index})"),
            None if name.ends_with(".Quantity") => "Type::Quantity".to_owned(),
            None => reference(&all[name], all, structures),
        };
    }
    match schema["type"].as_str() {
        Some("array") => format!("Type::List(&{})", reference(&schema["items"], all, structures)),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) => format!("Type::Map(&{})", reference(values, all, structures)),
            None => "Type::Any".to_owned(),
        },
        Some("string") if schema["format"] == "date-time" => "Type::Time".to_owned(),
        Some("string") => "Type::String".to_owned(),
        Some("boolean") => "Type::Boolean".to_owned(),
        Some("integer") if schema["format"] == "int32" => "Type::Integer32".to_owned(),
        Some("integer") => "Type::Integer64".to_owned(),
        _ if schema["x-kubernetes-int-or-string"] == true => "Type::IntOrString".to_owned(),
        _ => "Type::Any".to_owned(),
    }
}

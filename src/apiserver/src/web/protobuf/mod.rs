//! Request bodies in Kubernetes' protobuf form, which kubectl's and client-go's typed clients send: read by a table of
//! the messages' fields, straight into JSON. Answers are always JSON, which those clients accept as well.

mod wire;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use self::wire::{Field, Reader};

pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages; real objects stay far below.
const DEPTH_MAX: usize = 64;

/// One message per line: its name, then `number:json name:type` of its fields. Types: s text, i integer, b boolean,
/// y bytes, otherwise a message; `*` repeated, `%` map from text. A `?` at the end: zero is a value, not an absence.
/// `^` for a name: the message's fields belong to the outer one. Sorted by name.
static TABLE: &str = include_str!("messages.txt");

static MESSAGES: LazyLock<Vec<(&'static str, &'static str)>> =
    LazyLock::new(|| TABLE.lines().filter_map(|line| line.split_once(' ')).collect());

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error("the body does not begin like a Kubernetes protobuf object")]
    NotKubernetes,
    #[error("the body ends within a field, or a field is not what its number says")]
    Broken,
    #[error("messages are nested too deeply")]
    TooDeep,
    #[error("the type {0} is not known in protobuf form")]
    UnknownType(String),
}

/// The object in an enveloped body.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NotKubernetes)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(envelope) {
        match field? {
            (1, Field::Bytes(bytes)) => {
                for field in Reader::new(bytes) {
                    match field? {
                        (1, Field::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Field::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = naru_api::meta::split_api_version(&api_version);
    let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
    let name = match kind.as_str() {
        "DeleteOptions" => "meta.v1.DeleteOptions".to_owned(),
        kind => format!("{package}.{version}.{kind}"),
    };
    let mut object = Map::new();
    message(&name, raw, DEPTH_MAX, &mut object)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn fields_of(name: &str) -> Option<&'static str> {
    let position = MESSAGES.binary_search_by_key(&name, |(name, _)| *name).ok()?;
    Some(MESSAGES[position].1)
}

struct FieldType<'a> {
    json_name: &'a str,
    element: &'a str,
    shape: Shape,
    keeps_zero: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Repeated,
    Map,
}

fn field_type(fields: &'static str, number: u64) -> Option<FieldType<'static>> {
    fields.split(' ').find_map(|field| {
        let mut parts = field.split(':');
        let (found, json_name, element) = (parts.next()?, parts.next()?, parts.next()?);
        if found.parse() != Ok(number) {
            return None;
        }
        let (element, keeps_zero) = element.strip_suffix('?').map_or((element, false), |element| (element, true));
        let (element, shape) = match element.split_at_checked(1) {
            Some(("*", element)) => (element, Shape::Repeated),
            Some(("%", element)) => (element, Shape::Map),
            _ => (element, Shape::One),
        };
        Some(FieldType { json_name, element, shape, keeps_zero })
    })
}

/// Reads a message's fields into `into`. Unknown numbers are newer than this table and are left out.
fn message(name: &str, bytes: &[u8], depth: usize, into: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    let depth = depth.checked_sub(1).ok_or(ProtobufError::TooDeep)?;
    // A message without fields has a line without any, which the table leaves out.
    let fields = match fields_of(name) {
        Some(fields) => fields,
        None if bytes.is_empty() => return Ok(()),
        None => return Err(ProtobufError::UnknownType(name.to_owned())),
    };
    for field in Reader::new(bytes) {
        let (number, content) = field?;
        let Some(field) = field_type(fields, number) else { continue };
        match field.shape {
            Shape::One if field.json_name == "^" => match content {
                Field::Bytes(bytes) => message(field.element, bytes, depth, into)?,
                Field::Number(_) => return Err(ProtobufError::Broken),
            },
            Shape::One => {
                let value = value(field.element, content, depth)?;
                if field.keeps_zero || !is_zero(&value) {
                    into.insert(field.json_name.to_owned(), value);
                }
            }
            Shape::Repeated => {
                let value = value(field.element, content, depth)?;
                if let Value::Array(items) = into.entry(field.json_name).or_insert_with(|| json!([])) {
                    items.push(value);
                }
            }
            Shape::Map => {
                let (key, value) = map_entry(field.element, content, depth)?;
                if let Value::Object(map) = into.entry(field.json_name).or_insert_with(|| json!({})) {
                    map.insert(key, value);
                }
            }
        }
    }
    Ok(())
}

fn map_entry(element: &str, content: Field<'_>, depth: usize) -> Result<(String, Value), ProtobufError> {
    let Field::Bytes(bytes) = content else { return Err(ProtobufError::Broken) };
    let (mut key, mut found) = (String::new(), None);
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => key = text(bytes)?,
            (2, content) => found = Some(value(element, content, depth)?),
            _ => {}
        }
    }
    let empty = || value(element, Field::Bytes(&[]), depth);
    Ok((key, found.map_or_else(empty, Ok)?))
}

fn value(element: &str, content: Field<'_>, depth: usize) -> Result<Value, ProtobufError> {
    match (element, content) {
        ("s", Field::Bytes(bytes)) => Ok(Value::String(text(bytes)?)),
        ("y", Field::Bytes(bytes)) => Ok(Value::String(STANDARD.encode(bytes))),
        ("i", Field::Number(number)) => Ok(json!(number.cast_signed())),
        ("b", Field::Number(number)) => Ok(json!(number != 0)),
        ("s" | "y" | "i" | "b", _) | (_, Field::Number(_)) => Err(ProtobufError::Broken),
        (name, Field::Bytes(bytes)) => structured(name, bytes, depth),
    }
}

/// Messages whose JSON form is not a map of their fields, and all others.
fn structured(name: &str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    match name {
        "meta.v1.Time" | "meta.v1.MicroTime" => time(name, bytes),
        "Quantity" => Ok(first_bytes(bytes)?.map_or_else(|| Ok(json!("0")), |bytes| text(bytes).map(Value::String))?),
        "IntOrString" => int_or_string(bytes),
        "RawExtension" => {
            Ok(first_bytes(bytes)?.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default())
        }
        "meta.v1.FieldsV1" => Ok(Value::Null),
        name => {
            let mut map = Map::new();
            message(name, bytes, depth, &mut map)?;
            Ok(if name.ends_with(".ExtraValue") { map.remove("items").unwrap_or_default() } else { Value::Object(map) })
        }
    }
}

fn time(name: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Number(number)) => seconds = number.cast_signed(),
            (2, Field::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    // Go's zero time is an empty message, or a moment long before 1970.
    if seconds <= 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    Ok(match name {
        "meta.v1.MicroTime" => json!(naru_api::time::rfc3339_micros(seconds * 1_000_000 + nanos / 1000)),
        _ => json!(naru_api::time::rfc3339_seconds(seconds)),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut string) = (false, 0_i64, String::new());
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Number(kind)) => is_text = kind != 0,
            (2, Field::Number(found)) => number = found.cast_signed(),
            (3, Field::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

fn first_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    for field in Reader::new(bytes) {
        if let (1, Field::Bytes(bytes)) = field? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Broken)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn table_is_sorted_and_every_type_in_it_is_known() {
        assert!(MESSAGES.is_sorted());
        let special = ["meta.v1.Time", "meta.v1.MicroTime", "Quantity", "IntOrString", "RawExtension"];
        for (name, fields) in MESSAGES.iter() {
            for field in fields.split(' ') {
                let element = field.split(':').nth(2).unwrap().trim_matches(['*', '%', '?']);
                let known = element.len() == 1 || special.contains(&element) || fields_of(element).is_some();
                let without_fields = TABLE.lines().any(|line| line.trim_end() == element);
                assert!(known || without_fields || element.contains("alpha"), "{name}: {element}");
            }
        }
    }

    #[test]
    fn objects_become_json_as_go_would_write_it() {
        let metadata = [field(1, b"s"), field(3, b""), field(11, &[field(1, b"a"), field(2, b"b")].concat())].concat();
        let data = [field(1, b"k"), field(2, b"\xff\x00")].concat();
        let secret = [field(1, &metadata), field(2, &data), field(3, b"Opaque"), vec![5 << 3, 0]].concat();
        let expected = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": false,
            "metadata": {"name": "s", "labels": {"a": "b"}}, "data": {"k": "/wA="}});
        assert_eq!(decode(&envelope("v1", "Secret", &secret)), Ok(expected));
    }

    #[test]
    fn inlined_sources_zero_pointers_and_ports() {
        let volume = [field(1, b"v"), field(2, &field(2, &[]))].concat();
        let probe = [field(1, &field(2, &field(2, &[1 << 3, 0, 2 << 3, 80]))), vec![3 << 3, 0]].concat();
        let container = [field(1, b"c"), field(10, &probe)].concat();
        let spec = [field(1, &volume), field(2, &container), vec![4 << 3, 0], field(6, b"")].concat();
        let found = decode(&envelope("v1", "Pod", &field(2, &spec))).unwrap();
        let expected = json!({"volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 80}}}]});
        assert_eq!(found["spec"], expected);
    }

    #[test]
    fn broken_bodies_are_errors() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::NotKubernetes));
        assert_eq!(decode(b"k8s\0\x0a\x09ab"), Err(ProtobufError::Broken));
        let unknown = decode(&envelope("v1", "Odd", &field(1, b"x")));
        assert_eq!(unknown, Err(ProtobufError::UnknownType("core.v1.Odd".to_owned())));
    }
}

//! OpenAPI 2 as the protobuf message `openapi.v2.Document` of gnostic, the only form that kubectl up to 1.26 reads.
//! Field numbers are those of its `OpenAPIv2.proto`.

use serde_json::{Map, Value};

pub(crate) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| {
        for (name, item) in object(&document["paths"]) {
            paths.named(2, name, |message| path_item(message, item));
        }
    });
    out.message(9, |definitions| {
        for (name, definition) in object(&document["definitions"]) {
            definitions.named(1, name, |message| schema(message, definition));
        }
    });
    out.bytes
}

fn path_item(out: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(number, |message| operation(message, value));
        }
    }
}

fn operation(out: &mut Message, operation: &Value) {
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for value in operation["parameters"].as_array().into_iter().flatten() {
        out.message(8, |item| item.message(1, |message| parameter(message, value)));
    }
    out.message(9, |responses| {
        for (code, response) in object(&operation["responses"]) {
            responses.named(1, code, |value| {
                value.message(1, |message| {
                    message.text(1, &response["description"]);
                    message.message(2, |item| item.message(1, |message| schema(message, &response["schema"])));
                });
            });
        }
    });
    extensions(out, 13, operation);
}

fn parameter(out: &mut Message, parameter: &Value) {
    match parameter["in"].as_str() {
        Some("body") => out.message(1, |body| {
            body.text(2, &parameter["name"]);
            body.text(3, &parameter["in"]);
            body.flag(4, &parameter["required"]);
            body.message(5, |message| schema(message, &parameter["schema"]));
        }),
        place => out.message(2, |non_body| {
            // Query parameters have one more field than path parameters, which shifts the type's number.
            let (number, type_number) = if place == Some("query") { (3, 6) } else { (4, 5) };
            non_body.message(number, |message| {
                message.flag(1, &parameter["required"]);
                message.text(2, &parameter["in"]);
                message.text(4, &parameter["name"]);
                message.text(type_number, &parameter["type"]);
            });
        }),
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    out.texts(19, &value["required"]);
    if let Some(values) = value.get("additionalProperties") {
        out.message(21, |item| item.message(1, |message| schema(message, values)));
    }
    if value["type"].is_string() {
        out.message(22, |kind| kind.text(1, &value["type"]));
    }
    if let Some(items) = value.get("items") {
        out.message(23, |item| item.message(1, |message| schema(message, items)));
    }
    if let Some(properties) = value.get("properties") {
        out.message(25, |message| {
            for (name, property) in object(properties) {
                message.named(1, name, |message| schema(message, property));
            }
        });
    }
    extensions(out, 31, value);
}

/// Vendor extensions as `NamedAny` whose value is YAML (JSON is YAML).
fn extensions(out: &mut Message, number: u32, value: &Value) {
    for (name, extension) in object(value).filter(|(name, _)| name.starts_with("x-")) {
        out.named(number, name, |any| any.text(2, &Value::String(extension.to_string())));
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn delimited(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.delimited(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|value| self.text(number, value));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value == true {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.delimited(number, &inner.bytes);
    }

    /// A `Named…` entry: name is field 1, the value field 2.
    fn named(&mut self, number: u32, name: &str, fill: impl FnOnce(&mut Message)) {
        self.message(number, |entry| {
            entry.delimited(1, name.as_bytes());
            entry.message(2, fill);
        });
    }
}

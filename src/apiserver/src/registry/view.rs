//! The forms of an answer: the bytes as they are, Table, PartialObjectMetadata, YAML.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use naru_api::Resource;
use naru_api::table_output::{self, IncludeObject};
use naru_store::Entry;
use serde_json::{Value, json};

use crate::registry::objects::{Objects, now_unix_s};
use crate::status::ApiError;
use crate::web::accept::{Form, Output};
use crate::web::{self, Body, encode};

/// The bytes of an entry in the form of this row: for all but views these are the stored ones, not copied.
pub(crate) fn bytes(objects: &Objects, row: &Resource, entry: &Entry) -> Bytes {
    match row.stored_as {
        None => entry.value.clone(),
        Some(_) => encode(&objects.decode(row, entry)).into(),
    }
}

pub(crate) fn entry_response(
    objects: &Objects,
    row: &Resource,
    entry: &Entry,
    code: StatusCode,
    output: Output,
    include: IncludeObject,
) -> Result<Response<Body>, ApiError> {
    match output {
        Output::JSON => Ok(web::respond(code, "application/json", web::full(bytes(objects, row, entry)))),
        _ => object_response(row, objects.decode(row, entry), code, output, include),
    }
}

pub(crate) fn object_response(
    row: &Resource,
    object: Value,
    code: StatusCode,
    output: Output,
    include: IncludeObject,
) -> Result<Response<Body>, ApiError> {
    let value = match output.form {
        Form::Plain => object,
        Form::Metadata => table_output::partial_metadata(&object),
        Form::Table => {
            let revision = object["metadata"]["resourceVersion"].clone();
            table(row, &[object], json!({"resourceVersion": revision}), include)
        }
    };
    value_response(&value, code, output)
}

pub(crate) fn value_response(value: &Value, code: StatusCode, output: Output) -> Result<Response<Body>, ApiError> {
    if !output.yaml {
        return Ok(web::json(code, value));
    }
    let text = serde_saphyr::to_string(value).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(web::respond(code, "application/yaml", web::full(text)))
}

pub(crate) fn parse_include(text: &str) -> Result<IncludeObject, ApiError> {
    IncludeObject::parse(text)
        .ok_or_else(|| ApiError::bad_request(format!("unrecognized includeObject value: {text:?}")))
}

pub(crate) fn table(row: &Resource, objects: &[Value], metadata: Value, include: IncludeObject) -> Value {
    let objects: Vec<&Value> = objects.iter().collect();
    table_output::table(row, &objects, metadata, now_unix_s(), include)
}

/// Adds `Warning: 299` headers, as kubectl prints them.
pub(crate) fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let escaped: String = warning.chars().filter(|character| !character.is_control()).collect();
        let text = format!("299 - \"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

pub(crate) fn decode_all(objects: &Objects, row: &Resource, entries: &[Arc<Entry>]) -> Vec<Value> {
    entries.iter().map(|entry| objects.decode(row, entry)).collect()
}

//! What the API server refuses, with the texts that clients know.

mod metadata;
mod other;
mod pod;
mod service;
mod workload;

pub(crate) use metadata::{metadata, metadata_update};
pub(crate) use other::*;
pub(crate) use pod::{node, node_update, pod, pod_template, pod_update};
pub(crate) use service::*;
pub(crate) use workload::*;

use crate::meta;
use crate::quantity::Quantity;
use crate::resource::FieldError;
use serde_json::Value;

const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Collects errors below one field path.
struct Checker<'a> {
    object: &'a Value,
    path: String,
    errors: Vec<FieldError>,
}

impl<'a> Checker<'a> {
    fn new(object: &'a Value, path: impl Into<String>) -> Self {
        Self { object, path: path.into(), errors: Vec::new() }
    }

    /// The path of a field (dots between names).
    fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn text(&self, field: &str) -> &'a str {
        meta::string_at(self.object, &[field])
    }

    fn value(&self, field: &str) -> &'a Value {
        meta::at(self.object, &[field]).unwrap_or(&Value::Null)
    }

    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn required(&mut self, field: &str) -> bool {
        let empty = match self.value(field) {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if empty {
            self.push(FieldError::required(self.at(field), ""));
        }
        !empty
    }

    /// Text must be one of these; empty counts as required when `must_be`.
    fn one_of(&mut self, field: &str, allowed: &[&str], must_be: bool) {
        let text = self.text(field);
        if text.is_empty() {
            if must_be {
                self.push(FieldError::required(self.at(field), ""));
            }
        } else if !allowed.contains(&text) {
            self.push(FieldError::not_supported(self.at(field), text, allowed));
        }
    }

    fn not_negative(&mut self, field: &str) {
        self.at_least(field, 0, NOT_NEGATIVE);
    }

    fn at_least(&mut self, field: &str, least: i64, text: &str) {
        if meta::integer_at(self.object, &[field]).is_some_and(|number| number < least) {
            self.push(FieldError::invalid(self.at(field), self.value(field), text));
        }
    }

    fn problems(&mut self, field: &str, value: &str, problems: Vec<String>) {
        for problem in problems {
            self.push(FieldError::invalid_text(self.at(field), value, &problem));
        }
    }

    fn port_number(&mut self, field: &str) {
        port_range(&mut self.errors, &format!("{}.{field}", self.path), self.object.get(field).unwrap_or(&Value::Null));
    }
}

fn port_range(errors: &mut Vec<FieldError>, path: &str, value: &Value) {
    if !value.as_i64().is_some_and(|number| (1..=65_535).contains(&number)) {
        let shown = if value.is_null() { &Value::from(0) } else { value };
        errors.push(FieldError::invalid(path, shown, "must be between 1 and 65535, inclusive"));
    }
}

/// A port by number or by name.
fn port_or_name(errors: &mut Vec<FieldError>, path: &str, value: &Value) {
    match value {
        Value::String(name) => {
            errors.extend(crate::names::port_name(name).iter().map(|text| FieldError::invalid_text(path, name, text)));
        }
        other => port_range(errors, path, other),
    }
}

/// Amounts in a map of resources: spelled right and not negative.
fn quantities(errors: &mut Vec<FieldError>, path: &str, map: &Value) {
    for (name, value) in map.as_object().into_iter().flatten() {
        match Quantity::from_json(value) {
            Err(error) => errors.push(FieldError::invalid(format!("{path}[{name}]"), value, &error.to_string())),
            Ok(quantity) if quantity.is_negative() => {
                errors.push(FieldError::invalid(format!("{path}[{name}]"), value, NOT_NEGATIVE));
            }
            Ok(_) => {}
        }
    }
}

/// Map of labels: keys and values.
fn labels(errors: &mut Vec<FieldError>, path: &str, map: &Value) {
    if !map.is_null() && !map.is_object() {
        errors.push(FieldError::invalid(path, map, "must be a map of strings"));
    }
    for (key, value) in map.as_object().into_iter().flatten() {
        errors.extend(crate::names::qualified_name(key).iter().map(|text| FieldError::invalid_text(path, key, text)));
        let Some(text) = value.as_str() else {
            errors.push(FieldError::invalid(format!("{path}.{key}"), value, "must be a string"));
            continue;
        };
        errors.extend(
            crate::names::label_value(text).iter().map(|problem| FieldError::invalid_text(path, text, problem)),
        );
    }
}

/// A `metav1.LabelSelector`.
fn label_selector(errors: &mut Vec<FieldError>, path: &str, selector: &Value) {
    labels(errors, &format!("{path}.matchLabels"), selector.get("matchLabels").unwrap_or(&Value::Null));
    for (index, expression) in meta::list_at(selector, &["matchExpressions"]).iter().enumerate() {
        let mut check = Checker::new(expression, format!("{path}.matchExpressions[{index}]"));
        let values = meta::list_at(expression, &["values"]);
        match check.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let field = check.at("values");
                check.push(FieldError::required(field, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let field = check.at("values");
                check.push(FieldError::forbidden(
                    field,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let field = check.at("operator");
                check.push(FieldError::invalid_text(field, other, "not a valid selector operator"));
            }
        }
        let key = check.text("key");
        check.problems("key", key, crate::names::qualified_name(key));
        errors.append(&mut check.errors);
    }
}

/// A number of pods, or a percentage of them.
fn count_or_percent(errors: &mut Vec<FieldError>, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| !digits.is_empty());
            if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
                let problem = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                '1%',  or \
                               '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, value, problem));
            }
        }
        other if other.as_i64().is_some_and(|number| number >= 0) => {}
        other => errors.push(FieldError::invalid(path, other, NOT_NEGATIVE)),
    }
}

/// A field that must stay as it is; absent, null and missing are the same.
fn unchanged(errors: &mut Vec<FieldError>, field: &str, new: &Value, old: &Value) {
    let pointer = format!("/{}", field.replace('.', "/"));
    let read = |object: &Value| object.pointer(&pointer).cloned().unwrap_or_default();
    let value = read(new);
    if value != read(old) {
        errors.push(FieldError::invalid(field, &value, IMMUTABLE));
    }
}

#[cfg(test)]
mod tests;

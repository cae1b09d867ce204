//! What the API server fills in where the client said nothing. Every function is idempotent.

mod other;
mod pod;
mod service;
mod workload;

pub(crate) use other::*;
pub(crate) use pod::{pod, pod_template};
pub(crate) use service::*;
pub(crate) use workload::*;

use crate::meta;
use crate::quantity;
use serde_json::{Map, Value};

/// Sets a field that is absent or null.
fn set(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    let entry = map.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = value.into();
    }
}

/// Sets a text field that is absent, null or empty: Go cannot tell these apart.
fn set_text(map: &mut Map<String, Value>, name: &str, value: &str) {
    let entry = map.entry(name).or_insert(Value::Null);
    if entry.is_null() || entry == "" {
        *entry = value.into();
    }
}

/// Sets a number that is absent, null or zero, where zero means "not said".
fn set_number(map: &mut Map<String, Value>, name: &str, value: i64) {
    let entry = map.entry(name).or_insert(Value::Null);
    if entry.is_null() || *entry == 0 {
        *entry = value.into();
    }
}

/// The map at a field, when there is one.
fn existing<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(name)?.as_object_mut()
}

/// `spec`, made when absent.
fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    meta::map_mut(object, "spec")
}

/// The entries of a list of maps.
fn entries<'a>(map: &'a mut Map<String, Value>, name: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Writes all quantities of a map (`limits`, `capacity`…) in their canonical form.
fn canonical_quantities(map: &mut Map<String, Value>, name: &str) {
    if let Some(quantities) = existing(map, name) {
        for value in quantities.values_mut() {
            *value = quantity::canonical(value);
        }
    }
}

/// Removes fields that are null: the same as absent to every client, and not written back by upstream. Values of lists
/// stay.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;

//! `application/strategic-merge-patch+json`: lists merge by key as the type says, steered by directives in the patch
//! (`$patch`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`, `$retainKeys`).

use super::PatchError;
use super::strategy::{FieldStrategy, strategy, type_name};
use crate::resource::Resource;
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to an object of this kind.
pub fn strategic_merge_patch(resource: &Resource, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Some(original), Some(patch)) = (object.as_object(), patch.as_object()) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    Ok(Value::Object(merge_map(original.clone(), patch, &type_name(resource))?))
}

fn merge_map(
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    type_name: &str,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(directive) if directive == "replace" => return Ok(strip_map(patch)),
        Some(directive) if directive == "delete" => return Ok(Map::new()),
        Some(directive) if directive == "merge" => {}
        Some(directive) => return Err(unknown_directive(directive, patch)),
    }
    retain_keys(&mut original, patch)?;
    let mut done = Vec::new();
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER) {
            merge_ordered(&mut original, patch, field, order, type_name)?;
            done.push(field);
        }
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || done.contains(&key.as_str()) {
            continue;
        }
        if let Some(field) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(&mut original, field, value)?;
        } else {
            merge_field(&mut original, key, value, type_name)?;
        }
    }
    Ok(original)
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> PatchError {
    let patch = Value::Object(patch.clone());
    PatchError::Malformed(format!("unknown patch type found: {directive} in {patch}"))
}

fn merge_field(original: &mut Map<String, Value>, key: &str, value: &Value, type_name: &str) -> Result<(), PatchError> {
    if value.is_null() {
        original.remove(key);
        return Ok(());
    }
    let marks = strategy(type_name, key);
    let merged = match (original.remove(key), value) {
        (Some(Value::Object(current)), Value::Object(change)) => {
            Value::Object(merge_map(current, change, marks.map_or("", |marks| marks.element))?)
        }
        (Some(Value::Array(current)), Value::Array(change)) => Value::Array(merge_list(current, change, marks)?),
        _ => strip(value).unwrap_or(Value::Null),
    };
    original.insert(key.to_owned(), merged);
    Ok(())
}

/// Keys that the union-like field may keep; the others go.
fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(listed) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let listed = listed.as_array().ok_or_else(bad)?;
    let keep = |key: &str| listed.iter().any(|entry| entry == key);
    if patch.iter().any(|(key, value)| !key.starts_with('$') && !value.is_null() && !keep(key)) {
        return Err(bad());
    }
    original.retain(|key, _| keep(key));
    Ok(())
}

fn delete_primitives(original: &mut Map<String, Value>, field: &str, unwanted: &Value) -> Result<(), PatchError> {
    let unwanted = unwanted
        .as_array()
        .ok_or_else(|| PatchError::Malformed("invalid patch format of primitive list".to_owned()))?;
    if let Some(Value::Array(current)) = original.get_mut(field) {
        current.retain(|entry| !unwanted.contains(entry));
    }
    Ok(())
}

/// A list whose wanted order the patch spells out.
fn merge_ordered(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    field: &str,
    order: &Value,
    type_name: &str,
) -> Result<(), PatchError> {
    let order = order.as_array().ok_or_else(bad_order)?;
    let Some(marks) = strategy(type_name, field).filter(|marks| marks.patch.merges()) else {
        // Atomic lists have no order to keep: the patch value, if any, replaces them.
        return patch.get(field).map_or(Ok(()), |value| merge_field(original, field, value, type_name));
    };
    let change = patch.get(field);
    if change.is_some_and(Value::is_null) {
        original.remove(field);
        return Ok(());
    }
    let key = marks.merge_key;
    if let Some(Value::Array(change)) = change {
        check_order(change, order, key)?;
    }
    let current = match original.remove(field) {
        Some(Value::Array(current)) => Some(current),
        _ => None,
    };
    let merged = match (&current, change) {
        (Some(current), Some(Value::Array(change))) => merge_list(current.clone(), change, Some(marks))?,
        (Some(current), _) => current.clone(),
        (None, Some(Value::Array(change))) => strip_list(change),
        (None, _) => return Ok(()),
    };
    let server_order = current.unwrap_or_default();
    let arranged = arrange(merged, order, &server_order, key);
    original.insert(field.to_owned(), Value::Array(arranged));
    Ok(())
}

fn bad_order() -> PatchError {
    PatchError::Malformed("invalid patch format of setElementOrder list".to_owned())
}

/// The patch's items must come in the order that it asks for.
fn check_order(change: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    let kept = change.iter().filter(|item| !item.is_object() || item.get(DIRECTIVE).is_none());
    let mut last = None;
    for item in kept {
        let position = order.iter().position(|entry| same(entry, item, key)).ok_or_else(bad_order)?;
        if last.is_some_and(|last| position < last) {
            return Err(bad_order());
        }
        last = Some(position);
    }
    Ok(())
}

fn merge_list(
    original: Vec<Value>,
    patch: &[Value],
    marks: Option<&'static FieldStrategy>,
) -> Result<Vec<Value>, PatchError> {
    let Some(marks) = marks.filter(|marks| marks.patch.merges()) else {
        return Ok(strip_list(patch));
    };
    if marks.merge_key.is_empty() {
        let mut merged = original.clone();
        merged.extend(patch.iter().filter(|entry| !original.contains(entry)).cloned());
        merged = unique(merged);
        return Ok(arrange(merged, patch, &original, ""));
    }
    merge_list_of_maps(original, patch, marks)
}

fn merge_list_of_maps(
    mut original: Vec<Value>,
    patch: &[Value],
    marks: &'static FieldStrategy,
) -> Result<Vec<Value>, PatchError> {
    let key = marks.merge_key;
    let mut ordinary = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).and_then(Value::as_str) {
            None | Some("merge") => ordinary.push(item),
            Some("replace") => replace = true,
            Some("delete") => {
                let unwanted = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
                original.retain(|entry| entry.get(key) != Some(unwanted));
            }
            Some(_) => return Err(unknown_directive(&item[DIRECTIVE], item.as_object().unwrap_or(&Map::new()))),
        }
    }
    if replace {
        return Ok(ordinary.into_iter().filter_map(strip).collect());
    }
    let server_order = original.clone();
    for item in &ordinary {
        let change = item.as_object().ok_or_else(|| no_merge_key(item, key))?;
        let wanted = change.get(key).ok_or_else(|| no_merge_key(item, key))?;
        match original.iter_mut().find(|entry| entry.get(key) == Some(wanted)) {
            Some(entry) => {
                let current = entry.as_object().cloned().unwrap_or_default();
                *entry = Value::Object(merge_map(current, change, marks.element)?);
            }
            None => original.extend(strip(item)),
        }
    }
    let patch_order: Vec<Value> = ordinary.into_iter().cloned().collect();
    Ok(arrange(original, &patch_order, &server_order, key))
}

fn no_merge_key(item: &Value, key: &str) -> PatchError {
    PatchError::Unprocessable(format!("map: {item} does not contain declared merge key: {key}"))
}

/// Whether two list entries are the same element: by key for maps, by value for scalars.
fn same(left: &Value, right: &Value, key: &str) -> bool {
    if key.is_empty() { left == right } else { left.get(key).is_some() && left.get(key) == right.get(key) }
}

/// Elements named by `wanted_order` come in that order; the others keep the server's order and go before the first
/// wanted element that the server has behind them.
fn arrange(merged: Vec<Value>, wanted_order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    let position = |order: &[Value], item: &Value| order.iter().position(|entry| same(entry, item, key));
    let is_wanted = |item: &Value| position(wanted_order, item).is_some();
    let (mut wanted, mut others): (Vec<Value>, Vec<Value>) = merged.into_iter().partition(is_wanted);
    wanted.sort_by_key(|item| position(wanted_order, item));
    others.sort_by_key(|item| position(server_order, item).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(wanted.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in wanted {
        let place = position(server_order, &item);
        while let Some(other) = others.peek() {
            let before = matches!((position(server_order, other), place), (Some(left), Some(right)) if left < right);
            if !before {
                break;
            }
            arranged.extend(others.next());
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}

fn unique(items: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// A value of the patch that is new to the object: without nulls and directives; nothing when it only deletes.
fn strip(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.get(DIRECTIVE).is_some_and(|directive| directive == "delete") => None,
        Value::Object(map) => Some(Value::Object(strip_map(map))),
        Value::Array(items) => Some(Value::Array(strip_list(items))),
        other => Some(other.clone()),
    }
}

fn strip_map(map: &Map<String, Value>) -> Map<String, Value> {
    let kept = map.iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
    kept.filter_map(|(key, value)| Some((key.clone(), strip(value)?))).collect()
}

fn strip_list(items: &[Value]) -> Vec<Value> {
    let is_bare = |item: &&Value| item.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(DIRECTIVE));
    items.iter().filter(|item| !is_bare(item)).filter_map(strip).collect()
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || key.starts_with(DELETE_PRIMITIVES)
}

#[cfg(test)]
mod tests;

//! Three-way merge of JSON: what is wanted, what is there, and what was wanted last. Fields that nobody asked for stay;
//! those that were asked for before and are not any more go.

use naru_api::quantity;
use serde_json::{Map, Value as Json};

/// Maps whose values are quantities, which the server writes in its own way.
const QUANTITIES: &[&str] =
    &["requests", "limits", "capacity", "allocatable", "hard", "overhead", "default", "defaultRequest", "min", "max"];

/// The live value with everything that is wanted.
pub(crate) fn merged(wanted: &Json, live: &Json, last: &Json) -> Json {
    merged_in("", wanted, live, last)
}

fn merged_in(field: &str, wanted: &Json, live: &Json, last: &Json) -> Json {
    match (wanted, live) {
        (Json::Object(wanted), Json::Object(live)) => Json::Object(merged_object(field, wanted, live, last)),
        (Json::Array(wanted), Json::Array(live)) if wanted.iter().all(Json::is_object) => {
            Json::Array(merged_list(wanted, live, last))
        }
        // Servers leave out what is empty.
        (Json::Object(empty), Json::Null) if empty.is_empty() => Json::Null,
        (Json::Array(empty), Json::Null) if empty.is_empty() => Json::Null,
        _ if QUANTITIES.contains(&field) && is_same_quantity(wanted, live) => live.clone(),
        _ => wanted.clone(),
    }
}

fn merged_object(field: &str, wanted: &Map<String, Json>, live: &Map<String, Json>, last: &Json) -> Map<String, Json> {
    let was_wanted = |key: &String| last.get(key).is_some();
    let mut result: Map<String, Json> = live
        .iter()
        .filter(|(key, _)| wanted.contains_key(*key) || !was_wanted(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in wanted {
        // Inside a map of quantities every value is one.
        let inner = if QUANTITIES.contains(&field) { field } else { key.as_str() };
        let merged = merged_in(inner, value, live.get(key).unwrap_or(&Json::Null), &last[key.as_str()]);
        if !merged.is_null() {
            result.insert(key.clone(), merged);
        }
    }
    result
}

/// Lists of objects: the same element is the one of the same name, else one that has all that is wanted, else the one
/// at the same place. The order of what is there stays.
fn merged_list(wanted: &[Json], live: &[Json], last: &Json) -> Vec<Json> {
    let last = last.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut partner: Vec<Option<usize>> = vec![None; live.len()];
    let mut alone = Vec::new();
    for (number, element) in wanted.iter().enumerate() {
        let is_free = |place: &usize| partner[*place].is_none();
        let mut places = (0..live.len()).filter(is_free);
        match places.find(|place| is_same_element(element, &live[*place])) {
            Some(place) => partner[place] = Some(number),
            None => alone.push(number),
        }
    }
    if wanted.len() == live.len() {
        alone.retain(|number| {
            let fits = partner[*number].is_none() && name(&wanted[*number]).is_none();
            if fits {
                partner[*number] = Some(*number);
            }
            !fits
        });
    }
    let mut result = Vec::new();
    for (element, partner) in live.iter().zip(&partner) {
        let before = last.iter().find(|before| is_same_element(before, element));
        match partner {
            Some(number) => {
                result.push(merged_in("", &wanted[*number], element, before.unwrap_or(&Json::Null)));
            }
            None if before.is_some() => {}
            None => result.push(element.clone()),
        }
    }
    result.extend(alone.into_iter().map(|number| wanted[number].clone()));
    result
}

fn name(element: &Json) -> Option<&str> {
    element["name"].as_str()
}

fn is_same_element(wanted: &Json, live: &Json) -> bool {
    match (name(wanted), name(live)) {
        (Some(wanted), Some(live)) => wanted == live,
        _ => merge_patch(&merged_in("", wanted, live, &Json::Null), live).is_none(),
    }
}

fn is_same_quantity(one: &Json, other: &Json) -> bool {
    let read = |value: &Json| quantity::Quantity::from_json(value).ok();
    matches!((read(one), read(other)), (Some(one), Some(other)) if one == other)
}

/// Paths at which two values differ, objects looked into.
pub(crate) fn differences(wanted: &Json, live: &Json) -> Vec<String> {
    let mut found = Vec::new();
    collect("", wanted, live, &mut found);
    found
}

fn collect(path: &str, wanted: &Json, live: &Json, found: &mut Vec<String>) {
    match (wanted, live) {
        _ if wanted == live => {}
        (Json::Object(wanted), Json::Object(live)) => {
            let mut keys: Vec<&String> = wanted.keys().chain(live.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let at = |object: &Map<String, Json>| object.get(key).cloned().unwrap_or(Json::Null);
                collect(&path, &at(wanted), &at(live), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// The merge patch (RFC 7386) from what is there to what is wanted; nothing if they are the same.
pub(crate) fn merge_patch(wanted: &Json, live: &Json) -> Option<Json> {
    match (wanted, live) {
        _ if wanted == live => None,
        (Json::Object(wanted), Json::Object(live)) => {
            let gone = live.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Json::Null));
            let mut patch: Map<String, Json> = gone.collect();
            for (key, value) in wanted {
                if let Some(value) = merge_patch(value, live.get(key).unwrap_or(&Json::Null)) {
                    patch.insert(key.clone(), value);
                }
            }
            Some(Json::Object(patch))
        }
        _ => Some(wanted.clone()),
    }
}

/// Fields that are null say nothing.
pub(crate) fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Json::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Json::Array(elements) => Json::Array(elements.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differ(wanted: Json, live: &Json, last: Json) -> Vec<String> {
        differences(&merged(&wanted, live, &last), live)
    }

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let live = json!({"spec": {"replicas": 2, "strategy": {"type": "RollingUpdate"}, "template": {"spec": {
            "containers": [
                {"name": "side", "image": "s"},
                {"name": "web", "image": "w:1", "imagePullPolicy": "Always",
                 "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}},
            ],
            "tolerations": [{"key": "added", "operator": "Exists"}, {"key": "mine", "operator": "Equal"}],
        }}}});
        let wanted = |image: &str, cpu: &str| {
            json!({"spec": {"replicas": 2, "template": {"spec": {
                "containers": [{"name": "web", "image": image, "env": [],
                    "resources": {"limits": {"cpu": cpu, "memory": "1024Mi"}}}],
                "tolerations": [{"key": "mine"}],
            }}}})
        };
        assert_eq!(differ(wanted("w:1", "0.5"), &live, Json::Null), Vec::<String>::new());
        assert_eq!(differ(wanted("w:2", "0.5"), &live, Json::Null), ["spec.template.spec.containers"]);
        assert_eq!(differ(wanted("w:1", "0.6"), &live, Json::Null), ["spec.template.spec.containers"]);
        // The second container was ours and is not wanted any more.
        let last = json!({"spec": {"template": {"spec": {"containers": [{"name": "side"}, {"name": "web"}]}}}});
        assert_eq!(differ(wanted("w:1", "0.5"), &live, last), ["spec.template.spec.containers"]);
    }

    #[test]
    fn what_is_kept_of_a_changed_element_is_the_servers() {
        let live = json!({"ports": [{"port": 80, "targetPort": 1, "nodePort": 30000}]});
        let merged = merged(&json!({"ports": [{"port": 80, "targetPort": 2}]}), &live, &Json::Null);
        assert_eq!(merged, json!({"ports": [{"port": 80, "targetPort": 2, "nodePort": 30000}]}));
        let patch = merge_patch(&merged, &live).unwrap();
        assert_eq!(patch, json!({"ports": [{"port": 80, "targetPort": 2, "nodePort": 30000}]}));
        let args = json!({"args": ["a", "b"]});
        assert_eq!(differ(json!({"args": ["b", "a"]}), &args, Json::Null), ["args"]);
    }
}

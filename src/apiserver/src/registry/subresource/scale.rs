//! `autoscaling/v1 Scale`: replicas of whatever has `spec.replicas`.

use bytes::Bytes;
use http::StatusCode;
use naru_api::FieldError;
use naru_api::selector::LabelSelector;
use serde_json::{Value, json};

use crate::registry::modify::Part;
use crate::registry::patch::Patch;
use crate::registry::{Call, Registry, Saved, Target, view};
use crate::status::ApiError;
use crate::web::{Outcome, body};

impl Registry {
    pub(super) async fn scale(&self, call: &Call, target: &Target<'_>, bytes: &Bytes) -> Outcome {
        let row = target.row;
        if call.info.verb == "get" {
            let entry = self.entry(target)?;
            let object = self.objects.decode(row, &entry);
            return view::value_response(&scale_of(&object), StatusCode::OK, call.output);
        }
        let patch = (call.info.verb == "patch").then(|| Patch::read(call, bytes)).transpose()?;
        let sent = if patch.is_some() { Value::Null } else { body::object(&call.parts.headers, bytes)? };
        let change = |old: &Value| {
            let wanted = match &patch {
                Some(patch) => patch.apply(row, target.name, &scale_of(old))?,
                None => sent.clone(),
            };
            let replicas = match &wanted["spec"]["replicas"] {
                Value::Null => 0,
                value => value.as_i64().unwrap_or(-1),
            };
            if replicas < 0 {
                let error = FieldError::invalid(
                    "spec.replicas",
                    &wanted["spec"]["replicas"],
                    "must be greater than or equal to 0",
                );
                return Err(ApiError::invalid(row, target.name, &[error]));
            }
            let mut new = old.clone();
            let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !version.is_empty() {
                new["metadata"]["resourceVersion"] = json!(version);
            }
            new["spec"]["replicas"] = json!(replicas);
            Ok(new)
        };
        let object = match self.modify(call, target, Part::Main, call.query.dry_run()?, &change).await? {
            Saved::Entry(entry) => self.objects.decode(row, &entry),
            Saved::Dry(object) => object,
        };
        view::value_response(&scale_of(&object), StatusCode::OK, call.output)
    }
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    // ReplicationControllers select by a plain map, the others by a LabelSelector.
    let selector = &object["spec"]["selector"];
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let selector = match selector.as_object() {
        Some(map) if plain => LabelSelector::from_map(map).to_string(),
        _ => LabelSelector::from_object(selector).map(|selector| selector.to_string()).unwrap_or_default(),
    };
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: serde_json::Map<String, Value> =
        kept.iter().filter_map(|field| Some(((*field).to_owned(), metadata.get(*field)?.clone()))).collect();
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

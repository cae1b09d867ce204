//! Subresources: status, scale, binding, eviction, finalize, approval, token, and what is passed on to kubelets.

mod binding;
mod eviction;
mod pod_fields;
mod scale;

use bytes::Bytes;
use http::StatusCode;
use naru_api::Resource;
use serde_json::Value;

use crate::registry::modify::Part;
use crate::registry::patch::Patch;
use crate::registry::{Call, Registry, Target, answer, kinds};
use crate::status::ApiError;
use crate::web::Outcome;

impl Registry {
    pub(crate) async fn serve_subresource(&self, call: &Call, target: &Target<'_>, body: Bytes) -> Outcome {
        let row = target.row;
        let subresource = row.subresource(&call.info.subresource).ok_or_else(ApiError::unknown_path)?;
        if !subresource.verbs.contains(&call.info.verb.as_str()) {
            return Err(ApiError::method_not_allowed());
        }
        match (subresource.name, call.info.verb.as_str()) {
            ("scale", _) => self.scale(call, target, &body).await,
            (_, "get") => self.get(call, target),
            ("status", "update") => self.update(call, target, Part::Status, &body).await,
            ("status", "patch") => self.patch(call, target, Part::Status, &body).await,
            ("approval", _) => self.change_fields(call, target, &["/status/conditions"], &body).await,
            ("ephemeralcontainers", _) => self.change_fields(call, target, &["/spec/ephemeralContainers"], &body).await,
            ("resize", _) => {
                self.change_fields(call, target, &["/spec/containers", "/spec/initContainers"], &body).await
            }
            ("finalize", _) => self.change_fields(call, target, &["/spec/finalizers"], &body).await,
            ("binding", _) => {
                let object = crate::web::body::object(&call.parts.headers, &body)?;
                self.bind(call, target.namespace, target.name, &object).await
            }
            ("eviction", _) => self.evict(call, target, &body).await,
            ("token", _) => {
                let object = crate::web::body::object(&call.parts.headers, &body)?;
                let answered = self.computed.create(&call.user, &call.info, object)?;
                answer(&answered, StatusCode::CREATED, call.output)
            }
            _ => Err(ApiError::unknown_path()),
        }
    }

    /// PUT or PATCH of an object of which only these fields may change.
    async fn change_fields(&self, call: &Call, target: &Target<'_>, pointers: &[&str], body: &Bytes) -> Outcome {
        let row = target.row;
        let patch = (call.info.verb == "patch").then(|| Patch::read(call, body)).transpose()?;
        let sent = if patch.is_some() { Value::Null } else { self.decode_body(call, row, body)? };
        let change = |old: &Value| {
            let wanted = match &patch {
                Some(patch) => patch.apply(row, target.name, old)?,
                None => sent.clone(),
            };
            check_version(target, old, &wanted)?;
            let new = take_fields(row, old, &wanted, pointers);
            let mut errors = (row.strategy.validate)(&new);
            if kinds::is_pod(row) {
                errors.extend(pod_fields::judge(&call.info.subresource, &new, old));
            }
            match errors.is_empty() {
                true => Ok(new),
                false => Err(ApiError::invalid(row, target.name, &errors)),
            }
        };
        let saved = self.modify(call, target, Part::Fields, call.query.dry_run()?, &change).await?;
        self.respond_saved(call, row, saved, StatusCode::OK)
    }
}

fn check_version(target: &Target<'_>, old: &Value, wanted: &Value) -> Result<(), ApiError> {
    let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    match version.is_empty() || old["metadata"]["resourceVersion"] == version {
        true => Ok(()),
        false => Err(super::metadata::modified(target)),
    }
}

fn take_fields(row: &Resource, old: &Value, wanted: &Value, pointers: &[&str]) -> Value {
    let mut new = old.clone();
    for pointer in pointers {
        let (parent, field) = pointer.rsplit_once('/').expect("pointers here have two parts");
        let value = wanted.pointer(pointer).cloned().unwrap_or_default();
        let parent = parent.trim_start_matches('/');
        match (value.is_null(), new[parent].as_object_mut()) {
            (true, Some(map)) => drop(map.remove(field)),
            (true, None) => {}
            (false, _) => new[parent][field] = value,
        }
    }
    if !kinds::is_namespace(row) {
        naru_api::apply_defaults(row, &mut new);
    }
    new
}

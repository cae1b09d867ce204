//! Deletion: at once, after a grace period (pods), or when the last finalizer is gone.

use std::sync::Arc;

use http::StatusCode;
use naru_store::{Change, Condition, Entry, StoreError, Write};
use serde_json::{Value, json};

use crate::chain::{AdmissionRequest, Operation};
use crate::registry::list::store_error;
use crate::registry::modify::{Part, is_deletable};
use crate::registry::objects::now_unix_s;
use crate::registry::select::Selection;
use crate::registry::{Call, Registry, Saved, Target, answer, catalog, kinds, metadata, view};
use crate::status::ApiError;
use crate::web::Outcome;
use crate::web::query::DeleteOptions;

/// Attempts at one deletion when others write the same object.
const ATTEMPTS_MAX: usize = 128;
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(crate) enum Deleted {
    /// Gone, or in a dry run about to be: its last state.
    Removed(Value),
    /// Marked; it goes when its grace is over and its finalizers are gone.
    Marked(Saved),
}

impl Registry {
    pub(crate) async fn delete(&self, call: &Call, target: &Target<'_>, options: &DeleteOptions) -> Outcome {
        match self.delete_object(call, target, options).await? {
            Deleted::Marked(saved) => self.respond_saved(call, target.row, saved, StatusCode::OK),
            Deleted::Removed(object) if kinds::returns_deleted_object(target.row) => {
                answer(&object, StatusCode::OK, call.output)
            }
            Deleted::Removed(object) => answer(&success(target, &object), StatusCode::OK, call.output),
        }
    }

    pub(crate) async fn delete_object(
        &self,
        call: &Call,
        target: &Target<'_>,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            let entry = self.entry(target)?;
            let old = self.objects.decode(target.row, &entry);
            check_preconditions(target, &old, options)?;
            let mut nothing = Value::Null;
            let mut request = AdmissionRequest {
                operation: Operation::Delete,
                resource: target.row,
                info: &call.info,
                user: &call.user,
                object: &mut nothing,
                old_object: Some(&old),
                dry_run: options.dry_run,
            };
            self.admission.admit(&mut request)?;
            let marked = mark(target, &old, options);
            if !is_deletable(target, &marked) {
                let base = entry.revision.to_string();
                let change = |now: &Value| match now["metadata"]["resourceVersion"] == base.as_str() {
                    true => Ok(marked.clone()),
                    // Written in between: what was decided on the old state has to be decided again.
                    false => {
                        check_preconditions(target, now, options)?;
                        Ok(mark(target, now, options))
                    }
                };
                let saved = self.modify(call, target, Part::Own, options.dry_run, &change).await?;
                return Ok(Deleted::Marked(saved));
            }
            if options.dry_run {
                return Ok(Deleted::Removed(old));
            }
            if let Some(last) = self.remove(target, &entry).await? {
                let object = self.objects.decode(target.row, &last);
                self.admission.settled(target.row, &object, true);
                return Ok(Deleted::Removed(object));
            }
        }
        Err(metadata::modified(target))
    }

    /// None when somebody else wrote in between.
    async fn remove(&self, target: &Target<'_>, entry: &Entry) -> Result<Option<Arc<Entry>>, ApiError> {
        let write = Write {
            table: self.objects.catalog.table(target.row),
            key: catalog::key(target.row, target.namespace, target.name),
            condition: Condition::Revision(entry.revision),
            change: Change::Delete(None),
        };
        match self.objects.store.write(write).await {
            Ok(last) => Ok(Some(last)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(StoreError::NotFound) => Err(target.not_found()),
            Err(error) => Err(store_error(&error)),
        }
    }

    pub(crate) async fn delete_collection(&self, call: &Call, target: &Target<'_>, options: &DeleteOptions) -> Outcome {
        let row = target.row;
        let selection = Selection::parse(row, target.namespace, target.name, &call.query)?;
        let snapshot = self.objects.store.snapshot(&self.objects.catalog.table(row));
        let mut items = Vec::new();
        for (key, entry) in snapshot.entries.iter() {
            if !selection.matches(&self.objects, key, entry) {
                continue;
            }
            let (namespace, name) = catalog::split_key(key);
            match self.delete_object(call, &Target { row, namespace, name }, options).await {
                Ok(Deleted::Removed(object) | Deleted::Marked(Saved::Dry(object))) => items.push(object),
                Ok(Deleted::Marked(Saved::Entry(entry))) => items.push(self.objects.decode(row, &entry)),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let list = json!({"kind": format!("{}List", row.kind), "apiVersion": row.api_version(),
            "metadata": {"resourceVersion": self.objects.store.revision().to_string()}, "items": items});
        view::value_response(&list, StatusCode::OK, call.output)
    }
}

fn check_preconditions(target: &Target<'_>, object: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let metadata = &object["metadata"];
    for (wanted, field, label) in
        [(&options.uid, "uid", "UID"), (&options.resource_version, "resourceVersion", "ResourceVersion")]
    {
        let found = metadata[field].as_str().unwrap_or_default();
        if !wanted.is_empty() && wanted != found {
            let why =
                format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}");
            return Err(target.conflict(&why));
        }
    }
    Ok(())
}

/// The object as it is while it waits to be removed. If it waits already, only less grace changes anything.
fn mark(target: &Target<'_>, old: &Value, options: &DeleteOptions) -> Value {
    let row = target.row;
    let mut object = old.clone();
    set_finalizers(&mut object, &options.propagation_policy);
    let grace = match row.strategy.graceful_deletion {
        true => kinds::grace_seconds(old, options.grace_period_seconds),
        false => 0,
    };
    let was_marked = !metadata::is_empty(&old["metadata"]["deletionTimestamp"]);
    let granted = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if was_marked && (grace >= granted || (options.grace_period_seconds.is_none() && grace != 0)) {
        return object;
    }
    object["metadata"]["deletionTimestamp"] = json!(naru_api::time::rfc3339_seconds(now_unix_s() + grace));
    object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    if !was_marked {
        kinds::mark_deleted(row, &mut object);
        if object["metadata"]["generation"].as_i64().is_some_and(|generation| generation > 0) {
            metadata::bump_generation(&mut object);
        }
    }
    object
}

fn set_finalizers(object: &mut Value, policy: &str) {
    let wanted = match policy {
        "Foreground" => Some(FOREGROUND),
        "Orphan" => Some(ORPHAN),
        "Background" => None,
        _ => return,
    };
    let mut finalizers: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|one| one != FOREGROUND && one != ORPHAN);
    finalizers.extend(wanted.map(Value::from));
    match (finalizers.is_empty(), object["metadata"].as_object_mut()) {
        (true, Some(metadata)) => drop(metadata.remove("finalizers")),
        _ => object["metadata"]["finalizers"] = Value::Array(finalizers),
    }
}

fn success(target: &Target<'_>, object: &Value) -> Value {
    let mut details = json!({"name": target.name, "kind": target.row.plural, "uid": object["metadata"]["uid"]});
    if !target.row.group.is_empty() {
        details["group"] = json!(target.row.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

//! Changing an object that exists: every update, patch and subresource write goes through [`Registry::modify`], which
//! reads, changes, admits, validates, compares and swaps, and begins anew when somebody else was faster.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use naru_store::{Change, Condition, Entry, StoreError, Write};
use serde_json::Value;

use crate::chain::{AdmissionRequest, Operation};
use crate::registry::list::store_error;
use crate::registry::{Call, Registry, Saved, Target, catalog, kinds, metadata};
use crate::status::ApiError;
use crate::web::Outcome;

/// Attempts at one change when others write the same object.
const ATTEMPTS_MAX: usize = 128;

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but status.
    Main,
    /// Status, labels and annotations.
    Status,
    /// The fields of one subresource (binding, finalize, approval, resize), picked and judged by its own code.
    Fields,
    /// Marks of a deletion, which was admitted as such.
    Own,
}

pub(crate) type ChangeFn<'a> = &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync);

enum Step {
    Done(Saved),
    /// Somebody else wrote in between.
    Again,
}

impl Registry {
    pub(crate) async fn update(&self, call: &Call, target: &Target<'_>, part: Part, body: &Bytes) -> Outcome {
        let row = target.row;
        let object = self.decode_body(call, row, body)?;
        let warnings = self.check_fields(call, row, &object)?;
        let dry_run = call.query.dry_run()?;
        let exists = self.objects.entry(row, target.namespace, target.name).is_some();
        if !exists && part == Part::Main && row.strategy.create_on_update {
            let mut object = object;
            if metadata::of(&mut object)?.get("name").and_then(Value::as_str).is_some_and(|name| name != target.name) {
                return Err(ApiError::bad_request("the name of the object does not match the name on the URL"));
            }
            let saved = self.create_object(call, target, object, dry_run).await?;
            return Self::warned(self.respond_saved(call, row, saved, StatusCode::CREATED), &warnings);
        }
        let saved = self.modify(call, target, part, dry_run, &|_| Ok(object.clone())).await?;
        Self::warned(self.respond_saved(call, row, saved, StatusCode::OK), &warnings)
    }

    pub(crate) async fn modify(
        &self,
        call: &Call,
        target: &Target<'_>,
        part: Part,
        dry_run: bool,
        change: ChangeFn<'_>,
    ) -> Result<Saved, ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            let entry = self.entry(target)?;
            let old = self.objects.decode(target.row, &entry);
            let new = change(&old)?;
            match self.replace(call, target, part, dry_run, (&entry, &old), new).await? {
                Step::Done(saved) => return Ok(saved),
                Step::Again => {}
            }
        }
        Err(metadata::modified(target))
    }

    async fn replace(
        &self,
        call: &Call,
        target: &Target<'_>,
        part: Part,
        dry_run: bool,
        (entry, old): (&Arc<Entry>, &Value),
        mut new: Value,
    ) -> Result<Step, ApiError> {
        if part == Part::Own {
            return self.store_change(target, dry_run, (entry, old), new).await;
        }
        if part != Part::Fields {
            prepare(target, part, old, &mut new)?;
        }
        let mut request = AdmissionRequest {
            operation: Operation::Update,
            resource: target.row,
            info: &call.info,
            user: &call.user,
            object: &mut new,
            old_object: Some(old),
            dry_run,
        };
        self.admission.admit(&mut request)?;
        let result = match validate(target, part, old, &mut new) {
            Ok(()) => self.store_change(target, dry_run, (entry, old), new.clone()).await,
            Err(error) => Err(error),
        };
        let committed = !dry_run && matches!(result, Ok(Step::Done(_)));
        self.admission.settled(target.row, &new, committed);
        result
    }

    /// Stores the new state, or removes the object if the change took away the last thing its deletion waited for.
    async fn store_change(
        &self,
        target: &Target<'_>,
        dry_run: bool,
        (entry, old): (&Arc<Entry>, &Value),
        mut new: Value,
    ) -> Result<Step, ApiError> {
        if *old == new {
            return Ok(Step::Done(Saved::Entry(Arc::clone(entry))));
        }
        // Whatever way it was changed: one object that typed clients cannot read ends every watch of its kind.
        crate::schema::check_types(target.row, &new)?;
        if dry_run {
            new["metadata"]["resourceVersion"] = entry.revision.to_string().into();
            return Ok(Step::Done(Saved::Dry(new)));
        }
        let gone = is_deletable(target, &new);
        let draft = self.objects.draft(target.row, new);
        let write = Write {
            table: self.objects.catalog.table(target.row),
            key: catalog::key(target.row, target.namespace, target.name),
            condition: Condition::Revision(entry.revision),
            change: if gone { Change::Delete(Some(draft)) } else { Change::Put(draft) },
        };
        let stored = match self.objects.store.write(write).await {
            Ok(stored) => stored,
            Err(StoreError::Conflict { .. }) => return Ok(Step::Again),
            Err(StoreError::NotFound) => return Err(target.not_found()),
            Err(error) => return Err(store_error(&error)),
        };
        Ok(Step::Done(Saved::Entry(stored)))
    }
}

/// Marked for deletion, its grace over, and nothing left to wait for.
pub(crate) fn is_deletable(target: &Target<'_>, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let marked = !metadata::is_empty(&metadata["deletionTimestamp"]);
    let graceful = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    marked && !graceful && !kinds::has_finalizers(target.row, object)
}

/// Leaves in `new` only the changes that this part of the object allows.
fn prepare(target: &Target<'_>, part: Part, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    metadata::prepare_update(target, old, new)?;
    if part == Part::Status {
        let mut result = old.clone();
        result["status"] = new["status"].take();
        for field in ["labels", "annotations"] {
            result["metadata"][field] = new["metadata"][field].take();
        }
        metadata::clean(metadata::of(&mut result)?);
        *new = result;
    } else if target.row.subresource("status").is_some() {
        let map = new.as_object_mut().ok_or_else(|| ApiError::bad_request("the object is not a map"))?;
        match old.get("status") {
            Some(status) => map.insert("status".to_owned(), status.clone()),
            None => map.remove("status"),
        };
        kinds::keep_on_update(target.row, old, new);
    }
    if part == Part::Main {
        naru_api::prepare_update(target.row, new, old);
    }
    if new["status"].is_null()
        && let Some(map) = new.as_object_mut()
    {
        map.remove("status");
    }
    naru_api::apply_defaults(target.row, new);
    Ok(())
}

fn validate(target: &Target<'_>, part: Part, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    let row = target.row;
    if part == Part::Fields {
        return Ok(());
    }
    naru_api::apply_defaults(row, new);
    metadata::check_finalizers(row, target.name, old, new)?;
    let errors = match part {
        Part::Main => naru_api::validate_update(row, new, old),
        _ => Vec::new(),
    };
    if !errors.is_empty() {
        return Err(ApiError::invalid(row, target.name, &errors));
    }
    if part == Part::Main && row.strategy.generation && metadata::spec_differs(old, new) {
        metadata::bump_generation(new);
    }
    Ok(())
}

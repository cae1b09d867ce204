//! What the Kubernetes API is made of, as data: the resource table from which routes, discovery, tables, RBAC names
//! and garbage collection are derived, and the pure functions every program shares (metadata, selectors,
//! quantities, patches, defaults, validation). No I/O, no clock, no async.

mod convert;
mod defaults;
pub mod discovery;
pub mod meta;
pub mod names;
pub mod patch;
mod print;
pub mod quantity;
mod resource;
mod rows;
pub mod selector;
pub mod table_output;
pub mod time;
mod validate;

pub use resource::{Column, FieldError, FieldErrorKind, Resource, Scope, StoredAs, Strategy, Subresource};
pub use rows::{by_kind, by_plural, groups, of_object, stored_row, table};

use serde_json::Value;

/// Removes nulls and fills in what the client left out: for every decoded object, before validation, idempotent.
pub fn apply_defaults(resource: &Resource, object: &mut Value) {
    defaults::drop_nulls(object);
    (resource.strategy.default)(object);
}

/// What a new object gets from its name and UID, once it has them: a job's selector.
pub fn prepare_create(resource: &Resource, object: &mut Value) {
    if (resource.group, resource.kind) == ("batch", "Job") {
        defaults::prepare_job(object);
    }
}

/// What an update keeps of the old object although the client left it out: addresses and node ports of a service.
pub fn prepare_update(resource: &Resource, new: &mut Value, old: &Value) {
    if (resource.group, resource.kind) == ("", "Service") {
        defaults::keep_allocated(new, old);
    }
}

/// All errors of a new object: metadata and what the kind demands.
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = validate::metadata(resource, object);
    errors.extend((resource.strategy.validate)(object));
    errors
}

/// All errors of a changed object. Not for the subresources that may change more (binding, ephemeralcontainers,
/// resize).
pub fn validate_update(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate::metadata(resource, new);
    errors.extend(validate::metadata_update(new, old));
    errors.extend((resource.strategy.validate)(new));
    errors.extend((resource.strategy.validate_update)(new, old));
    errors
}

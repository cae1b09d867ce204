//! One row of the resource table.

use serde_json::Value;

/// A kind that the API serves. Everything the server does for it follows from this row.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    /// Verbs as discovery prints them. A kind with only `create` (TokenReview…) is computed, never stored.
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Selectable fields beside metadata.name and metadata.namespace: label and JSON pointer, as `spec.nodeName`.
    pub fields: &'static [(&'static str, &'static str)],
    pub columns: &'static [Column],
    pub strategy: Strategy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// A subresource: its name, the kind it speaks (which may be of another group: `autoscaling/v1 Scale`), its verbs.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// One column of the Table form. `priority` 0 is always shown, 1 with `-o wide`.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: string, integer, boolean, date.
    pub r#type: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: u8,
    /// The cell, from the object and the present moment (for ages), as JSON.
    pub cell: fn(&Value, now_unix_s: i64) -> Value,
}

/// What a kind does on the write path, beyond what all kinds do.
#[derive(Debug, Clone, Copy)]
pub struct Strategy {
    /// Fill what the client left out. Idempotent.
    pub default: fn(&mut Value),
    /// Errors of the object by itself.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// Errors of the change (immutable fields); the new object comes first.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// `metadata.generation` counts changes outside metadata and status.
    pub generation: bool,
    /// Deletion waits `deletionGracePeriodSeconds` for somebody to confirm it (pods).
    pub graceful_deletion: bool,
    /// An object may be made by PUT to a name that does not exist (leases, events…).
    pub create_on_update: bool,
}

/// One cause of a 422, as in `Status.details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub kind: FieldErrorKind,
    /// `spec.template.spec.containers[0].image`
    pub field: String,
    /// Full text as kubectl prints it after the field: `Required value`, `Invalid value: "x": must be …`.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    Duplicate,
    NotSupported,
    Forbidden,
    TooLong,
}

impl FieldErrorKind {
    /// `reason` of the cause: `FieldValueRequired`…
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
        }
    }
}

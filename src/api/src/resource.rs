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
    /// Set when the objects are another row's, seen under other names. Only the other row is stored; the strategy,
    /// the selectable fields and the columns here apply to this row's form.
    pub stored_as: Option<StoredAs>,
}

/// How one row is a view on the objects of another (`events.k8s.io/v1` on core events, `autoscaling/v1` on `v2`).
#[derive(Debug, Clone, Copy)]
pub struct StoredAs {
    pub group: &'static str,
    pub version: &'static str,
    /// Rewrites an object of this row into the stored form, `apiVersion` and `kind` included.
    pub to_stored: fn(&mut Value),
    /// Rewrites a stored object into this row's form, `apiVersion` and `kind` included.
    pub from_stored: fn(&mut Value),
}

impl Resource {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        crate::meta::api_version(self.group, self.version)
    }

    /// `deployments.apps`, or `pods` for the core group: how messages name the resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects of the kind exist in the store (reviews and bindings are computed).
    pub fn is_stored(&self) -> bool {
        self.has_verb("get")
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
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
    NotFound,
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { kind: FieldErrorKind::Required, field: field.into(), message }
    }

    /// `value` is shown quoted when it is text, as JSON otherwise.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self { kind: FieldErrorKind::Invalid, field: field.into(), message }
    }

    pub fn invalid_text(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self::invalid(field, &Value::String(value.to_owned()), detail)
    }

    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self { kind: FieldErrorKind::Duplicate, field: field.into(), message: format!("Duplicate value: {value}") }
    }

    pub fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
        let message = format!("Unsupported value: \"{value}\": supported values: {}", quoted.join(", "));
        Self { kind: FieldErrorKind::NotSupported, field: field.into(), message }
    }

    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { kind: FieldErrorKind::Forbidden, field: field.into(), message: format!("Forbidden: {detail}") }
    }

    pub fn not_found(field: impl Into<String>, value: &str) -> Self {
        let message = format!("Not found: \"{value}\"");
        Self { kind: FieldErrorKind::NotFound, field: field.into(), message }
    }

    pub fn too_long(field: impl Into<String>, most_bytes: usize) -> Self {
        let message = format!("Too long: may not be more than {most_bytes} bytes");
        Self { kind: FieldErrorKind::TooLong, field: field.into(), message }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
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
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

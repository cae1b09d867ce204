//! What the Kubernetes API is made of, as data: the resource table from which routes, discovery, tables, RBAC names
//! and garbage collection are derived, and the pure functions every program shares (metadata, selectors,
//! quantities, patches, defaults, validation). No I/O, no clock, no async.

mod resource;

pub use resource::{Column, FieldError, FieldErrorKind, Resource, Scope, Strategy, Subresource};

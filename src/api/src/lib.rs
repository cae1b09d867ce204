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

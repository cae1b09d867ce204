//! Host resources: what a host should look like, as data, and the three verbs on it. Every resource can be
//! `check`ed (what differs, changing nothing) and `apply`ed (make it so, idempotent, atomic). `plan` and `apply`
//! run the same check, so a dry run cannot lie.

mod resource;

pub use resource::{Authority, Certificate, Change, Content, Disruption, Resource, Usage};

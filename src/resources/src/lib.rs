//! Host resources: what a host should look like, as data, and the three verbs on it. Every resource can be
//! `check`ed (what differs, changing nothing) and `apply`ed (make it so, idempotent, atomic). `plan` and `apply`
//! run the same check, so a dry run cannot lie.

mod artifact;
mod atomic;
mod command;
mod error;
mod host;
mod kinds;
mod manifest;
mod pending;
mod resource;
mod run;
pub mod secret;
mod text_diff;

pub use artifact::{ArtifactWriter, missing_artifacts};
pub use command::{Output, Program};
pub use error::ResourceError;
pub use host::Host;
pub use kinds::certificate::{install_certificate, profile, sign, signing_request};
pub use kinds::image::normalized_reference;
pub use kinds::pause::pause_program;
pub use kinds::systemd::{journal, unit_states};
pub use manifest::{Entry, Manifest};
pub use resource::{Authority, Certificate, Change, Content, Disruption, Resource, Usage};
pub use run::{Stop, apply_all, check_all};

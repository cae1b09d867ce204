//! Host resources: what a host should look like, as data, and the three verbs on it. Every resource can be
//! `check`ed (what differs, changing nothing) and `apply`ed (make it so, idempotent, atomic). `plan` and `apply`
//! run the same check, so a dry run cannot lie.

mod artifact;
mod atomic;
mod command;
mod drift;
mod error;
mod hashes;
mod host;
mod kinds;
mod manifest;
mod originals;
mod pending;
mod resource;
mod restarts;
pub mod revert;
mod run;
mod saved;
pub mod secret;
mod teardown;
mod text_diff;

pub use artifact::{ArtifactWriter, Missing, artifact_path, missing_artifacts, prune_artifacts};
pub use atomic::{turn, write as write_whole};
pub use command::{Output, Program};
pub use drift::drifted;
pub use error::ResourceError;
pub use host::{Host, PROGRAM_PATH};
pub use kinds::certificate::{install_certificate, profile, sign, signing_request};
pub use kinds::image::normalized_reference;
pub use kinds::pause::pause_program;
pub use kinds::systemd::{UnitStatus, journal, read_journal, unit_states};
pub use manifest::{Entry, Manifest};
pub use pending::Pending;
pub use resource::{Authority, Certificate, Change, Content, Disruption, Resource, Usage};
pub use run::{Guard, Stop, apply_all, apply_guarded, check_all};
pub use teardown::Teardown;

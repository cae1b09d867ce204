//! The planner: a pure, synchronous, deterministic function from inventory and observation to a plan. No files, no
//! network, no clock. The plan is data: steps with their exact changes, what each disturbs and what it waits for, and
//! notes about what is not done and why.

mod desired;
mod labels;
mod lint;
mod names;
mod plan;
mod planner;
mod render;
#[cfg(any(test, feature = "scenarios"))]
pub mod scenarios;
mod settings;
mod templates;

pub use desired::{
    AUTHORITY_CERTIFICATE, AUTHORITY_KEY, CONTROL_PLANE_UNIT, Desired, ETCD_AUTHORITY_CERTIFICATE, ETCD_AUTHORITY_KEY,
    ETCD_JOIN_FILE, ETCD_UNIT, NODE_UNIT, ProgramVersion, Programs, Stage, Wanted, administrator_certificate, desired,
    peer_url,
};
pub use labels::LabelChange;
pub use plan::{
    Action, Artifact, CORDONED_ANNOTATION, Finding, FindingCode, Note, NoteKind, PLAN_FORMAT, Plan, Severity, Step,
};
pub use planner::{Options, plan, reset_stops};
pub use render::{Colour, render};

#[cfg(test)]
mod tests;

//! The Kubernetes API server: HTTP surface, authentication, authorization, admission, and one generic registry that
//! serves every row of the resource table from the store. No kind has a handler of its own.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod chain;
pub mod computed;
mod documents;
mod handler;
mod kubelet;
mod metrics;
mod registry;
mod schema;
mod settings;
pub mod status;
pub mod web;

pub use chain::{Operation, RequestInfo, UserInfo};
pub use documents::GIT_VERSION;
pub use handler::{ApiServer, Config};
pub use kubelet::KubeletAccess;
pub use registry::catalog::Catalog;
pub use registry::objects::Objects;
pub use settings::Settings;
pub use status::ApiError;
pub use web::{Body, BoxError, tls};

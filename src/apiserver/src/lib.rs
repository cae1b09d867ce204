//! The Kubernetes API server: HTTP surface, authentication, authorization, admission, and one generic registry that
//! serves every row of the resource table from the store. No kind has a handler of its own.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod chain;
pub mod computed;
pub mod status;

pub use chain::{Operation, RequestInfo, UserInfo};
pub use status::ApiError;

//! The host agent: the messages that `naru` and a host exchange over one byte stream, and the loop that serves them.
//! One message carries a host's whole desired state, one reply its whole diff: round trips per host are a small
//! constant. The same loop runs on an SSH exec channel, in process for `connection: local`, and in tests.

mod message;

pub use message::{ApiRequest, ApiResponse, Facts, Failure, FailureKind, Request, Response, UnitState};

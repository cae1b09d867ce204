//! The host agent: the messages that `naru` and a host exchange over one byte stream, and the loop that serves them.
//! One message carries a host's whole desired state, one reply its whole diff: round trips per host are a small
//! constant. The same loop runs on an SSH exec channel, in process for `connection: local`, and in tests.

mod api;
mod client;
mod diagnose;
mod etcd;
mod facts;
mod fence;
mod frame;
mod hook;
mod identity;
mod lock;
mod message;
mod neighbour;
mod reach;
mod reset;
mod runtime;
mod server;
mod session;
mod stdio;
mod watchdog;

pub use client::{Client, ClientError};
pub use facts::gather as gather_facts;
pub use frame::{FrameError, MAX_FRAME_BYTES};
pub use message::{
    ApiRequest, ApiResponse, CertificateFact, Checked, EtcdMember, EtcdRequest, Facts, Failure, FailureKind, Link,
    LinkName, ListeningPort, MissingArtifact, NetworkLink, Request, Response, Route, Target, UnitState,
};
pub use naru_resources::{Entry, Host, Stop};
pub use server::{Answerer, Upload, UploadFrames, serve, serve_answers};
pub use stdio::{serve_stdio, serve_stdio_on};
pub use watchdog::{ALL as REVERT_ALL, run_watcher};

/// Protocol and build, as `Facts` report them.
pub const AGENT_VERSION: &str = concat!("2/", env!("CARGO_PKG_VERSION"));

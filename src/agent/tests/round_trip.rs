//! Client and server over an in-memory stream.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use naru_agent::{
    ApiRequest, Client, ClientError, FailureKind, Host, MissingArtifact, Request, Response, Stop, gather_facts, serve,
};
use naru_resources::{Content, Resource};
use sha2::{Digest, Sha256};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

type Connection = Client<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn start(host: Host) -> (Connection, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (far_reader, far_writer) = tokio::io::split(far);
    let server = tokio::spawn(async move {
        serve(far_reader, far_writer, host, Stop::default()).await.unwrap();
    });
    let (reader, writer) = tokio::io::split(near);
    (Client::new(reader, writer), server)
}

fn host(folder: &tempfile::TempDir) -> Host {
    Host::below(folder.path(), Vec::new())
}

fn file(text: &str) -> Request {
    let content = Content { text: text.to_owned(), sensitive: false };
    let resources = vec![Resource::File { path: "/etc/a".to_owned(), mode: 0o644, content }];
    Request::Apply { resources, revert_after_seconds: None }
}

#[tokio::test]
async fn apply_then_nothing_and_the_server_ends_with_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, server) = start(host(&folder));
    let Response::Changes { changes, .. } = client.call(&file("x\n"), DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(changes[0].summary, "create /etc/a");
    let again = client.call(&file("x\n"), DEADLINE).await.unwrap();
    assert_eq!(again, Response::Changes { changes: Vec::new(), confirmation: None });
    drop(client);
    tokio::time::timeout(DEADLINE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_upload_arrives_and_a_damaged_one_leaves_the_stream_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, _server) = start(host(&folder));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let ask = Request::MissingArtifacts { sha256: vec![sha256.clone()] };
    let missing = MissingArtifact { sha256: sha256.clone(), have_bytes: 0 };
    let missing = Response::MissingArtifacts { missing: vec![missing] };
    assert_eq!(client.call(&ask, DEADLINE).await.unwrap(), missing);
    let wrong = "0".repeat(64);
    let size = bytes.len() as u64;
    let response = client.upload(&wrong, size, 0, bytes.as_slice(), &|_| {}, DEADLINE).await.unwrap();
    assert!(matches!(response, Response::Failed(_)), "{response:?}");
    assert_eq!(client.call(&ask, DEADLINE).await.unwrap(), missing, "still in step");
    let last = std::sync::atomic::AtomicU64::new(0);
    let sent = |count| last.store(count, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(client.upload(&sha256, size, 0, bytes.as_slice(), &sent, DEADLINE).await.unwrap(), Response::Done);
    assert_eq!(last.into_inner(), size);
    assert_eq!(client.call(&ask, DEADLINE).await.unwrap(), Response::MissingArtifacts { missing: Vec::new() });
}

#[tokio::test]
async fn the_lock_ends_with_the_connection_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let lock = |owner: &str| Request::Lock { owner: owner.to_owned() };
    let (mut first, server) = start(host(&folder));
    let (mut second, _server) = start(host(&folder));
    assert_eq!(first.call(&lock("ann"), DEADLINE).await.unwrap(), Response::Locked { fence: 0 });
    let Response::Failed(refused) = second.call(&lock("bob"), DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(refused.kind, FailureKind::Locked);
    assert!(refused.message.contains("ann"));
    drop(first);
    server.await.unwrap();
    assert_eq!(second.call(&lock("bob"), DEADLINE).await.unwrap(), Response::Locked { fence: 0 });
}

#[tokio::test]
async fn a_late_answer_makes_the_connection_unusable() {
    let (near, _far) = tokio::io::duplex(1024);
    let (reader, writer) = tokio::io::split(near);
    let mut client = Client::new(reader, writer);
    let late = client.call(&Request::Facts, Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ClientError::Deadline { .. })));
    assert!(matches!(client.call(&Request::Facts, DEADLINE).await, Err(ClientError::Unusable)));
}

#[tokio::test]
async fn a_host_without_an_authority_cannot_call_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, _server) = start(host(&folder));
    let request = ApiRequest {
        method: "GET".to_owned(),
        path: "/version".to_owned(),
        content_type: String::new(),
        body: String::new(),
        timeout_ms: 1000,
    };
    let Response::Failed(failure) = client.call(&Request::Api(request), DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.detail.unwrap().contains("ca.crt"));
}

#[tokio::test]
async fn facts_come_over_the_wire() {
    let (mut client, _server) = start(Host::local());
    let Response::Facts(facts) = client.call(&Request::Facts, DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(facts.boot_id, gather_facts(&Host::local()).await.boot_id);
}

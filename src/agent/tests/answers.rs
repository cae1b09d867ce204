//! Answers of somebody else's over the same protocol, as the simulator gives them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{
    Answerer, Client, ClientError, Facts, Failure, FailureKind, Request, Response, Upload, UploadFrames, serve_answers,
};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

const DEADLINE: Duration = Duration::from_secs(20);
const FULL: u64 = 40_000_000;

/// A host with a small disk that speaks some version of the protocol.
struct Pretended {
    agent_version: &'static str,
}

impl Answerer for Pretended {
    fn answer(&mut self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            match request {
                Request::Facts => {
                    let agent_version = self.agent_version.to_owned();
                    Response::Facts(Box::new(Facts { agent_version, ..Facts::default() }))
                }
                Request::Confirm { confirmation } => Response::Log { lines: vec![confirmation] },
                _ => Response::Done,
            }
        })
    }

    fn upload<'a>(&'a mut self, upload: Upload, frames: &'a mut UploadFrames<'_>) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            let mut bytes = upload.offset_bytes;
            while let Some(frame) = frames.next().await {
                bytes += frame.len() as u64;
                if bytes > 1_000_000 && upload.size_bytes == FULL {
                    let message = "the disk is full".to_owned();
                    return Response::Failed(Failure { kind: FailureKind::NoSpace, message, detail: None, hint: None });
                }
            }
            Response::Log { lines: vec![bytes.to_string(), frames.is_whole().to_string()] }
        })
    }
}

fn connect(agent_version: &'static str) -> Client<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(serve_answers(reader, writer, Pretended { agent_version }));
    let (reader, writer) = tokio::io::split(near);
    Client::new(reader, writer)
}

#[tokio::test]
async fn requests_that_are_sent_together_are_answered_in_their_order() {
    let mut client = connect("");
    let text = "x".repeat(100_000);
    let requests: Vec<Request> =
        (0..20).map(|number| Request::Confirm { confirmation: format!("{number} {text}") }).collect();
    let responses = client.call_all(&requests, DEADLINE).await.unwrap();
    for (number, response) in responses.into_iter().enumerate() {
        assert_eq!(response, Response::Log { lines: vec![format!("{number} {text}")] });
    }
    assert!(client.is_usable());
}

#[tokio::test]
async fn a_refusal_before_the_end_stops_the_upload_and_leaves_the_stream_in_step() {
    let mut client = connect("");
    let bytes = vec![7_u8; usize::try_from(FULL).unwrap()];
    let last = AtomicU64::new(0);
    let sent = |count| last.store(count, Ordering::SeqCst);
    let response = client.upload("aa", FULL, 0, bytes.as_slice(), &sent, DEADLINE).await.unwrap();
    assert!(matches!(response, Response::Failed(failure) if failure.kind == FailureKind::NoSpace));
    assert!(last.into_inner() < FULL, "the rest is not sent");
    let response = client.upload("aa", 300_000, 100_000, &bytes[..200_000], &|_| {}, DEADLINE).await.unwrap();
    assert_eq!(response, Response::Log { lines: vec!["300000".to_owned(), "true".to_owned()] });
    assert_eq!(client.call(&Request::Diagnose, DEADLINE).await.unwrap(), Response::Done);
}

#[tokio::test]
async fn an_agent_of_another_protocol_is_told_apart() {
    let error = connect("1/0.0.9").call(&Request::Facts, DEADLINE).await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol { theirs } if theirs == "1/0.0.9"), "{error}");
    assert!(error.to_string().contains("protocol 1/0.0.9"), "{error}");
    connect(naru_agent::AGENT_VERSION).call(&Request::Facts, DEADLINE).await.unwrap();
}

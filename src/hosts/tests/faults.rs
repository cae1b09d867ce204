//! Lines that freeze or break, hosts that say nothing, agents that are none: what then shows, how soon, and that it
//! goes on from there. A small relay between us and sshd makes the faults.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

#[expect(unreachable_pub, reason = "shared by two tests")]
mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Server, heard, program};
use naru_agent::Request;
use naru_hosts::{AgentProgram, Deadlines, Dialer, HostError, HostErrorKind, HostEvent, HostLink, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEEPALIVE: Duration = Duration::from_secs(1);

/// Passes bytes on until it is told to do something else after so many bytes towards the host.
#[derive(Default)]
struct Relay {
    port: u16,
    limit_bytes: AtomicU64,
    passed_bytes: AtomicU64,
    /// At the limit the line is cut; otherwise it freezes.
    cuts: AtomicBool,
}

impl Relay {
    async fn start(to: u16) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Arc::new(Self { port, limit_bytes: AtomicU64::new(u64::MAX), ..Self::default() });
        let shared = relay.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::spawn(shared.clone().carry(near, far));
            }
        });
        relay
    }

    fn fail_after(&self, bytes: u64, cuts: bool) {
        self.cuts.store(cuts, Ordering::SeqCst);
        self.limit_bytes.store(self.passed_bytes.load(Ordering::SeqCst).saturating_add(bytes), Ordering::SeqCst);
    }

    fn heal(&self) {
        self.limit_bytes.store(u64::MAX, Ordering::SeqCst);
    }

    async fn carry(self: Arc<Self>, near: TcpStream, far: TcpStream) {
        let (mut near_reader, mut near_writer) = near.into_split();
        let (mut far_reader, mut far_writer) = far.into_split();
        let relay = self.clone();
        let frozen = Arc::new(AtomicBool::new(false));
        let is_frozen = frozen.clone();
        let back = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count) = far_reader.read(&mut buffer).await {
                if is_frozen.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                if count == 0 || near_writer.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        });
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = near_reader.read(&mut buffer).await {
            let passed = relay.passed_bytes.fetch_add(count as u64, Ordering::SeqCst);
            if passed + count as u64 > relay.limit_bytes.load(Ordering::SeqCst) {
                if relay.cuts.load(Ordering::SeqCst) {
                    back.abort();
                    return;
                }
                // Nothing more in either direction, and nobody is told.
                frozen.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            if count == 0 || far_writer.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    }
}

fn route(server: &Server, port: u16) -> Route {
    let mut route = server.route();
    route.host.port = port;
    route.deadlines = Deadlines { keepalive: KEEPALIVE, ..Deadlines::default() };
    route
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_dies_inside_an_upload_is_noticed_and_the_upload_goes_on() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let relay = Relay::start(server.port).await;
    let (dialer, events) = heard();
    let link = HostLink::new(dialer, route(&server, relay.port), Arc::new(program(&server)));
    for cuts in [false, true] {
        relay.fail_after(6_000_000, cuts);
        let started = Instant::now();
        let connection = link.agent().await.unwrap();
        let error = connection.call(&Request::Facts).await.unwrap_err();
        assert_eq!(error.kind(), HostErrorKind::Unreachable, "{error:?}");
        assert!(error.is_transient());
        // Three signs of life, and what it took until the line died.
        assert!(started.elapsed() < KEEPALIVE * 10, "{:?}", started.elapsed());
        relay.heal();
    }
    events.lock().unwrap().clear();
    let connection = link.agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    let first = events.lock().unwrap().first().cloned();
    let Some(HostEvent::Uploading { sent_bytes, .. }) = first else { panic!("{first:?}") };
    assert!(sent_bytes > 6_000_000, "it went on at {sent_bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_inside_a_message_breaks_one_call_and_not_the_next() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let relay = Relay::start(server.port).await;
    let link = HostLink::new(Dialer::silent(), route(&server, relay.port), Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    relay.fail_after(100_000, true);
    let long = Request::MissingArtifacts { sha256: vec!["0".repeat(64); 20_000] };
    let error = connection.call(&long).await.unwrap_err();
    assert!(matches!(error, HostError::Client { .. }), "{error:?}");
    assert!(!connection.is_usable().await);
    relay.heal();
    link.agent().await.unwrap().call(&long).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_line_that_dies_is_noticed() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let relay = Relay::start(server.port).await;
    let link = HostLink::new(Dialer::silent(), route(&server, relay.port), Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    // Signs of life alone keep it open.
    tokio::time::sleep(KEEPALIVE * 5).await;
    assert!(connection.is_usable().await);
    relay.fail_after(0, false);
    let started = Instant::now();
    while connection.is_usable().await {
        assert!(started.elapsed() < KEEPALIVE * 8, "still believed to be open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_is_given_up_in_time() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = route(&server, silent.local_addr().unwrap().port());
    route.deadlines.login = Duration::from_secs(1);
    let error = Dialer::silent().connect(&route).await.err().unwrap();
    assert!(matches!(&error, HostError::Deadline { what, .. } if what.contains("handshake")), "{error:?}");
}

/// An agent that is a shell script.
fn script(server: &Server, name: &str, text: &str) -> AgentProgram {
    let path = server.at(name);
    fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    AgentProgram { directory: server.at("artifacts").display().to_string(), ..AgentProgram::read(&path).unwrap() }
}

async fn ask(server: &Server, program: AgentProgram) -> HostError {
    let link = HostLink::new(Dialer::silent(), server.route(), Arc::new(program));
    let connection = link.agent().await.unwrap();
    connection.call_within(&Request::Facts, Duration::from_secs(2)).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_none_are_told_apart() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let silent = ask(&server, script(&server, "silent", "exec sleep 60")).await;
    assert!(matches!(&silent, HostError::Deadline { what, .. } if what.contains("answer")), "{silent:?}");
    let dying = ask(&server, script(&server, "dying", "echo 'no such library' >&2; exit 3")).await;
    assert!(matches!(dying, HostError::Command { status: 3, .. }), "{dying:?}");
    assert!(dying.detail().unwrap().contains("no such library"), "{dying:?}");
    let mut other = script(&server, "other", "");
    other.architecture = "riscv64".to_owned();
    let other = ask(&server, other).await;
    assert!(matches!(other, HostError::Architecture { .. }), "{other:?}");
    let mut absent = script(&server, "absent", "");
    absent.path = Path::new("/nonexistent/agent").to_owned();
    assert!(matches!(ask(&server, absent).await, HostError::Program { .. }));
    let mut nowhere = script(&server, "nowhere", "");
    nowhere.directory = "/proc/nowhere".to_owned();
    let nowhere = ask(&server, nowhere).await;
    assert!(matches!(nowhere, HostError::Command { .. }), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_costs_its_connection_only() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let (dialer, _) = heard();
    let link = HostLink::new(dialer.clone(), server.route(), Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    let given_up = connection.call_within(&Request::Facts, Duration::ZERO).await.unwrap_err();
    assert!(matches!(given_up, HostError::Deadline { .. }), "{given_up:?}");
    assert!(!connection.is_usable().await);
    link.agent().await.unwrap().call(&Request::Facts).await.unwrap();
    assert_eq!(dialer.traffic().sessions, 1);
}

//! Changes over several connections to one host: fences, locks, uploads that are cut, and changes that are put back.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_agent::{ApiRequest, Client, Failure, FailureKind, Host, MissingArtifact, Request, Response, Stop, serve};
use naru_resources::{Content, Resource};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const DEADLINE: Duration = Duration::from_secs(30);

type Connection = Client<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn connect(host: &Host) -> Connection {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(serve(reader, writer, host.clone(), Stop::default()));
    let (reader, writer) = tokio::io::split(near);
    Client::new(reader, writer)
}

fn host(folder: &tempfile::TempDir) -> Host {
    Host::rooted(folder.path())
}

fn file(text: &str, revert_after_seconds: Option<u32>) -> Request {
    let content = Content { text: text.to_owned(), sensitive: false };
    let resources = vec![Resource::File { path: "/etc/a".to_owned(), mode: 0o644, content }];
    Request::Apply { resources, revert_after_seconds }
}

fn shell(command: &str) -> Request {
    Request::Run { command: command.to_owned(), environment: BTreeMap::new(), deadline_ms: 20_000 }
}

async fn failure(client: &mut Connection, request: &Request) -> Failure {
    match client.call(request, DEADLINE).await.unwrap() {
        Response::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

async fn done(client: &mut Connection, request: &Request) {
    let response = client.call(request, DEADLINE).await.unwrap();
    assert!(!matches!(response, Response::Failed(_)), "{response:?}");
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn artifact(bytes: usize) -> (Vec<u8>, String) {
    let bytes: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    (bytes, sha256)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_lock_unnoticed_changes_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let (mut ann, mut bob) = (connect(&host), connect(&host));
    let lock = |owner: &str| Request::Lock { owner: owner.to_owned() };
    assert_eq!(ann.call(&lock("ann"), DEADLINE).await.unwrap(), Response::Locked { fence: 0 });
    let nameless = failure(&mut bob, &file("bob", None)).await;
    assert_eq!(nameless.kind, FailureKind::Locked);
    assert!(nameless.message.contains("ann"), "{}", nameless.message);
    done(&mut ann, &Request::Fence { fence: 1 }).await;
    let mut worker = connect(&host);
    done(&mut worker, &Request::Fence { fence: 1 }).await;
    done(&mut worker, &file("ann", None)).await;
    // Ann's line to the lock breaks; nobody tells her other connection.
    drop(ann);
    let started = Instant::now();
    while bob.call(&lock("bob"), DEADLINE).await.unwrap() != (Response::Locked { fence: 1 }) {
        assert!(started.elapsed() < DEADLINE, "the lock of a dead connection stays");
    }
    done(&mut bob, &Request::Fence { fence: 2 }).await;
    let (bytes, sha256) = artifact(100_000);
    let cordon = Request::Api(ApiRequest {
        method: "PATCH".to_owned(),
        path: "/api/v1/nodes/w1".to_owned(),
        content_type: "application/merge-patch+json".to_owned(),
        body: "{}".to_owned(),
        timeout_ms: 1000,
    });
    for request in [file("late", None), shell("touch late"), cordon, Request::Reset] {
        let late = failure(&mut worker, &request).await;
        assert_eq!(late.kind, FailureKind::Fenced, "{late:?}");
        assert!(late.message.starts_with("bob has taken over"), "{}", late.message);
    }
    let upload = worker.upload(&sha256, 100_000, 0, bytes.as_slice(), &|_| {}, DEADLINE).await.unwrap();
    assert!(matches!(upload, Response::Failed(failure) if failure.kind == FailureKind::Fenced));
    assert_eq!(failure(&mut worker, &Request::Fence { fence: 1 }).await.kind, FailureKind::Fenced);
    let Response::Facts(facts) = worker.call(&Request::Facts, DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(facts.fence, 2, "asking is free");
    assert_eq!(fs_err::read_to_string(host.path("/etc/a")).unwrap(), "ann");
    assert!(!host.path("/late").exists());
    done(&mut bob, &file("bob", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_under_way_stops_where_it_is_overtaken() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let (mut old, mut new) = (connect(&host), connect(&host));
    done(&mut old, &Request::Fence { fence: 1 }).await;
    let names: Vec<String> = (0..4_000).map(|number| format!("/etc/many/{number}")).collect();
    let resource = |path: &String| Resource::Directory { path: path.clone(), mode: 0o755 };
    let resources: Vec<Resource> = names.iter().map(resource).collect();
    let apply = Request::Apply { resources, revert_after_seconds: None };
    let overtake = async {
        until("the change begins", || host.path("/etc/many/3").exists()).await;
        done(&mut new, &Request::Fence { fence: 2 }).await;
        fs_err::read_dir(host.path("/etc/many")).unwrap().count()
    };
    let (response, at_overtaking) = tokio::join!(old.call(&apply, DEADLINE), overtake);
    let Response::Failed(failure) = response.unwrap() else { panic!("it went on to the end") };
    assert_eq!(failure.kind, FailureKind::Fenced);
    assert!(failure.detail.unwrap().starts_with("done before: create /etc/many/0/"));
    let made = fs_err::read_dir(host.path("/etc/many")).unwrap().count();
    assert!(made <= at_overtaking + 1, "{made} of which {at_overtaking} before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let (bytes, sha256) = artifact(3_000_000);
    let mut cut = connect(&host);
    let announced = bytes.len() as u64;
    let part = host.artifact(&sha256).with_extension("part");
    let (mut feed, source) = tokio::io::duplex(64 * 1024);
    let feeding = async {
        feed.write_all(&bytes[..1_000_000]).await.unwrap();
        until("half of it arrives", || part.metadata().is_ok_and(|file| file.len() > 500_000)).await;
    };
    tokio::select! {
        _ = cut.upload(&sha256, announced, 0, source, &|_| {}, DEADLINE) => panic!("it cannot end"),
        () = feeding => {}
    }
    drop(cut);
    let mut second = connect(&host);
    let ask = Request::MissingArtifacts { sha256: vec![sha256.clone()] };
    let started = Instant::now();
    let response = loop {
        let Response::MissingArtifacts { missing } = second.call(&ask, DEADLINE).await.unwrap() else { panic!() };
        let [MissingArtifact { have_bytes, .. }] = missing[..] else { panic!() };
        assert!(have_bytes > 500_000);
        let rest = &bytes[usize::try_from(have_bytes).unwrap()..];
        let response = second.upload(&sha256, announced, have_bytes, rest, &|_| {}, DEADLINE).await.unwrap();
        // The agent of the cut connection may still be at its last frame.
        if !matches!(&response, Response::Failed(failure) if failure.kind == FailureKind::Transient) {
            break response;
        }
        assert!(started.elapsed() < DEADLINE, "{response:?}");
    };
    assert_eq!(response, Response::Done);
    assert_eq!(fs_err::read(host.artifact(&sha256)).unwrap(), bytes);
    assert!(!part.exists());
}

/// A small disk of its own at a folder; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: &Path, size: &str) -> Option<Self> {
        fs_err::create_dir_all(path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "naru-test"])
            .arg(path)
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_such_before_and_during_an_upload_and_in_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    // Only where mounting is allowed.
    let Some(disk) = SmallDisk::at(folder.path(), "24m") else { return };
    let mut client = connect(&host);
    let (bytes, sha256) = artifact(12_000_000);
    let announced = bytes.len() as u64;
    let response = client.upload(&sha256, announced, 0, bytes.as_slice(), &|_| {}, DEADLINE).await.unwrap();
    let Response::Failed(failure) = response else { panic!("{response:?}") };
    assert_eq!(failure.kind, FailureKind::NoSpace);
    assert!(failure.message.contains("bytes are free") || failure.message.contains("are free"), "{}", failure.message);
    // It fits when it begins; then somebody else fills the disk.
    let small = &bytes[..4_000_000];
    let sha256 = hex::encode(Sha256::digest(small));
    let (mut feed, source) = tokio::io::duplex(64 * 1024);
    let feeding = async {
        feed.write_all(&small[..1_000_000]).await.unwrap();
        let part = host.artifact(&sha256).with_extension("part");
        until("it begins", || part.metadata().is_ok_and(|file| file.len() > 0)).await;
        let _ = fs_err::write(host.path("/filler"), vec![0_u8; 24_000_000]);
        let _ = feed.write_all(&small[1_000_000..]).await;
        drop(feed);
    };
    let sent = |_| {};
    let (response, ()) = tokio::join!(client.upload(&sha256, 4_000_000, 0, source, &sent, DEADLINE), feeding);
    let response = response.unwrap();
    assert!(matches!(&response, Response::Failed(failure) if failure.kind == FailureKind::NoSpace), "{response:?}");
    assert!(!host.artifact(&sha256).with_extension("part").exists(), "a full disk keeps no half artifact");
    until("the disk is full again", || fs_err::write(host.path("/more"), vec![0_u8; 8_000_000]).is_err()).await;
    let response = client.call(&file(&"x".repeat(100_000), None), DEADLINE).await.unwrap();
    assert!(matches!(&response, Response::Failed(failure) if failure.kind == FailureKind::NoSpace), "{response:?}");
    assert!(!host.path("/etc/a").exists());
    fs_err::remove_file(host.path("/filler")).unwrap();
    fs_err::remove_file(host.path("/more")).unwrap();
    done(&mut client, &file("x", None)).await;
    drop(client);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_from_what_was_left_is_told_by_every_check() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let mut client = connect(&host);
    done(&mut client, &file("x", None)).await;
    fs_err::write(host.path("/etc/a"), "by hand").unwrap();
    let check = Request::Check { resources: Vec::new() };
    let Response::Checked(checked) = client.call(&check, DEADLINE).await.unwrap() else { panic!() };
    assert_eq!(checked.drifted, ["/etc/a"]);
    assert!(checked.manifest.contains_key("/etc/a"), "{:?}", checked.manifest);
}

/// The agent as a program of its own.
struct Agent {
    process: Child,
    client: Client<ChildStdout, ChildStdin>,
}

fn program() -> PathBuf {
    let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    folder.join("examples/agent")
}

fn start(host: &Host) -> Agent {
    let mut process = Command::new(program())
        .args(["agent", "--root"])
        .arg(host.path("/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new(process.stdout.take().unwrap(), process.stdin.take().unwrap());
    Agent { process, client }
}

async fn change(agent: &mut Agent, text: &str, seconds: u32) -> String {
    let response = agent.client.call(&file(text, Some(seconds)), DEADLINE).await.unwrap();
    let Response::Changes { confirmation: Some(id), .. } = response else { panic!("{response:?}") };
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cuts_the_line_is_put_back_although_its_agent_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let text = || fs_err::read_to_string(host.path("/etc/a")).unwrap_or_default();
    let mut agent = start(&host);
    let before = agent.client.call(&file("before", None), DEADLINE).await.unwrap();
    assert!(matches!(before, Response::Changes { .. }), "{before:?}");
    let id = change(&mut agent, "after", 2).await;
    let own = agent.client.call(&Request::Confirm { confirmation: id }, DEADLINE).await.unwrap();
    assert!(matches!(&own, Response::Failed(failure) if failure.message.contains("over the connection")), "{own:?}");
    let waiting = agent.client.call(&file("third", None), DEADLINE).await.unwrap();
    assert!(matches!(&waiting, Response::Failed(failure) if failure.kind == FailureKind::Transient), "{waiting:?}");
    agent.process.kill().await.unwrap();
    assert_eq!(text(), "after");
    until("it is put back", || text() == "before").await;
    until("nothing is left of it", || naru_resources::revert::pending(&host).is_empty()).await;

    let mut agent = start(&host);
    let id = change(&mut agent, "kept", 3).await;
    let mut second = start(&host);
    let confirm = Request::Confirm { confirmation: id };
    for _ in 0..2 {
        assert_eq!(second.client.call(&confirm, DEADLINE).await.unwrap(), Response::Done);
    }
    drop(agent);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(text(), "kept", "a confirmed change stays when its time has passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_half_way_is_put_back_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let mut client = connect(&host);
    done(&mut client, &file("before", None)).await;
    fs_err::create_dir_all(host.path("/etc/folder")).unwrap();
    let content = Content { text: "after".to_owned(), sensitive: false };
    let of = |path: &str| Resource::File { path: path.to_owned(), mode: 0o644, content: content.clone() };
    let resources = vec![of("/etc/a"), of("/etc/folder")];
    let failure = failure(&mut client, &Request::Apply { resources, revert_after_seconds: Some(60) }).await;
    assert!(failure.detail.unwrap().contains("put back as it was"));
    assert_eq!(fs_err::read_to_string(host.path("/etc/a")).unwrap(), "before");
    let nothing = client.call(&file("before", Some(60)), DEADLINE).await.unwrap();
    assert_eq!(nothing, Response::Changes { changes: Vec::new(), confirmation: None }, "nothing to confirm");
    done(&mut client, &file("next", None)).await;
}

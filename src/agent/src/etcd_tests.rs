//! A real etcd with TLS on loopback: members come, are promoted, lead, and go.

use super::*;
use naru_pki::{Authority, Profile, Purpose};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), client: port(), peer: port(), process: None }
}

fn peer_url(member: &Member) -> String {
    format!("https://127.0.0.1:{}", member.peer)
}

fn start(folder: &Path, member: &mut Member, cluster: &str, state: &str) {
    let path = |file: &str| folder.join("etc/naru/pki/etcd").join(file).display().to_string();
    let client = format!("https://127.0.0.1:{}", member.client);
    let mut command = Command::new("etcd");
    command
        .args(["--name", &member.name, "--initial-cluster", cluster, "--initial-cluster-state", state])
        .args(["--data-dir", &folder.join(&member.name).display().to_string()])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer_url(member), "--initial-advertise-peer-urls", &peer_url(member)])
        .args(["--cert-file", &path("server.crt"), "--key-file", &path("server.key")])
        .args(["--peer-cert-file", &path("server.crt"), "--peer-key-file", &path("server.key")])
        .args(["--trusted-ca-file", &path("ca.crt"), "--peer-trusted-ca-file", &path("ca.crt")])
        .args(["--client-cert-auth", "--peer-client-cert-auth"])
        .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    member.process = Some(command.spawn().unwrap());
}

/// Asks until the answer is right, or its time has passed.
fn until(host: &Host, request: &EtcdRequest, is_right: impl Fn(&[EtcdMember]) -> bool) -> Vec<EtcdMember> {
    let started = Instant::now();
    loop {
        let answer = answer(host, request);
        match &answer {
            Ok(members) if is_right(members) => return members.clone(),
            Err(failure) if failure.kind != FailureKind::Transient => panic!("{failure:?}"),
            _ => assert!(started.elapsed() < Duration::from_secs(60), "{answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn certificates(folder: &Path) {
    let pki = folder.join("etc/naru/pki/etcd");
    fs::create_dir_all(&pki).unwrap();
    let authority = Authority::generate("etcd-ca", 10).unwrap();
    fs::write(pki.join("ca.crt"), authority.certificate_pem()).unwrap();
    let profile = Profile {
        common_name: "etcd".to_owned(),
        organizations: Vec::new(),
        alternative_names: vec!["127.0.0.1".to_owned()],
        purposes: vec![Purpose::Server, Purpose::Client],
        validity: Duration::from_secs(3600),
    };
    let (certificate, key) = authority.issue(&profile).unwrap();
    fs::write(pki.join("server.crt"), certificate).unwrap();
    fs::write(pki.join("server.key"), key.to_pem().as_bytes()).unwrap();
}

#[test]
fn members_come_are_promoted_lead_and_go() {
    if Host::local().program("etcd").is_none() || Host::local().program("etcdctl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = Host::rooted(folder.path());
    certificates(folder.path());
    let (mut first, mut second) = (member("cp1"), member("cp2"));
    let text = format!("name: cp1\nlisten-client-urls: \"https://127.0.0.1:{}\"\n", first.client);
    fs::write(host.path(CONFIGURATION), text).unwrap();
    let alone = format!("cp1={}", peer_url(&first));
    start(folder.path(), &mut first, &alone, "new");
    let members = until(&host, &EtcdRequest::Members, |members| members.iter().any(|member| member.is_leader));
    assert_eq!((members[0].name.as_str(), members[0].is_healthy), ("cp1", true));

    let add = EtcdRequest::AddLearner { name: "cp2".to_owned(), peer_url: peer_url(&second) };
    for _ in 0..2 {
        let members = until(&host, &add, |members| members.len() == 2);
        let learner = members.iter().find(|member| member.is_learner).unwrap();
        assert_eq!((learner.name.as_str(), learner.is_healthy), ("", false), "it has not started");
    }
    let early = answer(&host, &EtcdRequest::Promote { name: peer_url(&second) }).unwrap_err();
    assert_eq!(early.kind, FailureKind::Transient, "{early:?}");
    let both = format!("{alone},cp2={}", peer_url(&second));
    start(folder.path(), &mut second, &both, "existing");
    until(&host, &EtcdRequest::Members, |members| members.iter().any(|member| member.name == "cp2"));
    for _ in 0..2 {
        let promote = EtcdRequest::Promote { name: "cp2".to_owned() };
        until(&host, &promote, |members| members.iter().all(|member| !member.is_learner && member.is_healthy));
    }
    let lead =
        |members: &[EtcdMember], name: &str| members.iter().any(|member| member.is_leader && member.name == name);
    for name in ["cp2", "cp1", "cp1"] {
        until(&host, &EtcdRequest::MoveLeader { to: name.to_owned() }, |members| lead(members, name));
    }
    for _ in 0..2 {
        let remove = EtcdRequest::Remove { name: "cp2".to_owned() };
        until(&host, &remove, |members| members.len() == 1);
    }
    let unknown = answer(&host, &EtcdRequest::Promote { name: "cp9".to_owned() }).unwrap_err();
    assert!(unknown.message.contains("cp9 is no member"), "{unknown:?}");
    drop(first);
    assert_eq!(answer(&host, &EtcdRequest::Members).unwrap_err().kind, FailureKind::Transient, "nobody answers");
}

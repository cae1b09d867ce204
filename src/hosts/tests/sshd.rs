//! A round trip over OpenSSH's own sshd on the loopback address, with keys of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; a skipped test says so")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naru_agent::{Request, Response};
use naru_hosts::{
    AgentProgram, Connection, Credentials, Deadlines, HostAddress, HostError, HostErrorKind, HostKeyPolicy, Session,
    scan_host_key,
};
use naru_resources::{Content, Resource};

const SSHD: &str = "/usr/sbin/sshd";

struct Server {
    folder: tempfile::TempDir,
    sshd: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn keygen(path: &Path, kind: &str) {
    run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "test", "-f", &path.to_string_lossy()]);
}

impl Server {
    /// `None` (said aloud) where no sshd can be started.
    fn start(host_keys: &[&str]) -> Option<Self> {
        let is_root = fs_err::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t");
        if !Path::new(SSHD).exists() || !is_root {
            eprintln!("SKIPPED: {SSHD} and root are needed for a round trip over SSH");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        keygen(&at("user"), "ed25519");
        keygen(&at("stranger"), "ecdsa");
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n",
            at("user.pub").display()
        );
        for kind in host_keys {
            keygen(&at(&format!("host_{kind}")), kind);
            config.push_str(&format!("HostKey {}\n", at(&format!("host_{kind}")).display()));
        }
        fs_err::write(at("sshd_config"), config).unwrap();
        let sshd = Command::new(SSHD)
            .args(["-D", "-e", "-f", &at("sshd_config").to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { folder, sshd, port })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.at(name)).unwrap()
    }

    fn address(&self) -> HostAddress {
        HostAddress { name: "w1".to_owned(), address: "127.0.0.1".to_owned(), port: self.port, user: "root".to_owned() }
    }

    fn key(&self, name: &str) -> Credentials {
        Credentials { identity_files: vec![self.at(name)], agent_socket: None }
    }

    fn pinned(&self) -> HostKeyPolicy {
        HostKeyPolicy::Pinned(vec![self.text("host_ed25519.pub")])
    }

    async fn session(&self, credentials: &Credentials, policy: &HostKeyPolicy) -> Result<Session, HostError> {
        Session::connect(&self.address(), credentials, policy, &Deadlines::default()).await
    }
}

/// The agent's program, built as an example beside this test, living below the test's own folder.
fn program(server: &Server) -> AgentProgram {
    let beside = std::env::current_exe().unwrap();
    let folder = beside.parent().and_then(Path::parent).unwrap().join("examples");
    let mut program = AgentProgram::read(&folder.join("hosts-test-agent")).unwrap();
    program.directory = server.at("var/lib/naru/artifacts").display().to_string();
    program.arguments = vec!["agent".to_owned(), "--root".to_owned(), server.folder.path().display().to_string()];
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_uploaded_once_and_works() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let program = program(&server);
    let open = || async {
        let (address, credentials) = (server.address(), server.key("user"));
        Connection::open(&address, &credentials, &server.pinned(), &Deadlines::default(), &program).await.unwrap()
    };
    let connection = open().await;
    let Response::Facts(facts) = connection.call(Request::Facts).await.unwrap() else { panic!() };
    assert_eq!(facts.architecture, std::env::consts::ARCH);
    let content = Content { text: "hello\n".to_owned(), sensitive: false };
    let resources = vec![Resource::File { path: "/etc/naru-test".to_owned(), mode: 0o644, content }];
    let applied = connection.call(Request::Apply { resources: resources.clone() }).await.unwrap();
    assert!(matches!(applied, Response::Changes { changes } if changes.len() == 1));
    assert_eq!(server.text("etc/naru-test"), "hello\n");
    // A second artifact goes through the agent itself.
    let source = server.at("big");
    fs_err::write(&source, vec![7_u8; 5_000_000]).unwrap();
    let sha256 = AgentProgram::read(&source).unwrap().sha256;
    connection.upload(&sha256, &source, &|_| {}).await.unwrap();
    let missing = connection.call(Request::MissingArtifacts { sha256: vec![sha256] }).await.unwrap();
    assert_eq!(missing, Response::MissingArtifacts { sha256: Vec::new() });
    connection.call(Request::Lock { owner: "first".to_owned() }).await.unwrap();
    let uploaded =
        fs_err::metadata(server.at("var/lib/naru/artifacts").join(&program.sha256)).unwrap().modified().unwrap();
    let second = open().await;
    let again =
        fs_err::metadata(server.at("var/lib/naru/artifacts").join(&program.sha256)).unwrap().modified().unwrap();
    assert_eq!(uploaded, again, "uploaded once");
    let refused = second.call(Request::Lock { owner: "second".to_owned() }).await.unwrap_err();
    assert!(refused.to_string().contains("first"), "{refused}");
    connection.close().await;
    second.call(Request::Lock { owner: "second".to_owned() }).await.unwrap();
    assert_eq!(second.call(Request::Check { resources }).await.unwrap(), Response::Changes { changes: Vec::new() });
    let output = second.exec("echo out; echo err >&2; exit 7", Duration::from_secs(10)).await.unwrap();
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_are_strict() {
    let Some(server) = Server::start(&["ed25519", "ecdsa"]) else { return };
    let credentials = server.key("user");
    let file = server.at("known_hosts");
    let known = HostKeyPolicy::KnownHosts(vec![file.clone()]);
    let unknown = server.session(&credentials, &known).await.err().unwrap();
    assert_eq!(unknown.kind(), HostErrorKind::HostKey);
    assert!(unknown.detail().unwrap().contains("SHA256:"), "{unknown:?}");
    assert!(unknown.hint().unwrap().contains("hostKey: ssh-ed25519 AAAA"), "{unknown:?}");
    // Only the other kind of key is recorded: it is asked for first.
    let ecdsa = server.text("host_ecdsa.pub");
    fs_err::write(&file, format!("[127.0.0.1]:{} {ecdsa}", server.port)).unwrap();
    server.session(&credentials, &known).await.unwrap().close().await;
    let stranger = server.text("stranger.pub");
    fs_err::write(&file, format!("[127.0.0.1]:{} {stranger}", server.port)).unwrap();
    for policy in [known, HostKeyPolicy::AcceptNew(vec![file.clone()])] {
        let changed = server.session(&credentials, &policy).await.err().unwrap();
        assert!(matches!(changed, HostError::HostKeyChanged { .. }), "{changed:?}");
        assert!(changed.detail().unwrap().contains("known_hosts:1"), "{changed:?}");
    }
    let fresh = HostKeyPolicy::AcceptNew(vec![server.at("fresh")]);
    server.session(&credentials, &fresh).await.unwrap().close().await;
    let now_known = HostKeyPolicy::KnownHosts(vec![server.at("fresh")]);
    server.session(&credentials, &now_known).await.unwrap().close().await;
    let shown = scan_host_key("127.0.0.1", server.port, Duration::from_secs(10)).await.unwrap();
    assert!(server.text("host_ed25519.pub").starts_with(&shown));
    let wrong = HostKeyPolicy::Pinned(vec![stranger]);
    assert!(matches!(server.session(&credentials, &wrong).await, Err(HostError::HostKeyChanged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_closed_port_are_told_apart() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let refused = server.session(&server.key("stranger"), &server.pinned()).await.err().unwrap();
    assert_eq!(refused.kind(), HostErrorKind::Authentication);
    assert!(refused.detail().unwrap().contains("publickey"), "{refused:?}");
    let absent = server.session(&server.key("nothing"), &server.pinned()).await.err().unwrap();
    assert!(matches!(absent, HostError::Identity { .. }), "{absent:?}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = HostAddress { port, ..server.address() };
    let closed = Session::connect(&address, &server.key("user"), &server.pinned(), &Deadlines::default()).await;
    assert_eq!(closed.err().unwrap().kind(), HostErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_ssh_agent_are_offered() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let socket = server.at("agent.sock");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a", &socket.to_string_lossy()]).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !socket.exists() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let added = Command::new("ssh-add")
        .args(["-q", &server.at("user").to_string_lossy()])
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    let credentials = Credentials { identity_files: Vec::new(), agent_socket: Some(socket) };
    let session = server.session(&credentials, &server.pinned()).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added.success());
    session.unwrap().close().await;
}

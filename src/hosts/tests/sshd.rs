//! Logins, host keys, bastions and the agent over OpenSSH's own sshd on the loopback address.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

#[expect(unreachable_pub, reason = "shared by two tests")]
mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Server, Setup, free_port, heard, keygen, program, run, ssh_agent};
use naru_agent::{Request, Response};
use naru_hosts::{
    AgentProgram, Credentials, Deadlines, Dialer, Elevation, ElevationMethod, HostAddress, HostError, HostErrorKind,
    HostEvent, HostKeyPolicy, HostLink, NotRootReason, PassphrasePrompt, Route, scan_host_key,
};
use naru_resources::{Content, Resource};
use zeroize::Zeroizing;

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_uploaded_once_and_works() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let (dialer, events) = heard();
    let link = HostLink::new(dialer.clone(), server.route(), Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    let Response::Facts(facts) = connection.call(&Request::Facts).await.unwrap() else { panic!() };
    assert_eq!(facts.architecture, std::env::consts::ARCH);
    let last = events.lock().unwrap().last().cloned();
    assert!(matches!(last, Some(HostEvent::Uploading { sent_bytes, size_bytes, .. }) if sent_bytes == size_bytes));
    let content = Content { text: "hello\n".to_owned(), sensitive: false };
    let resources = vec![Resource::File { path: "/etc/naru-test".to_owned(), mode: 0o644, content }];
    let apply = Request::Apply { resources: resources.clone(), revert_after_seconds: None };
    let applied = connection.call(&apply).await.unwrap();
    assert!(matches!(applied, Response::Changes { changes, .. } if changes.len() == 1));
    assert_eq!(server.text("etc/naru-test"), "hello\n");
    // A second artifact goes through the agent itself.
    let source = server.at("big");
    fs_err::write(&source, vec![7_u8; 5_000_000]).unwrap();
    let sha256 = AgentProgram::read(&source).unwrap().sha256;
    connection.upload(&sha256, &source, 0, &|_| {}).await.unwrap();
    let missing = connection.call(&Request::MissingArtifacts { sha256: vec![sha256] }).await.unwrap();
    assert_eq!(missing, Response::MissingArtifacts { missing: Vec::new() });
    connection.close().await;
    let output = link.exec("echo out; echo err >&2; exit 7", Duration::from_secs(10)).await.unwrap();
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(dialer.traffic().sessions, 1);
    link.close().await;
    // A second run finds the program: one session, one command, and what is asked.
    events.lock().unwrap().clear();
    let (dialer, events) = heard();
    let link = HostLink::new(dialer.clone(), server.route(), Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    connection.call(&Request::Check { resources }).await.unwrap();
    let traffic = dialer.traffic();
    assert_eq!((traffic.sessions, traffic.channels, traffic.requests), (1, 1, 2));
    assert!(events.lock().unwrap().is_empty(), "uploaded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_or_damaged_upload_ends_well() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let program = program(&server);
    let folder = server.at("var/lib/naru/artifacts");
    let part = folder.join(format!(".{}.{}", program.sha256, program.operator));
    let bytes = fs_err::read(&program.path).unwrap();
    let half = bytes.len() / 2;
    fs_err::create_dir_all(&folder).unwrap();
    let mut damaged = bytes[..half].to_vec();
    damaged[0] ^= 1;
    // How much has to go over the wire: the rest, or after damage the rest and then everything.
    for (have, expected) in [(bytes[..half].to_vec(), vec![half]), (damaged, vec![half, 0])] {
        fs_err::remove_file(folder.join(&program.sha256)).ok();
        fs_err::write(&part, have).unwrap();
        let (dialer, events) = heard();
        let link = HostLink::new(dialer, server.route(), Arc::new(program.clone()));
        let connection = link.agent().await.unwrap();
        connection.call(&Request::Facts).await.unwrap();
        let mut begins = Vec::new();
        let mut before = u64::MAX;
        for event in events.lock().unwrap().iter() {
            let HostEvent::Uploading { sent_bytes, .. } = event else { continue };
            if *sent_bytes < before {
                begins.push(usize::try_from(sent_bytes.saturating_sub(256 * 1024)).unwrap());
            }
            before = *sent_bytes;
        }
        assert_eq!(begins, expected);
        assert!(!part.exists());
        assert_eq!(fs_err::read(folder.join(&program.sha256)).unwrap(), bytes);
    }
    // A power cut may leave a program that is none.
    fs_err::remove_file(folder.join(&program.sha256)).unwrap();
    fs_err::write(folder.join(&program.sha256), vec![0_u8; 100]).unwrap();
    fs_err::set_permissions(folder.join(&program.sha256), std::fs::Permissions::from_mode(0o755)).unwrap();
    let connection = server.link().agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
    assert_eq!(fs_err::read(folder.join(&program.sha256)).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_called_one() {
    // The login's folder for artifacts is a file system of one megabyte, mounted in the namespace of this sshd only.
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], worker: Some(&[]), ..Setup::default() }) else {
        return;
    };
    let small = server.at("small");
    fs_err::create_dir_all(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=1m naru {}", small.display());
    let status = std::process::Command::new("nsenter")
        .args(["--mount", "--target", &server.process().to_string(), "sh", "-c", &mount])
        .status()
        .unwrap();
    assert!(status.success());
    let mut program = program(&server);
    program.directory = small.display().to_string();
    let mut route = server.route();
    route.host.user = "root".to_owned();
    let link = HostLink::new(Dialer::silent(), route, Arc::new(program));
    let full = link.agent().await.unwrap().call(&Request::Facts).await.unwrap_err();
    assert!(matches!(full, HostError::NoSpace { .. }), "{full:?}");
    assert!(full.detail().unwrap().contains("are free"), "{full:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_of_the_login_shell_does_no_harm() {
    let programs = [("sudo", FAKE_SUDO)];
    let worker = Some(programs.as_slice());
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], worker, config: "" }) else { return };
    fs_err::write(server.at("mode"), "free").unwrap();
    // sshd runs what a login wants through this file first.
    fs_err::create_dir_all(server.at(".ssh")).unwrap();
    fs_err::write(server.at(".ssh/rc"), "echo Welcome; echo noise >&2\n").unwrap();
    let connection = server.link().agent().await.unwrap();
    connection.call(&Request::Facts).await.unwrap();
}

/// Behaves as its mode file says, as sudo does as far as we speak with it.
const FAKE_SUDO: &str = r#"#!/bin/sh
mode=$(cat "$HOME/mode")
case "$mode" in
tty) echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1;;
stranger) echo "narutest is not in the sudoers file." >&2; exit 1;;
esac
if [ "$1" = -n ]; then
  [ "$mode" = free ] || { echo "sudo: a password is required" >&2; exit 1; }
  shift 2; exec "$@"
fi
[ "$1 $2 $4" = "-S -p --" ] || { echo "usage" >&2; exit 1; }
prompt=$3
shift 4
[ "$mode" = free ] && exec "$@"
for attempt in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r password || exit 1
  [ "$password" = sesame ] && exec "$@"
  echo "Sorry, try again." >&2
done
echo "sudo: 3 incorrect password attempts" >&2
exit 1
"#;

/// doas asks on the terminal, after throwing away what was typed before.
const FAKE_DOAS: &str = r#"#!/bin/sh
if [ "$1" = -n ]; then echo "doas: Authentication required" >&2; exit 1; fi
[ "$1" = -- ] && shift
stty -echo </dev/tty || { echo "doas: a tty is required" >&2; exit 1; }
printf 'doas (narutest@host) password: ' >/dev/tty
IFS= read -r password </dev/tty
stty echo </dev/tty
echo >/dev/tty
[ "$password" = sesame ] && exec "$@"
echo "doas: Authentication failed" >&2
exit 1
"#;

fn elevation(method: ElevationMethod, password: Option<&str>) -> Elevation {
    Elevation { method, password: password.map(|text| Arc::new(Zeroizing::new(text.to_owned()))) }
}

async fn facts_as(server: &Server, elevation: Elevation) -> Result<Response, HostError> {
    let route = Route { elevation, ..server.route() };
    let link = HostLink::new(Dialer::silent(), route, Arc::new(program(server)));
    link.agent().await?.call(&Request::Facts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_with_and_without_a_password() {
    let programs = [("sudo", FAKE_SUDO)];
    let worker = Some(programs.as_slice());
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], worker, config: "" }) else { return };
    let auto = ElevationMethod::Auto;
    // The mode of sudo, the password that we have, and why it does not work.
    let cases = [
        ("free", None, None),
        ("free", Some("sesame"), None),
        ("password", Some("sesame"), None),
        ("password", Some("wrong"), Some(NotRootReason::WrongPassword)),
        ("password", None, Some(NotRootReason::PasswordRequired)),
        ("tty", None, Some(NotRootReason::TerminalRequired)),
        ("tty", Some("sesame"), Some(NotRootReason::TerminalRequired)),
        ("stranger", None, Some(NotRootReason::NotAllowed)),
    ];
    for (mode, password, expected) in cases {
        fs_err::write(server.at("mode"), mode).unwrap();
        let answer = facts_as(&server, elevation(auto, password)).await;
        match (answer, expected) {
            (Ok(Response::Facts(_)), None) => {}
            (Err(HostError::NotRoot { reason, .. }), Some(expected)) if reason == expected => {}
            (answer, _) => panic!("{mode} {password:?}: {answer:?}"),
        }
    }
    assert!(!server.text("sshd.log").contains("sesame"));
    let missing = facts_as(&server, elevation(ElevationMethod::Doas, None)).await.unwrap_err();
    assert!(matches!(missing, HostError::NotRoot { reason: NotRootReason::Missing, .. }), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doas_with_a_password_gets_a_terminal() {
    let programs = [("doas", FAKE_DOAS)];
    let worker = Some(programs.as_slice());
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], worker, config: "" }) else { return };
    for method in [ElevationMethod::Auto, ElevationMethod::Doas] {
        if Path::new("/usr/bin/sudo").exists() && method == ElevationMethod::Auto {
            continue;
        }
        let answer = facts_as(&server, elevation(method, Some("sesame"))).await;
        assert!(matches!(answer, Ok(Response::Facts(_))), "{answer:?}");
    }
    let wrong = facts_as(&server, elevation(ElevationMethod::Doas, Some("wrong"))).await.unwrap_err();
    assert!(matches!(wrong, HostError::NotRoot { reason: NotRootReason::WrongPassword, .. }), "{wrong:?}");
    let none = facts_as(&server, elevation(ElevationMethod::Doas, None)).await.unwrap_err();
    assert!(matches!(none, HostError::NotRoot { reason: NotRootReason::PasswordRequired, .. }), "{none:?}");
    // Every byte has to survive the terminal.
    let route = Route { elevation: elevation(ElevationMethod::Doas, Some("sesame")), ..server.route() };
    let link = HostLink::new(Dialer::silent(), route, Arc::new(program(&server)));
    let connection = link.agent().await.unwrap();
    let source = server.at("bytes");
    fs_err::write(&source, (0..=255_u8).cycle().take(3_000_000).collect::<Vec<u8>>()).unwrap();
    let sha256 = AgentProgram::read(&source).unwrap().sha256;
    connection.upload(&sha256, &source, 0, &|_| {}).await.unwrap();
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
    for policy in [known.clone(), HostKeyPolicy::AcceptNew(vec![file.clone()])] {
        let changed = server.session(&credentials, &policy).await.err().unwrap();
        assert!(matches!(changed, HostError::HostKeyChanged { .. }), "{changed:?}");
        assert!(changed.detail().unwrap().contains("known_hosts:1"), "{changed:?}");
    }
    let ed25519 = server.text("host_ed25519.pub");
    fs_err::write(&file, format!("[127.0.0.1]:{} {ed25519}@revoked * {ed25519}", server.port)).unwrap();
    let revoked = server.session(&credentials, &known).await.err().unwrap();
    assert!(matches!(revoked, HostError::HostKeyRevoked { .. }), "{revoked:?}");
    // As ssh-keygen hashes it.
    fs_err::write(&file, format!("[127.0.0.1]:{} {ed25519}", server.port)).unwrap();
    run("ssh-keygen", &["-q", "-H", "-f", &file.to_string_lossy()]);
    assert!(server.text("known_hosts").starts_with("|1|"));
    server.session(&credentials, &known).await.unwrap().close().await;
    let (dialer, events) = heard();
    let fresh = HostKeyPolicy::AcceptNew(vec![server.at("fresh")]);
    let fresh = Route { host_keys: fresh, ..server.route() };
    dialer.connect(&fresh).await.unwrap();
    // Told once, whatever this run had read before.
    dialer.connect(&fresh).await.unwrap();
    let told = events.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [HostEvent::HostKeyAccepted { fingerprint, .. }] if fingerprint.contains("SHA256:")),
        "{told:?}"
    );
    let now_known = HostKeyPolicy::KnownHosts(vec![server.at("fresh")]);
    server.session(&credentials, &now_known).await.unwrap().close().await;
    let shown = scan_host_key("127.0.0.1", server.port, Duration::from_secs(10)).await.unwrap();
    assert!(ed25519.starts_with(&shown));
    let wrong = HostKeyPolicy::Pinned(vec![stranger]);
    assert!(matches!(server.session(&credentials, &wrong).await, Err(HostError::HostKeyChanged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn host_certificates_are_believed_for_their_names_only() {
    let config = "HostCertificate FOLDER/host_ed25519-cert.pub";
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], config, worker: None }) else { return };
    keygen(&server.at("ca"), "ecdsa", "");
    let certify = |names: &str, validity: &str| {
        let (ca, key) = (server.at("ca"), server.at("host_ed25519.pub"));
        let (ca, key) = (ca.to_string_lossy(), key.to_string_lossy());
        run("ssh-keygen", &["-q", "-s", &ca, "-I", "w1", "-h", "-n", names, "-V", validity, &key]);
        // sshd reads its certificate when it starts.
        server.reload();
    };
    let known = server.at("known_hosts");
    let policy = HostKeyPolicy::KnownHosts(vec![known.clone()]);
    let authority = format!("@cert-authority * {}", server.text("ca.pub"));
    let cases = [
        ("w1", "-1h:+1h", authority.clone(), None),
        ("127.0.0.1", "-1h:+1h", authority.clone(), None),
        ("other", "-1h:+1h", authority.clone(), Some("made for")),
        ("w1", "-2h:-1h", authority.clone(), Some("has ended")),
        ("w1", "-1h:+1h", format!("{authority}@revoked * {}", server.text("ca.pub")), Some("is not known")),
        ("w1", "-1h:+1h", format!("{authority}@revoked * {}", server.text("host_ed25519.pub")), Some("revoked")),
    ];
    for (names, validity, text, refused) in cases {
        certify(names, validity);
        fs_err::write(&known, text).unwrap();
        match (server.session(&server.key("user"), &policy).await, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => {
                let told = format!("{error} {}", error.detail().unwrap_or_default());
                assert!(told.contains(words), "{names} {validity}: {told}");
                assert_eq!(error.kind(), HostErrorKind::HostKey);
            }
            (result, _) => panic!("{names} {validity} {refused:?}: {:?}", result.err()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_closed_port_are_told_apart() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let refused = server.session(&server.key("stranger"), &server.pinned()).await.err().unwrap();
    assert_eq!(refused.kind(), HostErrorKind::Authentication);
    assert!(refused.detail().unwrap().contains("publickey"), "{refused:?}");
    let absent = server.session(&server.key("nothing"), &server.pinned()).await.err().unwrap();
    assert!(matches!(absent, HostError::Identity { .. }), "{absent:?}");
    let host = HostAddress { port: free_port(), ..server.address() };
    let closed = Dialer::silent().connect(&Route { host, ..server.route() }).await;
    assert_eq!(closed.err().unwrap().kind(), HostErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_algorithms_are_refused() {
    let weak = [
        "KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
        "Ciphers aes128-cbc,3des-cbc",
        "Ciphers aes128-ctr\nMACs hmac-sha1,hmac-md5",
    ];
    for config in weak {
        let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], config, worker: None }) else { return };
        let refused = server.session(&server.key("user"), &server.pinned()).await.err().unwrap();
        assert!(matches!(refused, HostError::Handshake { .. }), "{config}: {refused:?}");
    }
    // A host with nothing but an RSA key.
    let Some(server) = Server::start(&["rsa"]) else { return };
    fs_err::copy(server.at("host_rsa.pub"), server.at("host_ed25519.pub")).unwrap();
    let refused = server.session(&server.key("user"), &server.pinned()).await.err().unwrap();
    assert!(refused.hint().unwrap().contains("ssh-keygen -A"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_kinds_log_in() {
    let config = "PubkeyAcceptedAlgorithms +ssh-rsa\nRequiredRSASize 1024";
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], config, worker: None }) else { return };
    for kind in ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048", "rsa-3072", "rsa-1024"] {
        let path = server.at(kind);
        keygen(&path, kind, "");
        fs_err::copy(server.at(&format!("{kind}.pub")), server.at("authorized_keys")).unwrap();
        let result = server.session(&server.key(kind), &server.pinned()).await;
        if kind == "rsa-1024" {
            let error = result.err().unwrap();
            assert!(error.detail().unwrap().contains("1024 bits"), "{error:?}");
            continue;
        }
        result.unwrap_or_else(|error| panic!("{kind}: {error:?}")).close().await;
        if kind.starts_with("rsa") {
            let log = server.text("sshd.log");
            assert!(!log.contains("ssh-rsa,"), "{log}");
            // The format of before 2019.
            run("ssh-keygen", &["-q", "-p", "-N", "", "-m", "PEM", "-f", &path.to_string_lossy()]);
            assert!(server.text(kind).contains("BEGIN RSA"));
            server.session(&server.key(kind), &server.pinned()).await.unwrap().close().await;
        }
    }
}

struct Prompt {
    asked: AtomicU32,
    answers: Mutex<Vec<&'static str>>,
}

impl PassphrasePrompt for Prompt {
    fn ask(&self, _: &Path, _: u32) -> Result<Zeroizing<String>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.lock().unwrap().pop().map(|text| Zeroizing::new(text.to_owned())).ok_or_else(|| "gone".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_asked_for_once() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    for kind in ["ed25519", "rsa-2048"] {
        let name = format!("locked-{kind}");
        keygen(&server.at(&name), kind, "open sesame");
        let route = Route { credentials: server.key(&name), ..server.route() };
        let prompt = Arc::new(Prompt { asked: AtomicU32::new(0), answers: Mutex::new(vec!["open sesame", "wrong"]) });
        let dialer = Dialer::new(Some(prompt.clone()), Arc::new(|_| ()));
        // The host does not take it, so nobody is asked to open it.
        let refused = dialer.connect(&route).await.err().unwrap();
        assert_eq!((refused.kind(), prompt.asked.load(Ordering::SeqCst)), (HostErrorKind::Authentication, 0));
        fs_err::copy(server.at(&format!("{name}.pub")), server.at("authorized_keys")).unwrap();
        let (one, two) = tokio::join!(dialer.connect(&route), dialer.connect(&route));
        one.unwrap().close().await;
        two.unwrap().close().await;
        assert_eq!(prompt.asked.load(Ordering::SeqCst), 2, "once wrong, once right");
        let nobody = Dialer::silent().connect(&route).await.err().unwrap();
        assert!(nobody.detail().unwrap().contains("passphrase"), "{nobody:?}");
        assert!(nobody.hint().unwrap().contains("ssh-add"), "{nobody:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_certificates_log_in_from_a_file_and_from_an_agent() {
    let config = "TrustedUserCAKeys FOLDER/ca.pub\nAuthorizedKeysFile none";
    let Some(server) = Server::set_up(&Setup { host_keys: &["ed25519"], config, worker: None }) else { return };
    // The first AuthorizedKeysFile of a configuration counts.
    fs_err::write(server.at("authorized_keys"), "").unwrap();
    keygen(&server.at("ca"), "ed25519", "");
    let ca = server.at("ca");
    for kind in ["ed25519", "ecdsa", "rsa-2048"] {
        let path = server.at(&format!("id-{kind}"));
        keygen(&path, kind, "");
        let credentials = Credentials { identity_files: vec![path.clone()], ..Credentials::default() };
        assert!(server.session(&credentials, &server.pinned()).await.is_err(), "{kind} without its certificate");
        let public = format!("{}.pub", path.display());
        run("ssh-keygen", &["-q", "-s", &ca.to_string_lossy(), "-I", "me", "-n", "root", "-V", "+1h", &public]);
        let session = server.session(&credentials, &server.pinned()).await;
        session.unwrap_or_else(|error| panic!("{kind}: {error:?}")).close().await;
        let agent = ssh_agent(server.at(&format!("{kind}.sock")), std::slice::from_ref(&path));
        let credentials = Credentials { agent_socket: Some(agent.socket.clone()), ..Credentials::default() };
        let session = server.session(&credentials, &server.pinned()).await;
        session.unwrap_or_else(|error| panic!("{kind} by the agent: {error:?}")).close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_ssh_agent_are_offered() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    keygen(&server.at("rsa"), "rsa-2048", "");
    let both = format!("{}{}", server.text("user.pub"), server.text("rsa.pub"));
    fs_err::write(server.at("authorized_keys"), both).unwrap();
    for key in ["user", "rsa"] {
        let agent = ssh_agent(server.at(&format!("{key}.sock")), &[server.at(key)]);
        let mut credentials = Credentials { agent_socket: Some(agent.socket.clone()), ..Credentials::default() };
        server.session(&credentials, &server.pinned()).await.unwrap().close().await;
        // Only those that were named; that the file itself is locked does not matter then.
        credentials.only_these = true;
        assert!(server.session(&credentials, &server.pinned()).await.is_err());
        run("ssh-keygen", &["-q", "-p", "-N", "secret", "-f", &server.at(key).to_string_lossy()]);
        credentials.identity_files = vec![server.at(key)];
        server.session(&credentials, &server.pinned()).await.unwrap().close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bastions_are_shared_and_judged_like_hosts() {
    let Some(server) = Server::start(&["ed25519"]) else { return };
    let Some(first) = Server::start(&["ed25519"]) else { return };
    let Some(second) = Server::start(&["ed25519"]) else { return };
    let named = |server: &Server, name: &str, via: Option<Arc<Route>>| {
        let mut route = server.route();
        name.clone_into(&mut route.host.name);
        Arc::new(Route { via, ..route })
    };
    let outer = named(&first, "outer", None);
    let inner = named(&second, "inner", Some(outer.clone()));
    let dialer = Dialer::silent();
    let open = |_: usize| {
        let (dialer, route) = (dialer.clone(), Route { via: Some(inner.clone()), ..server.route() });
        tokio::spawn(async move { dialer.connect(&route).await })
    };
    let sessions: Vec<_> = (0..8).map(open).collect();
    let mut opened = Vec::new();
    for session in sessions {
        opened.push(session.await.unwrap().unwrap());
    }
    assert_eq!(dialer.traffic().sessions, 8 + 2);
    let output = opened[7].exec("echo there", Duration::from_secs(10)).await.unwrap();
    assert_eq!(output.stdout, "there\n");
    // The key of the bastion is checked too, and its fault is told as its own.
    let mut wrong = (*outer).clone();
    wrong.host_keys = HostKeyPolicy::Pinned(vec![first.text("stranger.pub")]);
    let route = Route { via: Some(Arc::new(wrong)), ..server.route() };
    let refused = Dialer::silent().connect(&route).await.err().unwrap();
    assert_eq!(refused.kind(), HostErrorKind::HostKey);
    assert!(refused.to_string().contains("the bastion outer"), "{refused}");
    assert!(refused.detail().unwrap().contains("CHANGED"), "{refused:?}");
    let mut closed = Route { via: Some(outer), ..server.route() };
    closed.host.port = free_port();
    let refused = Dialer::silent().connect(&closed).await.err().unwrap();
    assert!(refused.detail().unwrap().contains("through the bastion outer"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bastion_that_forwards_nothing_is_named() {
    let setup = Setup { host_keys: &["ed25519"], config: "AllowTcpForwarding no", worker: None };
    let (Some(bastion), Some(server)) = (Server::set_up(&setup), Server::start(&["ed25519"])) else { return };
    let route = Route { via: Some(Arc::new(bastion.route())), ..server.route() };
    let refused = Dialer::silent().connect(&route).await.err().unwrap();
    assert!(refused.detail().unwrap().contains("AllowTcpForwarding"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_session_leads_to_a_second_one() {
    let setup = Setup { host_keys: &["ed25519"], config: "MaxSessions 2", worker: None };
    let Some(server) = Server::set_up(&setup) else { return };
    let dialer = Dialer::silent();
    let link = HostLink::new(dialer.clone(), server.route(), Arc::new(program(&server)));
    let mut agents = Vec::new();
    for _ in 0..3 {
        let agent = link.agent().await.unwrap();
        agent.call(&Request::MissingArtifacts { sha256: Vec::new() }).await.unwrap();
        agents.push(agent);
    }
    assert_eq!(dialer.traffic().sessions, 2);
    // What is dropped makes room again.
    agents.clear();
    let again = link.agent().await.unwrap();
    again.call(&Request::MissingArtifacts { sha256: Vec::new() }).await.unwrap();
    assert_eq!(dialer.traffic().sessions, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_hosts_are_recorded_whole() {
    // So that sshd does not turn away some of those who come at once.
    let config = "MaxStartups 100\n".to_owned();
    let config: String =
        config + &(2..=12).map(|number| format!("ListenAddress 127.0.0.{number}\n")).collect::<String>();
    let setup = Setup { host_keys: &["ed25519"], config: &config, worker: None };
    let Some(server) = Server::set_up(&setup) else { return };
    let file = server.at("deep/known_hosts");
    let (dialer, events) = heard();
    // One machine by many addresses, all of them new.
    let tasks: Vec<_> = (1..=12_u8)
        .map(|number| {
            let mut route = server.route();
            route.host.address = format!("127.0.0.{number}");
            route.host_keys = HostKeyPolicy::AcceptNew(vec![file.clone()]);
            route.deadlines = Deadlines { connect: Duration::from_secs(2), ..Deadlines::default() };
            let dialer = dialer.clone();
            tokio::spawn(async move { dialer.connect(&route).await.map(drop) })
        })
        .collect();
    let mut reached = 0;
    for task in tasks {
        reached += usize::from(task.await.unwrap().is_ok());
    }
    let text = fs_err::read_to_string(&file).unwrap();
    assert_eq!(reached, 12);
    assert_eq!((text.lines().count(), events.lock().unwrap().len()), (reached, reached), "{text}");
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

//! OpenSSH's own sshd on the loopback address, with keys and a configuration of its own, and the way to it.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr, reason = "helpers that each test uses some of")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use naru_hosts::{
    AgentProgram, Credentials, Deadlines, Dialer, Elevation, HostAddress, HostError, HostEvent, HostKeyPolicy,
    HostLink, Route, Session,
};

const SSHD: &str = "/usr/sbin/sshd";
/// A login that exists only in the mount namespace of a test's sshd.
pub const WORKER: &str = "narutest";
const WORKER_ID: u32 = 54_321;

pub struct Server {
    pub folder: tempfile::TempDir,
    sshd: Child,
    pub port: u16,
    pub user: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// What is special about one sshd.
#[derive(Default)]
pub struct Setup<'a> {
    pub host_keys: &'a [&'a str],
    /// Further lines of its configuration; `FOLDER` is the server's folder.
    pub config: &'a str,
    /// Programs that only a login that is not root finds: name and shell script.
    pub worker: Option<&'a [(&'a str, &'a str)]>,
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// The library reads no P-256 key whose number is shorter than 32 bytes, as one of 512 is (the guide's troubleshooting
/// says so); a test that met one would fail by chance.
const KEY_TRIES: usize = 4;

pub fn keygen(path: &Path, kind: &str, passphrase: &str) {
    for _ in 0..KEY_TRIES {
        keygen_once(path, kind, passphrase);
        let text = fs_err::read_to_string(path).unwrap();
        if !kind.starts_with("ecdsa") || russh::keys::PrivateKey::from_openssh(text.as_str()).is_ok() {
            return;
        }
        fs_err::remove_file(path).unwrap();
    }
    panic!("none of {KEY_TRIES} keys of kind {kind} can be read");
}

fn keygen_once(path: &Path, kind: &str, passphrase: &str) {
    let (kind, bits) = kind.split_once('-').map_or((kind, None), |(kind, bits)| (kind, Some(bits)));
    let path = path.to_string_lossy();
    let mut arguments = vec!["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", &path];
    if let Some(bits) = bits {
        arguments.extend(["-b", bits]);
    }
    run("ssh-keygen", &arguments);
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    pub fn start(host_keys: &[&str]) -> Option<Self> {
        Self::set_up(&Setup { host_keys, ..Setup::default() })
    }

    /// `None` (said aloud) where no sshd can be started.
    pub fn set_up(setup: &Setup) -> Option<Self> {
        let is_root = fs_err::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t");
        if !Path::new(SSHD).exists() || !is_root {
            eprintln!("SKIPPED: {SSHD} and root are needed for a round trip over SSH");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir_all("/run/sshd").unwrap();
        let port = free_port();
        keygen(&at("user"), "ed25519", "");
        keygen(&at("stranger"), "ecdsa", "");
        fs_err::copy(at("user.pub"), at("authorized_keys")).unwrap();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n{}\n",
            at("authorized_keys").display(),
            setup.config.replace("FOLDER", &folder.path().display().to_string()),
        );
        for kind in setup.host_keys {
            let path = at(&format!("host_{kind}"));
            keygen(&path, kind, "");
            config.push_str(&format!("HostKey {}\n", path.display()));
        }
        let mut command = Command::new(SSHD);
        if let Some(programs) = setup.worker {
            worker(folder.path(), programs);
            config.push_str(&format!("SetEnv PATH={}:/usr/bin:/bin\n", at("bin").display()));
            let script = "mount --make-rprivate / && mount --bind \"$1/passwd\" /etc/passwd && \
                          mount --bind \"$1/shadow\" /etc/shadow && shift && exec \"$@\"";
            command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script, "sh"]).arg(folder.path()).arg(SSHD);
        }
        fs_err::write(at("sshd_config"), config).unwrap();
        let log = fs_err::File::create(at("sshd.log")).unwrap();
        let sshd = command
            .args(["-D", "-e", "-f", &at("sshd_config").to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_file())
            .spawn()
            .unwrap();
        let user = if setup.worker.is_some() { WORKER } else { "root" }.to_owned();
        let server = Self { folder, sshd, port, user };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "sshd: {}", server.text("sshd.log"));
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn process(&self) -> u32 {
        self.sshd.id()
    }

    /// Reads its configuration and certificates anew.
    pub fn reload(&self) {
        let listening = || self.text("sshd.log").matches("Server listening").count();
        let before = listening();
        run("kill", &["-HUP", &self.sshd.id().to_string()]);
        let started = Instant::now();
        while listening() == before {
            assert!(started.elapsed() < Duration::from_secs(20), "sshd: {}", self.text("sshd.log"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.at(name)).unwrap()
    }

    pub fn address(&self) -> HostAddress {
        HostAddress { name: "w1".to_owned(), address: "127.0.0.1".to_owned(), port: self.port, user: self.user.clone() }
    }

    pub fn key(&self, name: &str) -> Credentials {
        Credentials { identity_files: vec![self.at(name)], ..Credentials::default() }
    }

    pub fn pinned(&self) -> HostKeyPolicy {
        HostKeyPolicy::Pinned(vec![self.text("host_ed25519.pub")])
    }

    pub fn route(&self) -> Route {
        Route {
            host: self.address(),
            credentials: self.key("user"),
            host_keys: self.pinned(),
            elevation: Elevation::default(),
            deadlines: Deadlines::default(),
            via: None,
        }
    }

    pub fn link(&self) -> HostLink {
        HostLink::new(Dialer::silent(), self.route(), Arc::new(program(self)))
    }

    pub async fn session(&self, credentials: &Credentials, policy: &HostKeyPolicy) -> Result<Session, HostError> {
        let route = Route { credentials: credentials.clone(), host_keys: policy.clone(), ..self.route() };
        Dialer::silent().connect(&route).await
    }
}

fn worker(folder: &Path, programs: &[(&str, &str)]) {
    let home = folder.display();
    let line = |file: &str, line: String| {
        let text = fs_err::read_to_string(format!("/etc/{file}")).unwrap();
        fs_err::write(folder.join(file), format!("{text}{line}\n")).unwrap();
    };
    line("passwd", format!("{WORKER}:x:{WORKER_ID}:{WORKER_ID}::{home}:/bin/sh"));
    line("shadow", format!("{WORKER}:*:19000:0:99999:7:::"));
    fs_err::create_dir(folder.join("bin")).unwrap();
    for (name, script) in programs {
        let path = folder.join("bin").join(name);
        fs_err::write(&path, script).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// The agent's program, built as an example beside this test, living below the test's own folder.
pub fn program(server: &Server) -> AgentProgram {
    let beside = std::env::current_exe().unwrap();
    let folder = beside.parent().and_then(Path::parent).unwrap().join("examples");
    let mut program = AgentProgram::read(&folder.join("hosts-test-agent")).unwrap();
    program.directory = server.at("var/lib/naru/artifacts").display().to_string();
    program.arguments = vec!["agent".to_owned(), "--root".to_owned(), server.folder.path().display().to_string()];
    program
}

/// A dialer that remembers what it told.
pub fn heard() -> (Arc<Dialer>, Arc<Mutex<Vec<HostEvent>>>) {
    let events = Arc::<Mutex<Vec<HostEvent>>>::default();
    let sink = events.clone();
    (Dialer::new(None, Arc::new(move |event| sink.lock().unwrap().push(event))), events)
}

pub struct Agent {
    child: Child,
    pub socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An ssh-agent with these keys.
pub fn ssh_agent(socket: PathBuf, keys: &[PathBuf]) -> Agent {
    let child =
        Command::new("ssh-agent").args(["-D", "-a", &socket.to_string_lossy()]).stdout(Stdio::null()).spawn().unwrap();
    let agent = Agent { child, socket };
    let started = Instant::now();
    while !agent.socket.exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "ssh-agent does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    for key in keys {
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).status().unwrap();
        assert!(added.success());
    }
    agent
}

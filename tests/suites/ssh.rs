//! Every way in which `naru` logs in: users, keys, certificates, agents, bastions, host keys. One real cluster made by
//! a user who is not root; after that each way is right when a plan over it finds nothing to do.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, Wish, command, pinned};
use naru_machines::{ClusterSpec, ImageSpec, Machine, Provider, Release};

use crate::{Case, first_cluster};

const SHORT: Duration = Duration::from_secs(20);
/// Of users whose password `sudo` and `doas` ask for.
/// OpenSSH 10 turns an address away for a while after failed logins, and these cases fail logins on purpose.
const NO_PENALTIES: &str =
    "echo 'PerSourcePenalties no' > /etc/ssh/sshd_config.d/10-naru-test.conf && systemctl reload ssh";
const PASSWORD: &str = "correct horse";
/// Of the key that has one.
const PASSPHRASE: &str = "open sesame";
const PASSWORD_VARIABLE: &str = "NARU_E2E_PASSWORD";

/// Users of each kind, all with the key that logs in to the machine.
const USERS: &str = r#"
set -e
for user in keeper asked doer doasked stranger; do
    id $user >/dev/null 2>&1 || useradd -m -s /bin/bash $user
    echo "$user:correct horse" | chpasswd
    install -d -m 700 -o $user -g $user /home/$user/.ssh
    install -m 600 -o $user -g $user /root/.ssh/authorized_keys /home/$user/.ssh/authorized_keys
done
echo 'keeper ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/keeper
echo 'asked ALL=(ALL) ALL' >/etc/sudoers.d/asked
chmod 0440 /etc/sudoers.d/*
printf 'permit nopass doer as root\npermit doasked as root\n' >/etc/doas.conf
chmod 0400 /etc/doas.conf
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "three machines with users of all kinds start", run: start },
        Case { name: "a user with sudo, not root, makes a cluster", run: rootless },
        Case { name: "sudo asks for a password and gets it from the environment", run: sudo_password },
        Case { name: "a wrong sudo password is told, and a missing one", run: wrong_password },
        Case { name: "doas, with and without password", run: doas },
        Case { name: "a user who may not become root is told", run: stranger },
        Case { name: "a user certificate logs in, an expired one does not", run: user_certificate },
        Case { name: "a key with a passphrase, by the SSH agent", run: agent },
        Case { name: "the passphrase is asked for once", run: passphrase },
        Case { name: "new host keys are shown and remembered", run: new_host_keys },
        Case { name: "hashed known_hosts; a changed key is told", run: hashed },
        Case { name: "host certificates of a known authority; a revoked key", run: host_certificates },
        Case { name: "port, user, key and jump host from ~/.ssh/config", run: configuration },
        Case { name: "hosts behind one bastion and behind two", run: bastions },
    ]
}

fn start(context: &Context) -> Result<()> {
    let packages = ["sudo", "opendoas"].map(str::to_owned).to_vec();
    let image = ImageSpec { packages, ..ImageSpec::prepared(Release::Trixie) };
    context.machines.ensure(&ClusterSpec::simple(&context.name, 1, 2, &image), &|_| {})?;
    for machine in context.hosts()? {
        context.on(&machine.host, USERS)?;
        context.on(&machine.host, NO_PENALTIES)?;
    }
    Ok(())
}

fn key(context: &Context) -> String {
    context.machines.key_path(&context.name).display().to_string()
}

fn address(context: &Context, host: &str) -> Result<String> {
    Ok(context.host(host)?.address)
}

/// An inventory with pinned host keys and this in `spec.ssh`.
fn with_ssh(context: &Context, ssh: &str) -> Result<()> {
    context.write_inventory(&Wish { ssh: ssh.to_owned(), host: Some(&pinned), ..Wish::default() })
}

/// An inventory without pins: host keys have to be known otherwise.
fn unpinned(context: &Context, ssh: &str) -> Result<()> {
    context.write_inventory(&Wish { ssh: ssh.to_owned(), ..Wish::default() })
}

/// A plan that cannot reach some host: what it says, which holds all these parts.
fn refused(context: &Context, environment: &[(&str, &str)], parts: &[&str]) -> Result<String> {
    let output = context.naru_with(environment, &["plan", "cluster.yaml", "--detailed-exitcode"])?;
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(matches!(output.code, Some(1 | 2)), "exit {:?}: {said}", output.code);
    for part in parts {
        ensure!(said.to_lowercase().contains(&part.to_lowercase()), "does not say {part:?}:\n{said}");
    }
    Ok(said)
}

fn nothing_to_do(context: &Context, environment: &[(&str, &str)]) -> Result<String> {
    let said = context.naru_with(environment, &["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(0)?;
    ensure!(said.to_lowercase().contains("nothing to do"), "the plan says:\n{said}");
    Ok(said)
}

fn rootless(context: &Context) -> Result<()> {
    with_ssh(context, &format!("user: keeper, keyPath: {}", key(context)))?;
    first_cluster::apply(context)?;
    let owners = context.on("w1", "stat -c %U /etc/naru /opt/naru/bin/naru-node /var/lib/naru; ls -A /home/keeper")?;
    ensure!(owners.lines().take(3).all(|owner| owner == "root"), "owners:\n{owners}");
    ensure!(!owners.contains("naru"), "left in the user's home:\n{owners}");
    nothing_to_do(context, &[]).map(drop)
}

fn asked_for_password(context: &Context, user: &str, method: &str) -> Result<()> {
    let password = format!("password: \"${{{PASSWORD_VARIABLE}}}\"");
    let become_root = format!("become: {{method: {method}, {password}}}");
    with_ssh(context, &format!("user: {user}, keyPath: {}, {become_root}", key(context)))
}

/// The password must be nowhere: not in our journals, not in what hosts write down about commands.
fn password_is_nowhere(context: &Context, said: &str) -> Result<()> {
    ensure!(!said.contains(PASSWORD), "the password is on the screen:\n{said}");
    let mut grep = Command::new("grep");
    let found = command(grep.args(["-rl", PASSWORD]).arg(&context.folder), None, SHORT)?;
    ensure!(found.code == Some(1), "the password lies in {}", found.stdout);
    let lines = context.on("w1", &format!("journalctl --no-pager | grep -c '{PASSWORD}' || true"))?;
    ensure!(lines.trim() == "0", "{} lines of w1's journal hold the password", lines.trim());
    Ok(())
}

fn sudo_password(context: &Context) -> Result<()> {
    asked_for_password(context, "asked", "sudo")?;
    let said = nothing_to_do(context, &[(PASSWORD_VARIABLE, PASSWORD)])?;
    password_is_nowhere(context, &said)
}

fn wrong_password(context: &Context) -> Result<()> {
    asked_for_password(context, "asked", "sudo")?;
    let said = refused(context, &[(PASSWORD_VARIABLE, "wrong horse")], &["w1", "cp1", "password"])?;
    ensure!(!said.contains("wrong horse"), "the wrong password is on the screen:\n{said}");
    refused(context, &[], &[PASSWORD_VARIABLE])?;
    with_ssh(context, &format!("user: asked, keyPath: {}", key(context)))?;
    refused(context, &[], &["w1", "asked", "password"]).map(drop)
}

fn doas(context: &Context) -> Result<()> {
    with_ssh(context, &format!("user: doer, keyPath: {}, become: {{method: doas}}", key(context)))?;
    nothing_to_do(context, &[])?;
    asked_for_password(context, "doasked", "doas")?;
    let said = nothing_to_do(context, &[(PASSWORD_VARIABLE, PASSWORD)])?;
    password_is_nowhere(context, &said)?;
    refused(context, &[(PASSWORD_VARIABLE, "wrong horse")], &["w1", "password"]).map(drop)
}

fn stranger(context: &Context) -> Result<()> {
    with_ssh(context, &format!("user: stranger, keyPath: {}", key(context)))?;
    refused(context, &[], &["w1", "stranger", "root"]).map(drop)
}

/// A new key pair in the suite's folder.
fn new_key(context: &Context, name: &str, passphrase: &str) -> Result<PathBuf> {
    let path = context.folder.join(name);
    for old in [path.clone(), path.with_extension("pub")] {
        if old.exists() {
            fs_err::remove_file(old)?;
        }
    }
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f"]).arg(&path);
    command(&mut keygen, None, SHORT)?.ok()?;
    Ok(path)
}

fn public(path: &std::path::Path) -> Result<String> {
    Ok(fs_err::read_to_string(path.with_extension("pub"))?.trim().to_owned())
}

fn sign(authority: &std::path::Path, arguments: &[&str], key: &std::path::Path) -> Result<String> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-q").arg("-s").arg(authority).args(arguments).arg(key.with_extension("pub"));
    command(&mut keygen, None, SHORT)?.ok()
}

fn user_certificate(context: &Context) -> Result<()> {
    let authority = new_key(context, "user-authority", "")?;
    let script = format!(
        "echo '{}' >/etc/ssh/user-authority.pub && echo 'TrustedUserCAKeys /etc/ssh/user-authority.pub' \
         >/etc/ssh/sshd_config.d/20-user-authority.conf && systemctl reload ssh",
        public(&authority)?
    );
    for machine in context.hosts()? {
        context.on(&machine.host, &script)?;
    }
    let login = new_key(context, "certified", "")?;
    with_ssh(context, &format!("user: root, keyPath: {}", login.display()))?;
    refused(context, &[], &["w1", "root"])?;
    sign(&authority, &["-I", "a test", "-n", "root", "-V", "-1m:+1h"], &login)?;
    nothing_to_do(context, &[])?;
    sign(&authority, &["-I", "a test", "-n", "root", "-V", "20200101:20200102"], &login)?;
    refused(context, &[], &["w1"]).map(drop)
}

/// An `ssh-agent` that holds the key with the passphrase; it ends with this.
struct Agent {
    process: std::process::Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ssh_agent(context: &Context, key: &std::path::Path) -> Result<Agent> {
    let socket = context.folder.join("agent.socket");
    let _ = fs_err::remove_file(&socket);
    let mut daemon = Command::new("ssh-agent");
    daemon.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Agent { process: daemon.spawn().context("cannot start ssh-agent")?, socket };
    naru_e2e::wait_until("the agent listens", SHORT, || Ok(agent.socket.exists()))?;
    let answer = context.folder.join("answer.sh");
    fs_err::write(&answer, format!("#!/bin/sh\necho '{PASSPHRASE}'\n"))?;
    command(Command::new("chmod").arg("700").arg(&answer), None, SHORT)?.ok()?;
    let mut add = Command::new("ssh-add");
    add.arg(key).env("SSH_AUTH_SOCK", &agent.socket).env("SSH_ASKPASS", &answer);
    add.env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
    command(&mut add, None, SHORT)?.ok()?;
    fs_err::remove_file(&answer)?;
    Ok(agent)
}

/// A key with a passphrase that root's account accepts on all machines.
fn locked_key(context: &Context) -> Result<PathBuf> {
    let locked = new_key(context, "locked", PASSPHRASE)?;
    for machine in context.hosts()? {
        context.on(&machine.host, &format!("echo '{}' >>/root/.ssh/authorized_keys", public(&locked)?))?;
    }
    Ok(locked)
}

fn agent(context: &Context) -> Result<()> {
    let locked = locked_key(context)?;
    let agent = ssh_agent(context, &locked)?;
    let socket = agent.socket.display().to_string();
    with_ssh(context, "user: root")?;
    nothing_to_do(context, &[("SSH_AUTH_SOCK", &socket)])?;
    // Named in the inventory it is found in the agent as well: nobody is asked.
    with_ssh(context, &format!("user: root, keyPath: {}", locked.display()))?;
    nothing_to_do(context, &[("SSH_AUTH_SOCK", &socket)])?;
    drop(agent);
    refused(context, &[], &["passphrase"]).map(drop)
}

/// On a terminal the passphrase is asked for, once for all three hosts.
fn passphrase(context: &Context) -> Result<()> {
    use std::io::{Read as _, Write as _};
    let locked = context.folder.join("locked");
    with_ssh(context, &format!("user: root, keyPath: {}", locked.display()))?;
    let inner = context.naru_command(&["plan", "cluster.yaml", "--detailed-exitcode"]);
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--flush", "--return", "--command", &words.join(" "), "/dev/null"]);
    terminal.current_dir(&context.folder).env("HOME", context.home()).env_remove("SSH_AUTH_SOCK");
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.spawn().context("cannot start script")?;
    let (mut stdin, mut stdout) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
    let (sender, pieces) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut piece) {
            let _ = sender.send(String::from_utf8_lossy(&piece[..length]).into_owned());
        }
    });
    let mut said = String::new();
    while let Ok(piece) = pieces.recv_timeout(SHORT) {
        let asked_before = said.to_lowercase().contains("passphrase");
        said += &piece;
        if !asked_before && said.to_lowercase().contains("passphrase") {
            writeln!(stdin, "{PASSPHRASE}")?;
        }
    }
    // Nothing more was said: it has ended, or it waits for what nobody will type.
    let _ = child.kill();
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "{status}: {said}");
    let asked = said.to_lowercase().matches("passphrase").count();
    ensure!(asked == 1 && said.to_lowercase().contains("nothing to do"), "asked {asked} times:\n{said}");
    ensure!(!said.contains(PASSPHRASE), "the passphrase is on the screen:\n{said}");
    Ok(())
}

fn known_hosts(context: &Context) -> PathBuf {
    context.home().join(".ssh/known_hosts")
}

fn forget_known_hosts(context: &Context) -> Result<()> {
    if known_hosts(context).exists() {
        fs_err::remove_file(known_hosts(context))?;
    }
    Ok(())
}

/// As `ssh-keygen -l` shows a key.
fn fingerprint(context: &Context, machine: &Machine) -> Result<String> {
    let file = context.folder.join("key-to-show.pub");
    fs_err::write(&file, machine.host_key.as_deref().unwrap_or_default())?;
    let shown = command(Command::new("ssh-keygen").arg("-lf").arg(&file), None, SHORT)?.ok()?;
    shown.split_whitespace().nth(1).map(str::to_owned).with_context(|| format!("ssh-keygen says {shown:?}"))
}

fn new_host_keys(context: &Context) -> Result<()> {
    unpinned(context, &context.as_root())?;
    forget_known_hosts(context)?;
    refused(context, &[], &["w1", "host key", "known", "--accept-new-host-keys"])?;
    ensure!(!known_hosts(context).exists(), "a refused key was remembered");
    let accepted = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode", "--accept-new-host-keys"])?;
    let said = accepted.exits(0)?;
    let remembered = fs_err::read_to_string(known_hosts(context))?;
    for machine in context.hosts()? {
        let shown = fingerprint(context, &machine)?;
        ensure!(said.contains(&shown), "{}'s fingerprint {shown} is not shown:\n{said}", machine.host);
        ensure!(remembered.contains(machine.host_key.as_deref().unwrap_or_default()), "known_hosts:\n{remembered}");
    }
    let again = nothing_to_do(context, &[])?;
    ensure!(!again.contains("SHA256:"), "known keys are shown again:\n{again}");
    Ok(())
}

/// A known_hosts with each machine's line made by `line`.
fn write_known_hosts(context: &Context, line: impl Fn(&Machine) -> String) -> Result<()> {
    let lines: Vec<String> = context.hosts()?.iter().map(|machine| line(machine) + "\n").collect();
    Ok(fs_err::write(known_hosts(context), lines.concat())?)
}

fn plain_line(machine: &Machine) -> String {
    format!("{} {}", machine.address, machine.host_key.as_deref().unwrap_or_default())
}

fn hash_known_hosts(context: &Context) -> Result<()> {
    command(Command::new("ssh-keygen").arg("-H").arg("-f").arg(known_hosts(context)), None, SHORT)?.ok()?;
    let text = fs_err::read_to_string(known_hosts(context))?;
    ensure!(text.starts_with("|1|"), "ssh-keygen did not hash:\n{text}");
    let old = known_hosts(context).with_extension("old");
    if old.exists() {
        fs_err::remove_file(old)?;
    }
    Ok(())
}

fn hashed(context: &Context) -> Result<()> {
    unpinned(context, &context.as_root())?;
    write_known_hosts(context, plain_line)?;
    hash_known_hosts(context)?;
    nothing_to_do(context, &[])?;
    let other = context.host("cp1")?.host_key.unwrap_or_default();
    write_known_hosts(context, |machine| match machine.host.as_str() {
        "w1" => format!("{} {other}", machine.address),
        _ => plain_line(machine),
    })?;
    hash_known_hosts(context)?;
    let presented = fingerprint(context, &context.host("w1")?)?;
    let said = refused(context, &[], &["w1", "changed", &presented])?;
    // Said out loud or not: a key that has changed is never taken.
    let flag = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode", "--accept-new-host-keys"])?;
    ensure!(
        matches!(flag.code, Some(1 | 2)),
        "the changed key was taken: {}{}\nbefore: {said}",
        flag.stdout,
        flag.stderr
    );
    forget_known_hosts(context)
}

fn host_certificates(context: &Context) -> Result<()> {
    let authority = new_key(context, "host-authority", "")?;
    for machine in context.hosts()? {
        let host = machine.host.as_str();
        let key = context.folder.join(format!("host-{host}"));
        fs_err::write(key.with_extension("pub"), machine.host_key.as_deref().unwrap_or_default())?;
        sign(&authority, &["-h", "-I", host, "-n", &machine.address, "-V", "-1m:+1h"], &key)?;
        let certificate = fs_err::read_to_string(context.folder.join(format!("host-{host}-cert.pub")))?;
        let script = format!(
            "echo '{}' >/etc/ssh/ssh_host_ed25519_key-cert.pub && echo 'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub' \
             >/etc/ssh/sshd_config.d/20-host-certificate.conf && systemctl reload ssh",
            certificate.trim()
        );
        context.on(host, &script)?;
    }
    unpinned(context, &context.as_root())?;
    let trusted = format!("@cert-authority * {}\n", public(&authority)?);
    fs_err::write(known_hosts(context), &trusted)?;
    nothing_to_do(context, &[])?;
    // The same certificate is worth nothing for another name than those it was made for.
    let other = new_key(context, "other-authority", "")?;
    fs_err::write(known_hosts(context), format!("@cert-authority * {}\n", public(&other)?))?;
    refused(context, &[], &["w1", "host"])?;
    let revoked = context.host("w1")?.host_key.unwrap_or_default();
    write_known_hosts(context, plain_line)?;
    let lines = fs_err::read_to_string(known_hosts(context))?;
    fs_err::write(known_hosts(context), format!("{lines}@revoked * {revoked}\n"))?;
    refused(context, &[], &["w1", "revoked"])?;
    for machine in context.hosts()? {
        context.on(&machine.host, "rm /etc/ssh/sshd_config.d/20-host-certificate.conf && systemctl reload ssh")?;
    }
    forget_known_hosts(context)
}

/// Direct connections to a machine's sshd are dropped, but for those of another machine.
fn only_from(context: &Context, host: &str, from: &str) -> Result<()> {
    let from = address(context, from)?;
    context.wire(host, &[&format!("tcp dport {{ 22, 2222 }} ip saddr != {from} drop")])?;
    let target = format!("{}:22", address(context, host)?).parse()?;
    ensure!(TcpStream::connect_timeout(&target, Duration::from_millis(500)).is_err(), "{host} still answers");
    Ok(())
}

fn configuration(context: &Context) -> Result<()> {
    context
        .on("w1", "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/20-port.conf && systemctl restart ssh")?;
    let (cp1, w2) = (address(context, "cp1")?, address(context, "w2")?);
    let own_known_hosts = context.folder.join("own-known-hosts");
    let lines: Vec<String> = context
        .hosts()?
        .iter()
        .flat_map(|machine| {
            let key = machine.host_key.clone().unwrap_or_default();
            [format!("{} {key}\n", machine.address), format!("[{}]:2222 {key}\n", machine.address)]
        })
        .collect();
    fs_err::write(&own_known_hosts, lines.concat())?;
    let text = format!(
        "# as people write it\nHost w1\n    Port 2222\n    User keeper\n\nHost {w2}\n    ProxyJump root@{cp1}\n\n\
         Host *\n    User root\n    IdentityFile {}\n    IdentitiesOnly yes\n    UserKnownHostsFile {}\n",
        key(context),
        own_known_hosts.display()
    );
    fs_err::write(context.home().join(".ssh/config"), text)?;
    unpinned(context, "")?;
    let checked = (|| {
        // w1 only on the other port, w2 only through cp1: what the configuration says is the only way.
        context.wire("w1", &["tcp dport 22 drop"])?;
        only_from(context, "w2", "cp1")?;
        nothing_to_do(context, &[])
    })();
    context.mend_wire("w1")?;
    context.mend_wire("w2")?;
    checked?;
    let users =
        context.on("w1", "journalctl -u ssh --no-pager -o cat | grep 'Accepted publickey for keeper' | tail -1")?;
    ensure!(users.contains("keeper"), "nobody logged in to w1 as keeper: {users}");
    // What the inventory says wins over it.
    context.write_inventory(&Wish {
        ssh: "user: stranger".to_owned(),
        host: Some(&|machine| (if machine.host == "w1" { "user: keeper" } else { "user: root" }).to_owned()),
        ..Wish::default()
    })?;
    nothing_to_do(context, &[])?;
    fs_err::remove_file(context.home().join(".ssh/config"))?;
    Ok(())
}

fn bastions(context: &Context) -> Result<()> {
    let (cp1, w1) = (context.host("cp1")?, context.host("w1")?);
    let first = format!("address: {}, user: keeper, {}", cp1.address, pinned(&cp1));
    let second = format!("address: {}, user: keeper, {}, bastion: {{{first}}}", w1.address, pinned(&w1));
    let through = |machine: &Machine| {
        let way = match machine.host.as_str() {
            "w1" => format!(", bastion: {{{first}}}"),
            "w2" => format!(", bastion: {{{second}}}"),
            _ => String::new(),
        };
        pinned(machine) + &way
    };
    context.write_inventory(&Wish { ssh: context.as_root(), host: Some(&through), ..Wish::default() })?;
    let checked = (|| {
        only_from(context, "w1", "cp1")?;
        only_from(context, "w2", "w1")?;
        nothing_to_do(context, &[])?;
        // A bastion that is not there is named, not the host behind it alone.
        let dead = cp1.address.rsplit_once('.').map(|(network, _)| format!("{network}.251")).unwrap_or_default();
        let text = fs_err::read_to_string(&context.inventory)?;
        let broken =
            text.replace(&format!("bastion: {{address: {}", cp1.address), &format!("bastion: {{address: {dead}"));
        fs_err::write(&context.inventory, broken)?;
        refused(context, &[], &["w1", &dead]).map(drop)
    })();
    context.mend_wire("w1")?;
    context.mend_wire("w2")?;
    checked
}

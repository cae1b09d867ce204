//! `cargo xtask bench provision`: what an apply costs on three real machines, what observing and planning cost for
//! many hosts over real SSH sessions, and what the planner costs alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use naru_e2e::{Context, say};
use naru_machines::Provider as _;
use naru_plan::{Artifact, ProgramVersion, Programs};
use naru_simulate::StillFleet;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use sha2::{Digest, Sha256};

use crate::delay::Counters;
use crate::measure::{conditions, cost};
use crate::servers::{Asked, Servers};
use crate::{machines, planner};

/// The addresses of the hosts; the network exists only in a namespace of this benchmark's own.
const NETWORK: &str = "10.99.0.0/16";
const COUNTS: [usize; 2] = [100, 1_000];
const DELAYS_MS: [u64; 2] = [0, 50];
const FOLDER_MODE: u32 = 0o700;

pub(crate) fn run() -> Result<()> {
    say(&format!("{}; release build", conditions()));
    if std::env::var_os("NARU_BENCH_WITHOUT_MACHINES").is_none() {
        let context = Context::new("bench-provision")?;
        let measured = machines::run(&context);
        context.machines.delete(&context.name)?;
        measured?;
    }
    let own = std::env::current_exe()?;
    let status = Command::new("unshare").arg("--net").arg(own).arg("fleet").status().context("unshare")?;
    if !status.success() {
        bail!("the part with simulated hosts failed ({status})");
    }
    Ok(())
}

/// Runs in a network of its own, in which every address of `NETWORK` is this computer.
pub(crate) fn fleet() -> Result<()> {
    for arguments in [&["link", "set", "lo", "up"][..], &["route", "add", "local", NETWORK, "dev", "lo"]] {
        let status = Command::new("ip").args(arguments).status()?;
        ensure!(status.success(), "ip {arguments:?}: {status}");
    }
    let folder = std::env::temp_dir().join(format!("naru-bench-{}", std::process::id()));
    fs_err::create_dir_all(&folder)?;
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(FOLDER_MODE))?;
    let measured = measure(&folder);
    fs_err::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> Result<()> {
    let artifacts = PathBuf::from(std::env::var_os("NARU_PROGRAMS").context("run this by `cargo xtask bench`")?);
    let programs = programs(&artifacts)?;
    say(
        "\nobservation and plan with nothing to do, `naru plan` against SSH servers in another process on this computer",
    );
    say(
        "    hosts  delay   whole   per host  processor  peak      per host: sessions  commands  requests  round trips  KB",
    );
    for delay_ms in DELAYS_MS {
        for count in COUNTS {
            one(folder, &artifacts, &programs, count, delay_ms)?;
        }
    }
    planner::run(&programs)
}

fn one(folder: &Path, artifacts: &Path, programs: &Programs, count: usize, delay_ms: u64) -> Result<()> {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    let operator = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    let key_path = folder.join("operator");
    write_private(&key_path, operator.to_openssh(LineEnding::LF)?.as_bytes())?;
    let text = inventory(count, &key_path.display().to_string(), &key.public_key().to_openssh()?);
    let inventory_path = folder.join("cluster.yaml");
    fs_err::write(&inventory_path, &text)?;
    let inventory = naru_inventory::parse("cluster.yaml", &text)?;
    let fleet = Arc::new(StillFleet::converged(&inventory, programs)?);
    let (lines, asked) = (Arc::new(Counters::default()), Arc::new(Asked::default()));
    let servers = Servers {
        fleet,
        key,
        operator: operator.public_key().clone(),
        one_way: Duration::from_millis(delay_ms / 2),
        lines: lines.clone(),
        asked: asked.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(servers.start())?;
    let mut naru = Command::new(artifacts.join("naru"));
    naru.args(["plan", "cluster.yaml", "--artifacts"]).arg(artifacts).current_dir(folder).env("HOME", folder);
    naru.env("XDG_STATE_HOME", folder.join("state")).env_remove("SSH_AUTH_SOCK");
    let (cost, said) = cost(&mut naru)?;
    ensure!(said.to_lowercase().contains("nothing to do"), "the plan is not empty: {said}");
    let each = |number: u64| number as f64 / count as f64;
    let bytes = lines.to_client_bytes.load(Ordering::Relaxed) + lines.to_server_bytes.load(Ordering::Relaxed);
    say(&format!(
        "    {count:>5}  {delay_ms:>2} ms {:>6.2} s  {:>6.2} ms   {:>6.2} s {:>6.1} MB  {:>18.2}  {:>8.2}  {:>8.2}  {:>11.2}  {:>4.1}",
        cost.wall.as_secs_f64(),
        cost.wall.as_secs_f64() * 1e3 / count as f64,
        cost.processor.as_secs_f64(),
        cost.peak_bytes as f64 / 1e6,
        each(lines.connections.load(Ordering::Relaxed)),
        each(asked.commands.load(Ordering::Relaxed)),
        each(asked.requests.load(Ordering::Relaxed)),
        each(lines.round_trips.load(Ordering::Relaxed)),
        each(bytes) / 1e3,
    ));
    runtime.shutdown_background();
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(0o600);
    Ok(options.open(path)?.write_all(bytes)?)
}

/// One control plane, all others workers.
pub(crate) fn inventory(count: usize, key_path: &str, host_key: &str) -> String {
    let ssh = if key_path.is_empty() { String::new() } else { format!("  ssh: {{user: root, keyPath: {key_path}}}\n") };
    let pinned = if host_key.is_empty() { String::new() } else { format!(", hostKey: {host_key:?}") };
    let mut text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: bench}}\nspec:\n{ssh}  \
         network: {{podCIDR: 10.128.0.0/9}}\n  hosts:\n"
    );
    for number in 0..count {
        let (name, role) =
            if number == 0 { ("cp1".to_owned(), "control-plane") } else { (format!("w{number}"), "worker") };
        let address = format!("10.99.{}.{}", number / 250, number % 250 + 1);
        text.push_str(&format!("    - {{name: {name}, role: {role}, address: {address}{pinned}}}\n"));
    }
    text
}

/// The real programs, since `naru` looks at their hashes.
fn programs(folder: &Path) -> Result<Programs> {
    let artifact = |name: &str| -> Result<Artifact> {
        let bytes = fs_err::read(folder.join(name))?;
        Ok(Artifact {
            name: name.to_owned(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            size_bytes: bytes.len() as u64,
        })
    };
    let version = ProgramVersion { node: artifact("naru-node")?, control_plane: artifact("naru-control-plane")? };
    Ok(Programs::of(naru_inventory::VERSION, version))
}

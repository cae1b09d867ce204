//! Debian packages that building and testing need, as a table of program → package.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

const BUILD: &[(&str, &str)] = &[("protoc", "protobuf-compiler"), ("cc", "gcc"), ("ld", "binutils")];
const MACHINES: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("ssh-keygen", "openssh-client"),
    ("kubectl", "kubernetes-client"),
];
const TESTS: &[(&str, &str)] = &[
    ("sshd", "openssh-server"),
    ("curl", "curl"),
    ("unshare", "util-linux"),
    ("script", "bsdutils"),
    ("openssl", "openssl"),
];

pub(crate) fn for_building() -> Result<()> {
    install(BUILD)
}

pub(crate) fn for_machines() -> Result<()> {
    install(MACHINES)
}

pub(crate) fn for_tests() -> Result<()> {
    install(TESTS)
}

/// The linter of dependencies, compiled once into the cache.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    const VERSION: &str = "0.20.2";
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let tools = home.join(".cache/naru/tools").join(format!("cargo-deny-{VERSION}"));
    let program = tools.join("bin/cargo-deny");
    if !program.is_file() {
        let mut cargo = shell::cargo();
        cargo.env_remove("CARGO_TARGET_DIR").args(["install", "cargo-deny", "--version", VERSION, "--locked"]);
        shell::run(cargo.args(["--no-default-features", "--quiet", "--root"]).arg(&tools))?;
    }
    Ok(program)
}

fn install(table: &[(&str, &str)]) -> Result<()> {
    let present = |program: &str| shell::has(program) || std::path::Path::new("/usr/sbin").join(program).is_file();
    let missing: Vec<&str> =
        table.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::has("apt-get") {
        bail!("these are missing, and only Debian's are installed by this: {}", missing.join(", "));
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
        command
    };
    shell::run(apt().arg("update"))?;
    shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))
}

//! Root file systems of machines: made once by mmdebstrap, kept under a name that is the hash of the recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::command::run;
use crate::lock::Lock;
use crate::{ImageSpec, Release, Result};

/// Raised when this file makes something else out of the same wish.
const RECIPE_VERSION: u32 = 1;
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";

/// What a machine from an installer has, as far as anything here needs it.
const BASE_PACKAGES: [&str; 10] = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "nftables",
    "procps",
    "kmod",
    "ca-certificates",
];
/// What a node needs on top.
const PREPARED_PACKAGES: [&str; 4] = ["containerd", "runc", "containernetworking-plugins", "iptables"];

/// Only the size of the image depends on these; no test reads manuals.
const LEAN_OPTIONS: [&str; 4] = [
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--aptopt=Acquire::Languages \"none\"",
];

/// Done inside the new root: what must differ between machines goes, and nothing may start by the clock in a test.
const FINISH: &str = r#"rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/hosts "$1"/etc/resolv.conf
: >"$1"/etc/machine-id
for timer in apt-daily apt-daily-upgrade dpkg-db-backup fstrim e2scrub_all; do
    ln -sf /dev/null "$1/etc/systemd/system/$timer.timer"
done
for unit in systemd-pstore.service getty@tty1.service sshd-keygen.service; do
    find "$1/etc/systemd/system" -name "$unit" -path '*.wants/*' -delete
done
ln -sf /dev/null "$1/etc/systemd/system/console-getty.service""#;

/// One way to make a root file system.
#[derive(Debug)]
struct Recipe {
    release: Release,
    packages: Vec<String>,
    prepared: bool,
}

impl Recipe {
    fn new(spec: &ImageSpec) -> Self {
        let mut packages: Vec<String> = BASE_PACKAGES.iter().map(|name| (*name).to_owned()).collect();
        if spec.prepared {
            packages.extend(PREPARED_PACKAGES.iter().map(|name| (*name).to_owned()));
        }
        packages.extend(spec.packages.iter().cloned());
        packages.sort();
        packages.dedup();
        Self { release: spec.release, packages, prepared: spec.prepared }
    }

    fn sources(&self) -> [String; 3] {
        let suite = self.release.suite();
        [
            format!("deb {MIRROR} {suite} main"),
            format!("deb {MIRROR} {suite}-updates main"),
            format!("deb {SECURITY_MIRROR} {suite}-security main"),
        ]
    }

    fn key(&self) -> String {
        let text = format!(
            "{RECIPE_VERSION}\n{}\n{}\n{}\n{}\n{FINISH}",
            self.release.suite(),
            self.packages.join(" "),
            self.sources().join("\n"),
            LEAN_OPTIONS.join("\n")
        );
        let hash = hex::encode(Sha256::digest(text.as_bytes()));
        let variant = if self.prepared { "prepared" } else { "plain" };
        format!("{}-{variant}-{}", self.release.suite(), &hash[..12])
    }
}

/// Name of an image in the cache.
pub(super) fn image_key(spec: &ImageSpec) -> String {
    Recipe::new(spec).key()
}

/// Folder of a cached root, whether it is there or not.
pub(super) fn image_root(cache: &Path, key: &str) -> PathBuf {
    cache.join("roots").join(key)
}

/// The cached root for a wish; made if it is not there yet, which `starting` is told before.
pub(super) fn ensure_image(cache: &Path, spec: &ImageSpec, starting: impl FnOnce(&str)) -> Result<PathBuf> {
    let recipe = Recipe::new(spec);
    let key = recipe.key();
    let root = image_root(cache, &key);
    if root.is_dir() {
        return Ok(root);
    }
    let roots = cache.join("roots");
    fs_err::create_dir_all(&roots)?;
    let _lock = Lock::take(&roots.join(format!(".{key}.lock")))?;
    if root.is_dir() {
        return Ok(root);
    }
    starting(&key);
    // The lock is ours: whatever lies under the temporary name is the rest of a run that died.
    let making = roots.join(format!(".making-{key}"));
    remove_folder(&making)?;
    make(&recipe, &making)?;
    publish(&making, &root)?;
    Ok(root)
}

fn make(recipe: &Recipe, folder: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--mode=root", "--variant=minbase"]).args(LEAN_OPTIONS);
    command.arg(format!("--include={}", recipe.packages.join(","))).arg(format!("--customize-hook={FINISH}"));
    command.arg(recipe.release.suite()).arg(folder).args(recipe.sources());
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command).map(drop)
}

/// Gives a finished folder its name, after its content is on disk: a name must never stand for half a tree.
pub(crate) fn publish(making: &Path, name: &Path) -> Result<()> {
    let folder = fs_err::File::open(making)?;
    rustix::fs::syncfs(folder.file()).map_err(std::io::Error::from)?;
    fs_err::rename(making, name)?;
    Ok(())
}

/// Removes a folder with everything in it; a missing one is fine.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_has_its_own_key() {
        let mut keys = std::collections::BTreeSet::new();
        for release in [Release::Bookworm, Release::Trixie] {
            keys.insert(image_key(&ImageSpec::plain(release)));
            keys.insert(image_key(&ImageSpec::prepared(release)));
            keys.insert(image_key(&ImageSpec { packages: vec!["jq".to_owned()], ..ImageSpec::plain(release) }));
        }
        assert_eq!(keys.len(), 6);
        assert!(keys.iter().any(|key| key.starts_with("bookworm-plain-")));
    }

    #[test]
    fn order_of_packages_does_not_matter() {
        let spec = |names: &[&str]| ImageSpec {
            packages: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ImageSpec::default()
        };
        assert_eq!(image_key(&spec(&["jq", "file"])), image_key(&spec(&["file", "jq", "dbus"])));
    }
}

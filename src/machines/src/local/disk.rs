//! The disk of a machine: its folders on this computer and the files that make it that machine and no other.

use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::{OpenOptionsExt as _, symlink};
use rand::RngExt as _;

use super::record::{ClusterRecord, MachineRecord};
use super::{Config, image, keys, network};
use crate::{Error, Result};

const BOOT: &str = include_str!("boot.sh");
const BOOT_UNIT: &str = include_str!("boot.service");

/// Folders of the machine that must not be on an overlay: containerd lays overlays of its own there.
const ORDINARY_FOLDERS: [(&str, &str); 3] =
    [("containerd", "/var/lib/containerd"), ("kubelet", "/var/lib/kubelet"), ("naru", "/var/lib/naru")];
/// Kernel devices that containers and their tools look for.
const DEVICES: [&str; 3] = ["/dev/kmsg", "/dev/fuse", "/dev/net/tun"];

/// Paths of one machine.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(super) fn new(config: &Config, cluster: &str, host: &str) -> Self {
        Self { folder: config.machine(cluster, host) }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub(super) fn host_key(&self) -> PathBuf {
        self.folder.join("host_key")
    }

    fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// Options of the overlay mount.
    pub(super) fn overlay(&self, lower: &Path) -> Result<String> {
        let folders = [lower.to_path_buf(), self.upper(), self.folder.join("work")];
        if let Some(bad) = folders.iter().find(|folder| folder.to_string_lossy().contains([',', ':', '\\'])) {
            let message = format!("the folder {} cannot be part of an overlay: it contains , : or \\", bad.display());
            return Err(Error::specification("local", message));
        }
        let [lower, upper, work] = folders.map(|folder| folder.to_string_lossy().into_owned());
        Ok(format!("lowerdir={lower},upperdir={upper},workdir={work}"))
    }

    /// Arguments of systemd-nspawn that put this computer's folders and devices into the machine.
    pub(super) fn binds(&self) -> Vec<String> {
        let folders =
            ORDINARY_FOLDERS.iter().map(|(name, path)| format!("--bind={}:{path}", self.folder.join(name).display()));
        let devices =
            DEVICES.iter().filter(|device| Path::new(device).exists()).map(|device| format!("--bind={device}"));
        folders.chain(devices).collect()
    }

    /// Makes an empty disk with the files of this machine; whatever was there is gone.
    pub(super) fn make(&self, cluster: &ClusterRecord, machine: &MachineRecord, login: &str) -> Result<()> {
        image::remove_folder(&self.folder)?;
        for name in ["root", "work", "upper"].into_iter().chain(ORDINARY_FOLDERS.iter().map(|(name, _)| *name)) {
            fs_err::create_dir_all(self.folder.join(name))?;
        }
        let host_key = keys::make(&self.host_key(), &machine.host)?;
        let private = fs_err::read_to_string(self.host_key())?;
        let host = &machine.host;
        let identity: [u8; 16] = rand::rng().random();
        self.put("etc/hostname", 0o644, &format!("{host}\n"))?;
        self.put("etc/hosts", 0o644, &format!("127.0.0.1 localhost\n127.0.1.1 {host}\n::1 localhost ip6-localhost\n"))?;
        self.put("etc/machine-id", 0o444, &format!("{}\n", hex::encode(identity)))?;
        self.put("etc/ssh/ssh_host_ed25519_key", 0o600, &private)?;
        self.put("etc/ssh/ssh_host_ed25519_key.pub", 0o644, &format!("{host_key} root@{host}\n"))?;
        let only_this_key = "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nMaxStartups 100:30:200\n";
        self.put("etc/ssh/sshd_config.d/10-machine.conf", 0o644, only_this_key)?;
        self.put("root/.ssh/authorized_keys", 0o600, &format!("{login}\n"))?;
        self.put("usr/local/libexec/naru-machine-boot", 0o755, BOOT)?;
        self.put("etc/systemd/system/naru-machine.service", 0o644, BOOT_UNIT)?;
        let address = format!("ADDRESS={}/24\nGATEWAY={}\n", cluster.address(machine.octet), cluster.gateway());
        self.put("etc/naru-machine.env", 0o644, &address)?;
        let wants = self.upper().join("etc/systemd/system/sysinit.target.wants");
        fs_err::create_dir_all(&wants)?;
        symlink("../naru-machine.service", wants.join("naru-machine.service"))?;
        Ok(())
    }

    /// What may have changed on this computer since the last start.
    pub(super) fn refresh(&self) -> Result<()> {
        let lines: Vec<String> = network::resolvers()?.iter().map(|server| format!("nameserver {server}\n")).collect();
        self.put("etc/resolv.conf", 0o644, &lines.concat())
    }

    /// Writes a file into the upper folder. A folder made there hides the mode of the one below: `/root` is private.
    fn put(&self, path: &str, mode: u32, content: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.upper().join(path);
        let parent = file.parent().expect("a file in the upper folder has a parent");
        fs_err::create_dir_all(parent)?;
        let top = self.upper().join(path.split('/').next().unwrap_or(path));
        if path.starts_with("root/") {
            for folder in [&top, parent] {
                fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
            }
        }
        // A machine may have made a link of it: the link must not be followed out of the machine.
        let _ = fs_err::remove_file(&file);
        let mut open = fs_err::OpenOptions::new();
        let mut written = open.create_new(true).write(true).mode(mode).open(&file)?;
        std::io::Write::write_all(&mut written, content.as_bytes())?;
        Ok(())
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> Result<()> {
        image::remove_folder(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{ImageSpec, Role};

    #[test]
    fn a_disk_is_one_machine_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { cache: folder.path().join("cache"), state: folder.path().join("state") };
        let machine = MachineRecord {
            host: "w1".to_owned(),
            role: Role::Worker,
            image: ImageSpec::default(),
            image_key: "key".to_owned(),
            octet: 12,
            prepared: false,
        };
        let cluster = ClusterRecord { name: "demo".to_owned(), subnet: 3, machines: vec![] };
        let disk = Disk::new(&config, "demo", "w1");
        disk.make(&cluster, &machine, "ssh-ed25519 AAAA").unwrap();
        let read = |path: &str| fs_err::read_to_string(disk.upper().join(path)).unwrap();
        let first = read("etc/machine-id");
        assert_eq!(first.trim().len(), 32);
        assert_eq!(read("etc/naru-machine.env"), "ADDRESS=10.201.3.12/24\nGATEWAY=10.201.3.1\n");
        let mode = |path: &str| disk.upper().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("root"), mode("root/.ssh"), mode("etc")), (0o700, 0o700, 0o755));
        assert_eq!((mode("root/.ssh/authorized_keys"), mode("etc/ssh/ssh_host_ed25519_key")), (0o600, 0o600));
        disk.make(&cluster, &machine, "ssh-ed25519 AAAA").unwrap();
        assert_ne!(read("etc/machine-id"), first);
        assert!(disk.overlay(Path::new("/var/cache/a,b")).is_err());
    }
}

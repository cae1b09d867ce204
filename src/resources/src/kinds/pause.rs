//! The pause image: the process that holds a pod's namespaces. It is made here from a few instructions, so that no
//! registry is asked for it: a static ELF file of less than half a kilobyte, alone in an OCI archive.

use serde_json::json;

use super::image::{self, PINNED};
use super::pause_code;
use super::{Kind, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

const MANAGED: &str = "io.cri-containerd.image=managed";
const LOAD_ADDRESS: u64 = 0x40_0000;
const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_HEADERS: usize = 2;
const CODE_OFFSET: usize = ELF_HEADER_BYTES + PROGRAM_HEADERS * PROGRAM_HEADER_BYTES;

#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, &str) = (62, "amd64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, &str) = (183, "arm64");

pub(crate) struct PauseImage<'a> {
    pub(crate) reference: &'a str,
}

impl Kind for PauseImage<'_> {
    fn check(&self, host: &Host, pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let archive = archive(self.reference)?;
        let found = image::check(host, pending, self.reference, &atomic::sha256(&archive))?;
        Ok(found.map(|_| change(format!("import pause image {}", self.reference))))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let archive = archive(self.reference)?;
        let path = host.state_directory().join("images/pause.tar");
        atomic::write(&path, 0o600, &archive)?;
        image::import(host, self.reference, &path, &atomic::sha256(&archive), &[MANAGED, PINNED])
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put(self.reference, "image", "");
        Ok(())
    }
}

/// The pause program: a static ELF file for this architecture.
#[must_use]
pub fn pause_program() -> Vec<u8> {
    let code = pause_code::instructions();
    let size = (CODE_OFFSET + code.len()) as u64;
    let mut elf = Vec::with_capacity(CODE_OFFSET + code.len());
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"); // 64 bit, little endian, version 1, System V
    elf.extend_from_slice(&2_u16.to_le_bytes()); // an executable
    elf.extend_from_slice(&MACHINE.0.to_le_bytes());
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&(LOAD_ADDRESS + CODE_OFFSET as u64).to_le_bytes()); // entry
    elf.extend_from_slice(&(ELF_HEADER_BYTES as u64).to_le_bytes()); // program headers follow at once
    elf.extend_from_slice(&[0; 12]); // no sections, no flags
    for half in [ELF_HEADER_BYTES, PROGRAM_HEADER_BYTES, PROGRAM_HEADERS, 0, 0, 0] {
        elf.extend_from_slice(&(half as u16).to_le_bytes());
    }
    // PT_LOAD, readable and executable: the whole file. PT_GNU_STACK: the stack is not executable.
    for (kind, flags, address, bytes, align) in
        [(1_u32, 5_u32, LOAD_ADDRESS, size, 0x1_0000_u64), (0x6474_e551, 6, 0, 0, 16)]
    {
        elf.extend_from_slice(&kind.to_le_bytes());
        elf.extend_from_slice(&flags.to_le_bytes());
        for word in [0, address, address, bytes, bytes, align] {
            elf.extend_from_slice(&word.to_le_bytes());
        }
    }
    elf.extend_from_slice(code);
    elf
}

/// An OCI archive with this one program, the same bytes every time.
fn archive(reference: &str) -> Result<Vec<u8>, ResourceError> {
    let layer = tarball(&[("pause", 0o755, &pause_program())])?;
    let layer_digest = digest(&layer);
    let config = json!({
        "architecture": MACHINE.1,
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": image::normalized_reference(reference)});
    entry["platform"] = json!({"architecture": MACHINE.1, "os": "linux"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
    .to_string()
    .into_bytes();
    let blobs = [&layer, &config, &manifest].map(|bytes| (format!("blobs/sha256/{}", atomic::sha256(bytes)), bytes));
    let mut files: Vec<(&str, u32, &[u8])> = vec![("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)];
    files.push(("index.json", 0o644, &index));
    files.extend(blobs.iter().map(|(name, bytes)| (name.as_str(), 0o644, bytes.as_slice())));
    tarball(&files)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", atomic::sha256(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn tarball(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>, ResourceError> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, *bytes)?;
    }
    Ok(builder.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, ExitStatus};
    use std::time::{Duration, Instant};

    fn start(command: &mut Command) -> Child {
        // Another test may be forking while our file is still open for writing there.
        for _ in 0..1000 {
            match command.spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other.unwrap(),
            }
        }
        panic!("the program stayed busy");
    }

    fn wait(child: &mut Child) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap()
    }

    /// Asleep with SIGCHLD ignored, which is what its first instructions ask for.
    fn sleeps(child: &mut Child) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default().trim();
            let ignored = u64::from_str_radix(ignored, 16).unwrap_or_default();
            if ignored & (1 << 16) != 0 && status.contains("(sleeping)") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[test]
    fn the_program_waits_and_ends_on_sigterm_and_sigint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pause");
        atomic::write(&path, 0o755, &pause_program()).unwrap();
        for signal in ["TERM", "INT"] {
            let mut child = start(Command::new(&path).stdout(std::process::Stdio::null()));
            let waits = sleeps(&mut child);
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
            let status = wait(&mut child);
            assert!(waits, "it sleeps and lets the kernel reap");
            assert_eq!((status.code(), status.signal()), (Some(0), None), "{signal}");
        }
    }

    #[test]
    fn the_archive_is_small_complete_and_always_the_same() {
        let bytes = archive("naru.dev/pause:1").unwrap();
        assert_eq!(bytes, archive("naru.dev/pause:1").unwrap());
        assert!(bytes.len() < 16 * 1024, "{}", bytes.len());
        assert!(pause_program().len() < 512);
        let mut names = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(names.len(), 5);
        assert_eq!(&names[..2], ["oci-layout", "index.json"]);
    }
}

//! The agent's program: what it is, the one command that starts it or tells what is missing, and putting it there.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::channel::{Command, Outcome};
use crate::elevation::{not_root, quoted};
use crate::session::{late, write_all};
use crate::{Deadlines, Elevation, HostError, HostEvent, Session, session::EventSink};

const DIRECTORY: &str = "/var/lib/naru/artifacts";
/// Marks our own line in what the login shell prints.
const PROBE: &str = "naru-probe";
const ELF_MAGIC: &[u8] = b"\x7fELF";
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
const CHUNK_BYTES: usize = 256 * 1024;
const KIBIBYTE: u64 = 1024;
/// How the receiving end may end.
const CANNOT_WRITE: u32 = 74;
const MOVED_ON: u32 = 76;
const INCOMPLETE: u32 = 77;
const DAMAGED: u32 = 78;
/// An upload begins anew after damage, or when somebody else's came in between.
const MAX_UPLOADS: usize = 4;

/// A program that can be the agent, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentProgram {
    pub path: PathBuf,
    pub sha256: String,
    pub size_bytes: u64,
    /// As `uname -m` says: `x86_64`, `aarch64`; empty when unknown.
    pub architecture: String,
    /// Where it goes on the host.
    pub directory: String,
    /// What makes it the agent.
    pub arguments: Vec<String>,
    /// Names unfinished uploads, so that two operators do not write into the same file.
    pub operator: String,
}

/// What a host says that has no such program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    architecture: String,
    /// Of an earlier upload that was cut off.
    have_bytes: u64,
    free_bytes: Option<u64>,
}

impl AgentProgram {
    /// Reads `naru-node` (or another program that serves the protocol when told `agent`).
    pub fn read(path: &Path) -> io::Result<Self> {
        let (mut file, mut hasher, mut chunk) = (fs_err::File::open(path)?, Sha256::new(), vec![0; CHUNK_BYTES]);
        let mut size_bytes = 0;
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Self::known(path, hex::encode(hasher.finalize()), size_bytes);
            }
            hasher.update(&chunk[..count]);
            size_bytes += count as u64;
        }
    }

    /// The same for one whose hash and size are known already.
    pub fn known(path: &Path, sha256: String, size_bytes: u64) -> io::Result<Self> {
        let mut head = Vec::new();
        fs_err::File::open(path)?.take(ELF_MACHINE.end as u64).read_to_end(&mut head)?;
        Ok(Self {
            path: path.to_owned(),
            sha256,
            size_bytes,
            architecture: architecture(&head).to_owned(),
            directory: DIRECTORY.to_owned(),
            arguments: vec!["agent".to_owned()],
            operator: operator(),
        })
    }

    fn target(&self) -> String {
        quoted(&format!("{}/{}", self.directory, self.sha256))
    }

    fn part(&self) -> String {
        quoted(&format!("{}/.{}.{}", self.directory, self.sha256, self.operator))
    }

    /// Becomes the agent, or prints the line that `Probe` reads.
    pub(crate) fn starting_script(&self) -> String {
        let arguments: Vec<String> = self.arguments.iter().map(|word| quoted(word)).collect();
        format!(
            "if [ -x {target} ]; then begin; exec {target} {arguments}; fi; \
             d={directory}; until [ -d \"$d\" ]; do d=${{d%/*}}; [ -n \"$d\" ] || d=/; done; \
             echo {PROBE} \"$(uname -m)\" \"$(stat -c %s {part} 2>/dev/null || echo 0)\" $(df -Pk \"$d\" | tail -n 1)",
            target = self.target(),
            arguments = arguments.join(" "),
            directory = quoted(&self.directory),
            part = self.part(),
        )
    }

    /// Takes what is missing of the program from stdin; it gets its name only when its hash agrees. What is there
    /// already is copied first: an earlier upload may still hold the file open and write to it.
    fn receiving_script(&self, have_bytes: u64) -> String {
        format!(
            "umask 022; mkdir -p {directory} || exit {CANNOT_WRITE}; part={part}; \
             if [ {have_bytes} -gt 0 ]; then cp \"$part\" \"$part.$$\" && mv -f \"$part.$$\" \"$part\" || \
             {{ rm -f \"$part.$$\" \"$part\"; exit {MOVED_ON}; }}; \
             [ \"$(stat -c %s \"$part\")\" = {have_bytes} ] || exit {MOVED_ON}; else rm -f \"$part\"; fi; \
             begin; head -c {missing} >> \"$part\" || exit {CANNOT_WRITE}; \
             [ \"$(stat -c %s \"$part\")\" = {size} ] || exit {INCOMPLETE}; \
             echo \"{sha256}  $part\" | sha256sum -c - >/dev/null 2>&1 || {{ rm -f \"$part\"; exit {DAMAGED}; }}; \
             chmod 0755 \"$part\" && {{ sync \"$part\" 2>/dev/null || sync; }}; mv -f \"$part\" {target}",
            directory = quoted(&self.directory),
            part = self.part(),
            // On a terminal there is no end of input, so the length tells it.
            missing = self.size_bytes - have_bytes,
            size = self.size_bytes,
            sha256 = self.sha256,
            target = self.target(),
        )
    }

    /// Removes a program that is not what its name says, as a power cut may leave it; ends with `DAMAGED` then.
    pub(crate) fn verifying_script(&self) -> String {
        format!(
            "begin; echo {sha256}'  '{target} | sha256sum -c - >/dev/null 2>&1 || {{ rm -f {target}; exit {DAMAGED}; }}",
            sha256 = self.sha256,
            target = self.target(),
        )
    }

    /// What the host said instead of becoming the agent.
    pub(crate) fn probe(&self, session: &Session, outcome: &Outcome) -> Result<Probe, HostError> {
        let line = outcome.text.lines().find_map(|line| line.trim().strip_prefix(PROBE));
        let Some(line) = line else { return Err(not_root(session, outcome, None)) };
        let words: Vec<&str> = line.split_whitespace().collect();
        let found = (*words.first().unwrap_or(&"")).to_owned();
        if !self.architecture.is_empty() && found != self.architecture {
            let (host, program) = (session.host().name.clone(), self.architecture.clone());
            return Err(HostError::Architecture { host, found, program });
        }
        let have_bytes = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        // File system, blocks, used, available, capacity, mounted on.
        let capacity = words.iter().rposition(|word| word.ends_with('%'));
        let available = capacity.and_then(|at| words.get(at.checked_sub(1)?)?.parse::<u64>().ok());
        Ok(Probe { architecture: found, have_bytes, free_bytes: available.map(|blocks| blocks * KIBIBYTE) })
    }

    /// Puts the program on a host, going on where an earlier attempt ended.
    pub(crate) async fn upload(
        &self,
        session: &Session,
        elevation: &Elevation,
        deadlines: &Deadlines,
        mut probe: Probe,
        events: &EventSink,
    ) -> Result<(), HostError> {
        let host = &session.host().name;
        for _ in 0..MAX_UPLOADS {
            if probe.have_bytes > self.size_bytes {
                probe.have_bytes = 0;
            }
            let missing_bytes = self.size_bytes - probe.have_bytes;
            if let Some(free_bytes) = probe.free_bytes.filter(|free| *free < missing_bytes) {
                let (host, directory) = (host.clone(), self.directory.clone());
                return Err(HostError::NoSpace { host, directory, missing_bytes, free_bytes: Some(free_bytes) });
            }
            let have_bytes = probe.have_bytes;
            tracing::info!(host, have_bytes, size_bytes = self.size_bytes, "uploading the agent");
            let sending = self.send(session, elevation, deadlines, have_bytes, events);
            let sent = tokio::time::timeout(deadlines.upload, sending).await;
            let outcome = sent.map_err(|_| late(session.host(), "uploading the agent", deadlines.upload))??;
            match outcome.status {
                Some(0) => return Ok(()),
                Some(MOVED_ON | INCOMPLETE | DAMAGED) => {
                    tracing::info!(host, status = outcome.status, "the upload begins anew");
                    probe = self.look(session, elevation, deadlines).await?;
                }
                None => {
                    let reason = "the connection ended inside the upload".to_owned();
                    return Err(HostError::Broken { host: host.clone(), reason });
                }
                Some(status) => {
                    let now = self.look(session, elevation, deadlines).await?;
                    let is_full =
                        now.free_bytes.is_some_and(|free| free < self.size_bytes - now.have_bytes.min(self.size_bytes));
                    if is_full || outcome.stderr.contains("No space left") {
                        let (host, directory) = (host.clone(), self.directory.clone());
                        return Err(HostError::NoSpace { host, directory, missing_bytes, free_bytes: now.free_bytes });
                    }
                    let command = format!("uploading the agent to {}", self.directory);
                    return Err(HostError::Command { host: host.clone(), command, status, output: outcome.stderr });
                }
            }
        }
        let reason = "the agent arrived damaged several times, or several uploads get in each other's way".to_owned();
        Err(HostError::Broken { host: host.clone(), reason })
    }

    /// What is there now.
    async fn look(&self, session: &Session, elevation: &Elevation, deadlines: &Deadlines) -> Result<Probe, HostError> {
        let script = self.starting_script().replacen("if [ -x ", "if false && [ -x ", 1);
        let command = elevation.start(session, &script, deadlines.start).await?;
        let ended = command.watch.until(deadlines.start, |_| false).await;
        ended.ok_or_else(|| late(session.host(), "looking at an upload", deadlines.start))?;
        self.probe(session, &command.watch.outcome())
    }

    async fn send(
        &self,
        session: &Session,
        elevation: &Elevation,
        deadlines: &Deadlines,
        have_bytes: u64,
        events: &EventSink,
    ) -> Result<Outcome, HostError> {
        let host = session.host();
        let program =
            |source| HostError::Program { host: host.name.clone(), path: self.path.display().to_string(), source };
        let mut file = tokio::fs::File::open(&self.path).await.map_err(program)?;
        file.seek(io::SeekFrom::Start(have_bytes)).await.map_err(program)?;
        let script = self.receiving_script(have_bytes);
        let Command { mut stdin, stdout, watch } = elevation.start(session, &script, deadlines.start).await?;
        let stalled = || late(host, "an upload of which nothing moved", deadlines.upload_stall);
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        let mut sent_bytes = have_bytes;
        loop {
            let count = file.read(&mut chunk).await.map_err(program)?;
            // A receiver that has ended tells why by its status.
            if count == 0 || watch.progress().has_ended {
                break;
            }
            if !write_all(&mut stdin, &chunk[..count], deadlines.upload_stall).await.map_err(|_| stalled())? {
                break;
            }
            sent_bytes += count as u64;
            let (host, size_bytes) = (host.name.clone(), self.size_bytes);
            events(HostEvent::Uploading { host, sent_bytes, size_bytes });
        }
        let _ = stdin.shutdown().await;
        let ended = watch.until(deadlines.upload_stall, |_| false).await;
        drop(stdout);
        ended.ok_or_else(stalled)?;
        Ok(watch.outcome())
    }
}

/// Letters that need no quoting in a file name.
fn operator() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let machine = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = format!("{user}-{}", machine.trim());
    let kept = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(64);
    format!("{}.part", kept.collect::<String>())
}

fn architecture(program: &[u8]) -> &'static str {
    let machine = program.get(ELF_MACHINE).filter(|_| program.starts_with(ELF_MAGIC));
    match machine {
        Some([62, 0]) => "x86_64",
        Some([183, 0]) => "aarch64",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_with_its_architecture() {
        let own = AgentProgram::read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own.architecture, std::env::consts::ARCH);
        assert_eq!(own.sha256.len(), 64);
        assert_eq!(architecture(b"#!/bin/sh"), "");
        for script in [own.starting_script(), own.receiving_script(5), own.verifying_script()] {
            let checked = std::process::Command::new("sh").args(["-n", "-c", &script]).status().unwrap();
            assert!(checked.success(), "{script}");
        }
    }
}

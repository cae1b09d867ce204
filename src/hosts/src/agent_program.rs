//! The agent's program: what it is, whether a host has it already, and putting it there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Deadlines, HostError, Session};

const DIRECTORY: &str = "/var/lib/naru/artifacts";
const PROBE_DEADLINE: Duration = Duration::from_secs(30);
/// Marks our own line in what the login shell prints.
const PROBE_MARK: &str = "naru-probe";
const ROOT: &str = "root";
const ELF_MAGIC: &[u8] = b"\x7fELF";
const ELF_MACHINE: std::ops::Range<usize> = 18..20;

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
}

impl AgentProgram {
    /// Reads `naru-node` (or another program that serves the protocol when told `agent`).
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs_err::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            size_bytes: bytes.len() as u64,
            architecture: architecture(&bytes).to_owned(),
            directory: DIRECTORY.to_owned(),
            arguments: vec!["agent".to_owned()],
        })
    }

    /// Makes sure that the host has the program and answers the command that starts it.
    pub(crate) async fn install(&self, session: &Session, deadlines: &Deadlines) -> Result<String, HostError> {
        let target = format!("{}/{}", self.directory, self.sha256);
        let script =
            format!("test -x {0} && there=yes || there=no; echo {PROBE_MARK} $(uname -m) $there", quoted(&target));
        let probe = session.exec(&self.as_root(session, &script), PROBE_DEADLINE).await?;
        if self.probe(session, &probe)? {
            return Ok(self.command(session, &target));
        }
        tracing::info!(host = session.host().name, bytes = self.size_bytes, "uploading the agent");
        let program = |source| HostError::Program {
            host: session.host().name.clone(),
            path: self.path.display().to_string(),
            source,
        };
        let file = tokio::fs::File::open(&self.path).await.map_err(program)?;
        let command = self.as_root(session, &self.receiving_script());
        let output = session.exec_with_input(&command, file, deadlines.upload).await?;
        if output.status != 0 {
            return Err(HostError::Command {
                host: session.host().name.clone(),
                command: format!("uploading the agent to {}", self.directory),
                status: output.status,
                output: output.stderr,
            });
        }
        Ok(self.command(session, &target))
    }

    /// Whether the program is there; an answer that is none tells why.
    fn probe(&self, session: &Session, output: &crate::ExecOutput) -> Result<bool, HostError> {
        let host = session.host();
        let (name, user) = (host.name.clone(), host.user.clone());
        let all = format!("{}{}", output.stdout, output.stderr);
        let Some(line) = output.stdout.lines().find_map(|line| line.strip_prefix(PROBE_MARK)) else {
            if user == ROOT {
                let command = "sh".to_owned();
                return Err(HostError::Command { host: name, command, status: output.status, output: all });
            }
            return Err(HostError::NotRoot { host: name, user, output: all });
        };
        // Whatever else is printed would stand before the agent's first frame.
        if output.stdout.lines().count() > 1 {
            return Err(HostError::NoisyShell { host: name, user, output: output.stdout.clone() });
        }
        let mut words = line.split_whitespace();
        let found = words.next().unwrap_or_default();
        if !self.architecture.is_empty() && found != self.architecture {
            let program = self.architecture.clone();
            return Err(HostError::Architecture { host: name, found: found.to_owned(), program });
        }
        Ok(words.next() == Some("yes"))
    }

    /// Takes the program from stdin; it gets its name only when its hash agrees.
    fn receiving_script(&self) -> String {
        format!(
            "set -e; umask 022; mkdir -p {directory}; part={directory}/.{sha}.$$; trap 'rm -f \"$part\"' EXIT; \
             cat > \"$part\"; echo \"{sha}  $part\" | sha256sum -c - > /dev/null; chmod 0755 \"$part\"; \
             mv -f \"$part\" {directory}/{sha}",
            directory = quoted(&self.directory),
            sha = self.sha256,
        )
    }

    fn command(&self, session: &Session, target: &str) -> String {
        let words: Vec<String> = self.arguments.iter().map(|word| quoted(word)).collect();
        let words = format!("{} {}", quoted(target), words.join(" "));
        if session.host().user == ROOT { format!("exec {words}") } else { format!("exec sudo -n -- {words}") }
    }

    fn as_root(&self, session: &Session, script: &str) -> String {
        let script = quoted(script);
        if session.host().user == ROOT { format!("sh -c {script}") } else { format!("sudo -n -- sh -c {script}") }
    }
}

/// One word for a POSIX shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
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
    }

    #[test]
    fn any_word_survives_the_shell() {
        let word = "a 'b' $c `d` \"e\" \\f";
        let echoed = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
        assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), word);
    }
}

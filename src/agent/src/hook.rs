//! A command of the operator's: a shell in a process group of its own, with a deadline for all of it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use naru_resources::{Host, PROGRAM_PATH};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{Failure, FailureKind, Response};

const SHELL: &str = "/bin/sh";
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Of more output the end is kept: there it says what went wrong.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// A service that the command started may keep the pipe; after the shell itself ended we wait this long.
const STRAGGLER_DEADLINE: Duration = Duration::from_millis(500);
const CUT: &str = "… (the beginning is cut)\n";
/// As a shell tells that a signal ended a command.
const SIGNAL_STATUS: i32 = 128;

pub(crate) async fn run(
    host: &Host,
    command: &str,
    environment: &BTreeMap<String, String>,
    deadline_ms: u64,
) -> Result<Response, Failure> {
    let deadline = Duration::from_millis(deadline_ms).min(LONGEST);
    let (mut child, pipe) = start(host, command, environment).map_err(|error| Failure {
        kind: FailureKind::Permanent,
        message: format!("the command cannot be started: {error}"),
        detail: None,
        hint: None,
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut output = Output { pipe, kept: Vec::new(), is_cut: false };
    let ended = timeout(deadline, output.read_while(&mut child)).await;
    match ended {
        Ok(Ok(status)) => {
            output.read_rest(STRAGGLER_DEADLINE).await;
            let status = status.code().unwrap_or_else(|| SIGNAL_STATUS + status.signal().unwrap_or_default());
            Ok(Response::Ran { status, output: output.text() })
        }
        Ok(Err(error)) => Err(Failure {
            kind: FailureKind::Permanent,
            message: format!("the command got lost: {error}"),
            detail: Some(output.text()),
            hint: None,
        }),
        Err(_) => {
            // Everything that the shell started is in its group.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            output.read_rest(STRAGGLER_DEADLINE).await;
            Err(Failure {
                kind: FailureKind::Permanent,
                message: format!("the command did not end within {} s and was stopped", deadline.as_secs_f64()),
                detail: Some(output.text()).filter(|text| !text.trim().is_empty()),
                hint: Some("give it more time, or make it quicker".to_owned()),
            })
        }
    }
}

fn start(
    host: &Host,
    command: &str,
    environment: &BTreeMap<String, String>,
) -> std::io::Result<(Child, pipe::Receiver)> {
    let (reader, writer) = std::io::pipe()?;
    let child = Command::new(SHELL)
        .args(["-c", command])
        .current_dir(host.path("/"))
        // SSH gives a bare PATH without the `sbin` folders.
        .env("PATH", PROGRAM_PATH)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, pipe::Receiver::from_owned_fd(reader.into())?))
}

struct Output {
    pipe: pipe::Receiver,
    kept: Vec<u8>,
    is_cut: bool,
}

impl Output {
    /// Reads until the shell itself has ended.
    async fn read_while(&mut self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let mut buffer = vec![0_u8; READ_BYTES];
        let mut is_open = true;
        loop {
            tokio::select! {
                status = child.wait() => return status,
                count = self.pipe.read(&mut buffer), if is_open => match count {
                    Ok(0) | Err(_) => is_open = false,
                    Ok(count) => self.keep(&buffer[..count]),
                },
            }
        }
    }

    async fn read_rest(&mut self, deadline: Duration) {
        let mut buffer = vec![0_u8; READ_BYTES];
        let rest = async {
            while let Ok(count) = self.pipe.read(&mut buffer).await {
                if count == 0 {
                    break;
                }
                self.keep(&buffer[..count]);
            }
        };
        // What a straggler still says is not waited for.
        let _ = timeout(deadline, rest).await;
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * MAX_OUTPUT_BYTES {
            self.kept.drain(..self.kept.len() - MAX_OUTPUT_BYTES);
            self.is_cut = true;
        }
    }

    fn text(&self) -> String {
        let cut = self.is_cut || self.kept.len() > MAX_OUTPUT_BYTES;
        let from = self.kept.len().saturating_sub(MAX_OUTPUT_BYTES);
        let text = String::from_utf8_lossy(&self.kept[from..]);
        if cut { format!("{CUT}{text}") } else { text.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn shell(command: &str, deadline_ms: u64) -> Result<Response, Failure> {
        let environment = BTreeMap::from([("NARU_HOST".to_owned(), "w1".to_owned())]);
        run(&Host::local(), command, &environment, deadline_ms).await
    }

    #[tokio::test]
    async fn output_in_its_order_and_status_come_back() {
        let answer = shell("echo $NARU_HOST; echo err >&2; pwd; exit 3", 20_000).await.unwrap();
        assert_eq!(answer, Response::Ran { status: 3, output: "w1\nerr\n/\n".to_owned() });
        let killed = shell("kill -9 $$", 20_000).await.unwrap();
        assert_eq!(killed, Response::Ran { status: 137, output: String::new() });
    }

    #[tokio::test]
    async fn the_deadline_ends_everything_that_the_command_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let command = format!("echo begun; sh -c 'echo $$ > {0}; exec sleep 60' & wait", pid.display());
        let started = Instant::now();
        let failure = shell(&command, 700).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(failure.message.contains("0.7 s"), "{}", failure.message);
        assert_eq!(failure.detail.unwrap().trim(), "begun");
        let pid = fs_err::read_to_string(pid).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        let alive = || fs_err::read_to_string(&status).is_ok_and(|text| !text.contains("Z (zombie)"));
        while alive() {
            assert!(started.elapsed() < Duration::from_secs(20), "the grandchild lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn of_much_output_the_end_is_kept_and_a_straggler_holds_nobody() {
        let started = Instant::now();
        let command = "head -c 3000000 /dev/zero | tr '\\0' x; sleep 30 & echo; echo end";
        let Response::Ran { output, .. } = shell(command, 20_000).await.unwrap() else { panic!() };
        assert!(output.starts_with(CUT) && output.ends_with("x\nend\n"), "{}", output.len());
        assert!(output.len() <= MAX_OUTPUT_BYTES + CUT.len());
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}

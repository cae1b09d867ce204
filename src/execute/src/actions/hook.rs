//! Commands of the operator's, on a host or here. Here they run in a process group of their own, which ends with
//! their deadline or with us; who runs them here can be exchanged.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{FailureKind, Request, Response};
use naru_inventory::{Hook, HookPlace, Host, Role};
use naru_observe::AgentError;
use naru_plan::Step;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Lines;
use crate::world::{World, failed, permanent, unexpected};

/// Of a command's output, for the message of a failure: its end.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// Runs hooks on the operator's machine.
pub trait Commands: Send + Sync {
    /// The exit status and the end of what it printed; an error when it did not run to its end. Dropped half-way, it
    /// ends everything that it started.
    fn run<'a>(
        &'a self,
        hook: &'a Hook,
        environment: BTreeMap<String, String>,
        host: &'a str,
    ) -> BoxFuture<'a, Result<(i32, String), AgentError>>;
}

/// The machine that this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shell;

impl Commands for Shell {
    fn run<'a>(
        &'a self,
        hook: &'a Hook,
        environment: BTreeMap<String, String>,
        host: &'a str,
    ) -> BoxFuture<'a, Result<(i32, String), AgentError>> {
        Box::pin(here(hook, environment, host))
    }
}

impl World<'_> {
    pub(super) async fn hook(&self, step: &Step, hook: &Hook) -> Lines {
        let environment = environment(self.inventory.name(), self.host(&step.host)?);
        let seconds = u64::from(hook.timeout_seconds);
        let (status, output) = match hook.on {
            HookPlace::Operator => self.commands.run(hook, environment, &step.host).await?,
            HookPlace::Host => {
                let (command, deadline_ms) = (hook.command.clone(), seconds * 1_000);
                match self.call(&step.host, Request::Run { command, environment, deadline_ms }).await? {
                    Response::Ran { status, output } => (status, output),
                    _ => return Err(unexpected(&step.host, "a command")),
                }
            }
        };
        if status == 0 {
            return Ok(vec![format!("ran hook {}", hook.name)]);
        }
        let output = Some(output.trim_end().to_owned()).filter(|output| !output.is_empty());
        Err(failed(FailureKind::Permanent, format!("hook {} ended with status {status}", hook.name), output))
    }
}

fn environment(cluster: &str, host: &Host) -> BTreeMap<String, String> {
    let role = match host.role {
        Role::Worker => "worker",
        Role::ControlPlane => "control-plane",
    };
    let of =
        [("NARU_CLUSTER", cluster), ("NARU_HOST", &host.name), ("NARU_ADDRESS", &host.address), ("NARU_ROLE", role)];
    of.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Ends everything that the command has started, however the step ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn here(hook: &Hook, environment: BTreeMap<String, String>, host: &str) -> Result<(i32, String), AgentError> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(&hook.command).envs(environment).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| permanent(format!("hook {} did not start: {error}", hook.name)))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _group = Group(pid);
    let seconds = u64::from(hook.timeout_seconds);
    match timeout(Duration::from_secs(seconds), finish(&mut child)).await {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(error)) => Err(permanent(format!("hook {} could not be followed: {error}", hook.name))),
        Err(_) => {
            let message = format!("hook {} for {host} took longer than {seconds} s and was ended", hook.name);
            Err(failed(FailureKind::Permanent, message, None))
        }
    }
}

async fn finish(child: &mut Child) -> std::io::Result<(i32, String)> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(tail(out), tail(err), child.wait());
    let text = [out?, err?].concat();
    Ok((status?.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

/// The end of what it writes; the rest is read and thrown away, so that it never stands still.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let Some(mut stream) = stream else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&buffer[..count]);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..excess);
    }
}

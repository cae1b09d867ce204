//! Hooks of connecting: what the operator wants to happen before and after a session connects to a host, once per host
//! and session, around whatever fleet makes the connections.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{Request, Response};
use naru_inventory::{Hook, HookMoment, HookPlace, Host, Inventory, Role};
use naru_observe::{Fleet, HostAgent, Problem, ProblemKind};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

/// Commands that run here at the same time.
const MAX_COMMANDS: usize = 16;
/// What a command printed is told up to here.
const MAX_OUTPUT_CHARS: usize = 2_000;
const MILLISECONDS: u64 = 1_000;

/// A fleet with the hooks of its connections.
pub(crate) struct Hooked<F> {
    fleet: F,
    cluster: String,
    hooks: Vec<Hook>,
    connected: Mutex<BTreeMap<String, Arc<OnceCell<()>>>>,
    commands: Semaphore,
}

impl<F: Fleet> Hooked<F> {
    pub(crate) fn new(inventory: &Inventory, fleet: F) -> Self {
        let is_ours = |hook: &&Hook| matches!(hook.when, HookMoment::BeforeConnect | HookMoment::AfterConnect);
        Self {
            fleet,
            cluster: inventory.name().to_owned(),
            hooks: inventory.spec.hooks.iter().filter(is_ours).cloned().collect(),
            connected: Mutex::default(),
            commands: Semaphore::new(MAX_COMMANDS),
        }
    }

    pub(crate) fn inner(&self) -> &F {
        &self.fleet
    }

    fn hooks_for(&self, host: &Host, moment: HookMoment) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.when == moment && hook.is_for(host))
    }

    /// Runs the hooks around the first connection to a host; one that fails is tried again with the next connection.
    async fn first(&self, host: &Host) -> Result<(), Problem> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        let cell = {
            let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
            connected.entry(host.name.clone()).or_default().clone()
        };
        let around = || async {
            for hook in self.hooks_for(host, HookMoment::BeforeConnect) {
                // There is no way to the host yet, wherever it was meant to run.
                self.here(hook, host).await.map_err(|(text, output)| problem(hook, text, output))?;
            }
            let agent = self.fleet.connect(host).await?;
            for hook in self.hooks_for(host, HookMoment::AfterConnect) {
                let ran = match hook.on {
                    HookPlace::Operator => self.here(hook, host).await,
                    HookPlace::Host => self.there(hook, host, agent.as_ref()).await,
                };
                ran.map_err(|(text, output)| problem(hook, text, output))?;
            }
            Ok(())
        };
        cell.get_or_try_init(around).await.map(drop)
    }

    /// On the operator's machine.
    async fn here(&self, hook: &Hook, host: &Host) -> Result<(), (String, String)> {
        let fail = |error: std::io::Error| (error.to_string(), String::new());
        let _slot = self.commands.acquire().await.map_err(|error| (error.to_string(), String::new()))?;
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg(&hook.command).envs(self.environment(host)).stdin(Stdio::null()).kill_on_drop(true);
        let seconds = u64::from(hook.timeout_seconds);
        match timeout(Duration::from_secs(seconds), command.output()).await {
            Err(_) => Err((format!("took longer than {seconds} s"), String::new())),
            Ok(Err(error)) => Err(fail(error)),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let bytes = [output.stdout, output.stderr].concat();
                Err((format!("ended with {}", output.status), String::from_utf8_lossy(&bytes).into_owned()))
            }
        }
    }

    async fn there(&self, hook: &Hook, host: &Host, agent: &dyn HostAgent) -> Result<(), (String, String)> {
        let deadline_ms = u64::from(hook.timeout_seconds) * MILLISECONDS;
        let request = Request::Run { command: hook.command.clone(), environment: self.environment(host), deadline_ms };
        match agent.call(request).await {
            Ok(Response::Ran { status: 0, .. }) => Ok(()),
            Ok(Response::Ran { status, output }) => Err((format!("ended with status {status}"), output)),
            Ok(_) => Err(("was answered with something else".to_owned(), String::new())),
            Err(error) => Err((error.to_string(), error.detail().unwrap_or_default().to_owned())),
        }
    }

    fn environment(&self, host: &Host) -> BTreeMap<String, String> {
        let role = match host.role {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        };
        let pairs = [
            ("NARU_CLUSTER", self.cluster.as_str()),
            ("NARU_HOST", &host.name),
            ("NARU_ADDRESS", &host.address),
            ("NARU_ROLE", role),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

fn problem(hook: &Hook, text: String, output: String) -> Problem {
    let moment = match hook.when {
        HookMoment::BeforeConnect => "before connecting",
        _ => "after connecting",
    };
    let output: String = output.trim().chars().take(MAX_OUTPUT_CHARS).collect();
    Problem {
        // Before a connection nobody has been reached; after it, the host is there and of no use yet.
        kind: if hook.when == HookMoment::BeforeConnect { ProblemKind::Unreachable } else { ProblemKind::Agent },
        primary: format!("the hook {} {moment} {text}", hook.name),
        detail: (!output.is_empty()).then_some(output),
        hint: Some("see spec.hooks of the inventory".to_owned()),
    }
}

impl<F: Fleet> Fleet for Hooked<F> {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            self.first(host).await?;
            self.fleet.connect(host).await
        })
    }

    fn forget<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
        self.fleet.forget(host)
    }

    fn set_fence(&self, fence: u64) {
        self.fleet.set_fence(fence);
    }

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            self.first(host).await?;
            self.fleet.connect_anew(host).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, inventory};

    fn hook(name: &str, when: HookMoment, on: HookPlace, command: String) -> Hook {
        Hook { name: name.to_owned(), when, on, hosts: vec![], roles: vec![Role::Worker], command, timeout_seconds: 5 }
    }

    #[tokio::test]
    async fn hooks_run_once_around_the_first_connection() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let say =
            |word: &str| format!("echo {word} $NARU_CLUSTER $NARU_HOST $NARU_ADDRESS $NARU_ROLE >> {}", log.display());
        let mut inventory = inventory();
        inventory.spec.hooks = vec![
            hook("b", HookMoment::BeforeConnect, HookPlace::Operator, say("before")),
            hook("a", HookMoment::AfterConnect, HookPlace::Operator, say("after")),
            hook("h", HookMoment::AfterConnect, HookPlace::Host, "true".to_owned()),
            hook("other", HookMoment::AfterApply, HookPlace::Operator, say("never")),
        ];
        let fleet = Fake::default().answering("w1", Response::Ran { status: 0, output: String::new() });
        let fleet = Hooked::new(&inventory, fleet);
        for host in ["w1", "cp1", "w1"] {
            fleet.connect(inventory.host(host).unwrap()).await.map(drop).unwrap();
        }
        fleet.connect_anew(inventory.host("w1").unwrap()).await.map(drop).unwrap();
        let said = fs_err::read_to_string(&log).unwrap();
        assert_eq!(said, "before prod w1 10.0.0.21 worker\nafter prod w1 10.0.0.21 worker\n");
    }

    #[tokio::test]
    async fn a_hook_that_fails_keeps_its_host_away() {
        let mut inventory = inventory();
        let command = "echo the gate is shut; exit 3".to_owned();
        inventory.spec.hooks = vec![hook("gate", HookMoment::BeforeConnect, HookPlace::Operator, command)];
        let fleet = Hooked::new(&inventory, Fake::default());
        let problem = fleet.connect(inventory.host("w1").unwrap()).await.map(drop).unwrap_err();
        assert_eq!(problem.primary, "the hook gate before connecting ended with exit status: 3");
        assert_eq!(problem.detail.as_deref(), Some("the gate is shut"));
        assert!(fleet.fleet.connected.lock().unwrap().is_empty(), "it was connected to all the same");
        inventory.spec.hooks[0].command = "sleep 60".to_owned();
        inventory.spec.hooks[0].timeout_seconds = 1;
        let fleet = Hooked::new(&inventory, Fake::default());
        let problem = fleet.connect(inventory.host("w1").unwrap()).await.map(drop).unwrap_err();
        assert!(problem.primary.contains("longer than 1 s"), "{}", problem.primary);
    }
}

//! Commands of hooks: that they are run, where, in which order, and that a host is changed only between those before
//! and those after.

use naru_inventory::HookMoment;
use naru_plan::{Action, Plan};

use super::{Operator, State};

/// How long a command takes.
pub(crate) const COMMAND_MS: u64 = 300;

/// A command that has run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanHook {
    pub operator: String,
    /// Where, or for whom.
    pub host: String,
    pub command: String,
    pub status: i32,
}

/// `exit N` is understood, every other command succeeds.
pub(crate) fn status(command: &str) -> i32 {
    command.strip_prefix("exit ").and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

impl Operator {
    /// The inventory says which commands belong to which host, whatever the plan's steps wait for.
    pub(crate) fn expect_hooks(&mut self, plan: &Plan) {
        let changed = |host: &str| plan.steps.iter().any(|step| step.host == host && is_about_host(&step.action));
        for host in plan.inventory.spec.hosts.iter().filter(|host| changed(&host.name)) {
            for hook in plan.inventory.spec.hooks.iter().filter(|hook| hook.is_for(host)) {
                let key = (host.name.clone(), hook.command.clone());
                match hook.when {
                    HookMoment::BeforeApply => self.hooks_before.insert(key),
                    HookMoment::AfterApply => self.hooks_after.insert(key),
                    _ => false,
                };
            }
        }
    }
}

/// Documents are only asked through a host.
fn is_about_host(action: &Action) -> bool {
    !matches!(action, Action::Manifest { .. })
}

impl State {
    pub(crate) fn hook_ended(&mut self, operator: usize, host: &str, command: &str, status: i32) {
        self.note(|| format!("{host}: ran `{command}`, status {status}"));
        let key = (host.to_owned(), command.to_owned());
        let one = &self.operators[operator];
        let waits = one.hooks_before.iter().any(|hook| hook.0 == host && !one.hooks_ran.contains(hook));
        let is_early = waits && !one.hooks_before.contains(&key);
        if is_early {
            self.violation(format!("`{command}` ran for {host} before what must run there before everything"));
        }
        let name = self.operators[operator].name.clone();
        self.hooks.push(RanHook { operator: name, host: key.0.clone(), command: key.1.clone(), status });
        if status == 0 {
            self.operators[operator].hooks_ran.insert(key);
        }
    }

    /// Something about this host is about to be changed.
    pub(crate) fn check_hooks(&mut self, operator: usize, host: &str, what: &str) {
        let one = &self.operators[operator];
        let missing = one.hooks_before.iter().find(|hook| hook.0 == host && !one.hooks_ran.contains(*hook)).cloned();
        let over = one.hooks_after.iter().find(|hook| hook.0 == host && one.hooks_ran.contains(*hook)).cloned();
        if let Some((_, command)) = missing {
            self.violation(format!("{host} was changed ({what}) before `{command}` had succeeded for it"));
        }
        if let Some((_, command)) = over {
            self.violation(format!("{host} was changed ({what}) after `{command}`, which runs after everything"));
        }
    }
}

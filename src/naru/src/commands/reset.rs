//! `naru reset`: removes from hosts what Naru put there, and nothing else: of single hosts, which leave the cluster in
//! order, or of all of them, workers first.

use clap::Args;
use naru_agent::Entry;
use naru_inventory::{Hook, HookMoment, Host, HostState, Role};
use naru_observe::{HostObservation, Observation, Problem};
use naru_plan::{Action, Note, NoteKind, Options, Plan, Step, reset_stops};
use naru_resources::Change;

use super::{apply, tell};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, RunFlags};
use crate::report::{left_out, summary};
use crate::session::{InventoryFile, Look, Reach, Session};
use crate::style::names;

const RESET_SECONDS: u32 = 600;
/// What a hook may take beyond its own deadline.
const HOOK_GRACE_SECONDS: u32 = 30;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 a mistake of yours or the answer was no, 2 a host was left out or not cleaned."
)]
pub(crate) struct Reset {
    #[command(flatten)]
    inventory: InventoryFile,
    /// Only this host; it leaves the cluster first. Repeat for more. Default: the whole cluster.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Go on where too few control planes answer for the lock, as they are gone for good: every host that answers is
    /// cleaned. Given up: nothing keeps another naru that still reaches them from changing the same hosts meanwhile.
    #[arg(long, conflicts_with = "hosts")]
    without_lock: bool,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    reach: Reach,
}

impl Reset {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let mut session = Session::open(&self.inventory.file, &self.reach).await?;
        for name in &self.hosts {
            session.host(name)?;
        }
        if session.inventory.spec.hosts.is_empty() {
            return Err(Failure::user("no machine runs, so there is nothing to clean")
                .hint("naru machines delete removes machines"));
        }
        let cluster = session.inventory.name().to_owned();
        let of = match self.hosts.as_slice() {
            [] => format!("Remove cluster {cluster}, with all that runs and is kept in it?"),
            hosts => {
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                format!("Take {} out of cluster {cluster} and clean it?", names(&hosts))
            }
        };
        let flow = Flow::new(&self.run, terminal).with_word(of, cluster)?;
        if self.hosts.is_empty() {
            let flow = flow.with_choice_of_no_lock(self.without_lock);
            let ended = flow.go(&session, &whole, &|| Ok(()), false).await?;
            return Ok(self.conclude(&flow, &ended));
        }
        for host in &mut session.inventory.spec.hosts {
            if self.hosts.contains(&host.name) {
                host.state = HostState::Absent;
            }
        }
        let only = self.hosts.iter().cloned().collect();
        let session = session.looking(Look { options: Options { only, ..Options::default() }, ..Look::default() });
        let ended = flow.go(&session, &|session, seen| session.plan(seen), &|| Ok(()), false).await?;
        apply::conclude(&flow, &session, &ended).await?;
        if ended.is_success() {
            tell("The inventory still has it: the next apply would make it a node again (naru node remove NAME).\n");
        }
        Ok(ended.exit())
    }

    fn conclude(&self, flow: &Flow, ended: &Ended) -> Exit {
        if let Ended::Executed(plan, outcome) = ended
            && flow.shows_text()
        {
            tell(&summary(plan, outcome));
            tell(&left_out(plan));
        }
        ended.exit()
    }
}

/// Everything that Naru put on any host: workers first, so that control planes know of their end.
fn whole(session: &Session, observation: &Observation) -> Plan {
    let mut plan = Plan::of(session.inventory.clone(), Vec::new());
    plan.fingerprint = observation.fingerprint();
    let hosts = &session.inventory.spec.hosts;
    let mut workers = Vec::new();
    for role in [Role::Worker, Role::ControlPlane] {
        for host in hosts.iter().filter(|host| host.role == role) {
            match cleanable(observation, host) {
                Cleanable::Yes(changes) => {
                    let needs = if role == Role::ControlPlane { workers.clone() } else { Vec::new() };
                    plan.steps.extend(steps(&session.inventory.spec.hooks, host, changes, needs));
                }
                Cleanable::Nothing => {}
                Cleanable::No(problem) => plan.notes.push(note(host, problem)),
            }
        }
        workers = plan.steps.iter().map(|step| step.id.clone()).collect();
    }
    let off = observation.hosts.iter().filter(|(_, seen)| matches!(seen, HostObservation::Missing { is_off: true }));
    plan.notes.extend(off.map(|(name, _)| Note {
        kind: NoteKind::Skipped,
        host: Some(name.clone()),
        text: "it is not cleaned: its machine is off".to_owned(),
        detail: None,
        hint: Some("naru machines delete removes machines".to_owned()),
    }));
    plan
}

enum Cleanable<'a> {
    /// With what is stopped and removed.
    Yes(Vec<Change>),
    /// Naru has put nothing there.
    Nothing,
    No(&'a Problem),
}

fn cleanable<'a>(observation: &'a Observation, host: &Host) -> Cleanable<'a> {
    match observation.hosts.get(&host.name) {
        Some(HostObservation::Reached(reached)) if !reached.manifest.is_empty() => {
            let mut changes = reset_stops(reached);
            changes.extend(reached.manifest.iter().map(removal));
            Cleanable::Yes(changes)
        }
        Some(HostObservation::Reached(reached)) => reached.problem.as_ref().map_or(Cleanable::Nothing, Cleanable::No),
        Some(HostObservation::Unreachable(problem)) => Cleanable::No(problem),
        Some(HostObservation::Missing { .. }) | None => Cleanable::Nothing,
    }
}

fn removal((name, entry): (&String, &Entry)) -> Change {
    let summary = match entry.kind.as_str() {
        // They may have been there before, and others may use them.
        "package" => format!("keep package {name}"),
        "image" => format!("keep image {name}"),
        kind => format!("remove {kind} {name}"),
    };
    Change { resource: 0, summary, diff: None, disruption: None }
}

fn note(host: &Host, problem: &Problem) -> Note {
    Note {
        kind: NoteKind::Skipped,
        host: Some(host.name.clone()),
        text: format!("it is not cleaned: {}", problem.primary),
        detail: problem.detail.clone(),
        hint: problem.hint.clone(),
    }
}

/// Hooks before, cleaning, hooks after, one after the other.
fn steps(hooks: &[Hook], host: &Host, changes: Vec<Change>, needs: Vec<String>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut add = |name: String, title: String, action, changes, deadline_seconds| {
        let needs = steps.last().map_or_else(|| needs.clone(), |last: &Step| vec![last.id.clone()]);
        let step = Step::new(&host.name, &name, title, action).with_changes(changes);
        steps.push(Step { needs, deadline_seconds, ..step });
    };
    let of = |moment| hooks.iter().filter(move |hook| hook.when == moment && hook.is_for(host));
    let hook = |add: &mut dyn FnMut(String, String, Action, Vec<Change>, u32), hook: &Hook| {
        let deadline = hook.timeout_seconds.saturating_add(HOOK_GRACE_SECONDS);
        let title = format!("run hook {}", hook.name);
        add(format!("hook-{}", hook.name), title, Action::Hook { hook: hook.clone() }, Vec::new(), deadline);
    };
    for before in of(HookMoment::BeforeReset) {
        hook(&mut add, before);
    }
    add("reset".to_owned(), "remove what naru put there".to_owned(), Action::Reset, changes, RESET_SECONDS);
    for after in of(HookMoment::AfterReset) {
        hook(&mut add, after);
    }
    steps
}

#[cfg(test)]
mod tests {
    use naru_agent::{Facts, UnitState};
    use naru_inventory::HookPlace;
    use naru_observe::{ClusterObservation, ProblemKind, Reached};
    use naru_resources::Disruption;

    use super::*;

    fn hook(when: HookMoment) -> Hook {
        Hook {
            name: format!("{when:?}"),
            when,
            on: HookPlace::Host,
            hosts: Vec::new(),
            roles: Vec::new(),
            command: "true".to_owned(),
            timeout_seconds: 60,
        }
    }

    #[test]
    fn hooks_stand_around_the_cleaning_and_what_others_own_is_kept() {
        let entry = |kind: &str| Entry { kind: kind.to_owned(), sha256: String::new() };
        let manifest = [("/etc/naru/node.yaml".to_owned(), entry("file")), ("runc".to_owned(), entry("package"))];
        let unit = |name: &str, state: &str| UnitState {
            name: name.to_owned(),
            active_state: state.to_owned(),
            started_unix_ms: 0,
        };
        let units = vec![unit("naru-node.service", "active"), unit("naru-etcd.service", "failed")];
        let facts = Facts { units, ..Facts::default() };
        let reached = Reached { facts, manifest: manifest.into(), ..Reached::default() };
        let refused = Problem { kind: ProblemKind::Unreachable, primary: "no".to_owned(), detail: None, hint: None };
        let hosts = [
            ("cp1", HostObservation::Unreachable(refused)),
            ("w1", HostObservation::Reached(Box::new(reached))),
            ("w2", HostObservation::Reached(Box::default())),
        ];
        let observation = Observation {
            hosts: hosts.map(|(name, seen)| (name.to_owned(), seen)).into(),
            cluster: ClusterObservation::default(),
            preflight: None,
        };
        let inventory = crate::fake::inventory();
        let host = |name| inventory.host(name).unwrap();
        assert!(matches!(cleanable(&observation, host("cp1")), Cleanable::No(_)));
        assert!(matches!(cleanable(&observation, host("w2")), Cleanable::Nothing));
        let Cleanable::Yes(changes) = cleanable(&observation, host("w1")) else { panic!() };
        let summaries: Vec<&str> = changes.iter().map(|change| change.summary.as_str()).collect();
        assert_eq!(
            summaries,
            ["stop and remove naru-node.service", "remove file /etc/naru/node.yaml", "keep package runc"]
        );
        let hooks = [hook(HookMoment::AfterReset), hook(HookMoment::BeforeReset), hook(HookMoment::AfterApply)];
        let steps = steps(&hooks, host("w1"), changes, vec!["x/y".to_owned()]);
        assert_eq!(steps[1].disruptions, [Disruption::StopUnit("naru-node.service".to_owned())]);
        let order: Vec<(&str, &str)> = steps.iter().map(|step| (step.id.as_str(), step.needs[0].as_str())).collect();
        assert_eq!(
            order,
            [("w1/hook-BeforeReset", "x/y"), ("w1/reset", "w1/hook-BeforeReset"), ("w1/hook-AfterReset", "w1/reset"),]
        );
    }
}

//! `naru node replace`: another machine for what a host was for. Where the old one lives, the new one joins under a
//! name of its own first; where it is dead, the new one takes over its name.

use clap::Args;
use naru_inventory::edit::{self, EditError};
use naru_inventory::{Connection, Host, HostState, Inventory, Role, Store};
use naru_observe::{HostObservation, NodeObservation, Observation, Problem, ProblemKind};
use naru_plan::{Action, Note, NoteKind, Plan};
use naru_resources::{Change, Disruption};

use super::add::{Target, free_name, join};
use super::{Changing, Leaving, control_planes, step};
use crate::cli::Terminal;
use crate::commands::tell;
use crate::edit::File;
use crate::exit::{Exit, Failure};
use crate::flow::Flow;
use crate::session::{Look, Session};

const HELP: &str =
    "The new machine gets role, labels, taints, annotations, kubelet settings and place in the inventory \
of the old one.

A dead worker (its host does not answer, its node is not Ready or is gone) hands on its name: its Node object is \
deleted, the new machine joins as a new node of that name. A host that lives keeps its name to the end: the new \
machine gets the next free one, joins, and once it is Ready the old one is drained, taken out of the cluster, cleaned \
and taken out of the inventory. `--name` asks for either; a name is never given to two machines that live.

Exit codes: 0 done, 1 a mistake of yours or the answer was no, 2 something was not done.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Replace {
    /// The host that is dead, or goes.
    #[arg(value_name = "HOST")]
    old: String,
    /// The new machine as [USER@]ADDRESS[:PORT].
    #[arg(value_name = "USER@ADDR")]
    target: String,
    /// The new machine's name in the cluster. Default: that of a dead worker, else the next free one, as w3.
    #[arg(long)]
    name: Option<String>,
    /// The new machine's public host key, as in known_hosts. Default: looked up there.
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,
    #[command(flatten)]
    changing: Changing,
}

impl Replace {
    pub(super) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let flow = self.changing.flow(terminal);
        let file = self.changing.file()?;
        let target = Target::parse(&self.target)?;
        let now = file.parse(&file.text)?;
        keeps_state(&now, &self.old)?;
        if let Some(new) = self.begun(&now, &target)? {
            return self.beside(&flow, &file, file.text.clone(), &new.name, terminal).await;
        }
        // Whatever state it is in, it was there to be a node, and so is what takes its place.
        let text = edit::set_host_state(&file.text, &self.old, HostState::Present)?;
        let inventory = file.parse(&text)?;
        let old = self.old(&inventory)?;
        is_nobodys(&inventory, old, &target)?;
        let name = self.new_name(&flow, &inventory, old, &target).await?;
        let new = self.host(&inventory, old, &target, name);
        let edited = edit::exchange_host(&text, &old.name, &new)?;
        if new.name != old.name {
            let leaving = Host { state: HostState::Absent, ..old.clone() };
            let text = edit::add_host(&edited, &leaving)?;
            return self.beside(&flow, &file, text, &new.name, terminal).await;
        }
        tell(&file.diff(&edited, terminal.stderr));
        tell("\n");
        let session = self.session(&file, &edited).await?;
        let is_elsewhere = new.address != old.address;
        let planner = |session: &Session, seen: &_| under_its_name(session, seen, &new.name, is_elsewhere);
        join(&flow, &session, &file, &edited, &planner, &new.name).await
    }

    /// By a text that has both machines, the old one absent.
    async fn beside(
        &self,
        flow: &Flow,
        file: &File,
        text: String,
        new: &str,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let leaving = Leaving::new(file, text, &self.old)?;
        leaving.tell(terminal.stderr);
        let session = self.session(file, &leaving.text).await?;
        let old = self.old(&session.inventory)?;
        leaving.go(flow, &session, &|session, seen| beside(session, seen, old, new)).await
    }

    fn old<'a>(&self, inventory: &'a Inventory) -> Result<&'a Host, Failure> {
        let old = inventory.host(&self.old);
        old.ok_or_else(|| EditError::NoHost { name: self.old.clone() }.into())
    }

    async fn session(&self, file: &File, text: &str) -> Result<Session, Failure> {
        let session = self.changing.session(file.parse(text)?).await?;
        Ok(session.looking(Look::whole()))
    }

    /// The new machine's entry that an earlier run left beside the old one's.
    fn begun(&self, inventory: &Inventory, target: &Target) -> Result<Option<Host>, Failure> {
        let is_leaving = inventory.host(&self.old).is_some_and(|old| !old.state.is_present());
        let found = inventory.spec.hosts.iter().find(|host| host.address == target.address && host.name != self.old);
        match (found, &self.name) {
            (Some(found), Some(name)) if is_leaving && found.name != *name => {
                let primary =
                    format!("the machine at {} is in the inventory already, as {}", found.address, found.name);
                Err(Failure::user(primary).hint(format!("--name {}", found.name)))
            }
            (Some(found), _) if is_leaving => Ok(Some(found.clone())),
            _ => Ok(None),
        }
    }

    async fn new_name(
        &self,
        flow: &Flow,
        inventory: &Inventory,
        old: &Host,
        target: &Target,
    ) -> Result<String, Failure> {
        let keeps = self.name.as_ref().is_some_and(|name| *name == old.name);
        let free = free_name(inventory, old.role);
        match &self.name {
            Some(_) if keeps && old.role == Role::ControlPlane => {
                let primary = "a control plane does not hand on its name: the others know it as what it was";
                return Err(Failure::user(primary).hint(format!("--name {free}, or leave --name out")));
            }
            Some(name) if !keeps => return Ok(name.clone()),
            None if old.role == Role::ControlPlane => return Ok(free),
            _ => {}
        }
        match self.sign_of_life(flow, inventory, old, target).await? {
            Some(sign) if target.address == old.address => {
                let primary = format!("the machine at {} is {}, and that lives: {sign}", old.address, old.name);
                Err(Failure::user(primary).hint("give the address of the machine that is to take its place"))
            }
            Some(sign) if keeps => {
                let primary = format!("{} lives: {sign}; two machines cannot have one name at once", old.name);
                let hint = format!("--name {free}, or switch it off and wait until its node is not Ready",);
                Err(Failure::user(primary).hint(hint))
            }
            Some(sign) => {
                tell(&format!("{} lives ({sign}), so the new machine is {free}.\n", old.name));
                Ok(free)
            }
            None => {
                tell(&format!("{} gives no sign of life, so the new machine takes over its name.\n", old.name));
                Ok(old.name.clone())
            }
        }
    }

    /// What shows that the old machine lives. Only it and the control planes are asked.
    async fn sign_of_life(
        &self,
        flow: &Flow,
        inventory: &Inventory,
        old: &Host,
        target: &Target,
    ) -> Result<Option<&'static str>, Failure> {
        let mut few = inventory.clone();
        few.spec.hosts.retain(|host| host.name == old.name || host.role == Role::ControlPlane);
        // What answers at this address is the new machine, whose key nobody knows yet.
        let is_elsewhere = target.address != old.address;
        if !is_elsewhere {
            few.spec.hosts.retain(|host| host.name != old.name);
        }
        let session = self.changing.session(few).await?;
        Ok(sign_of_life(&flow.observe(&session).await, &old.name))
    }

    fn host(&self, inventory: &Inventory, old: &Host, target: &Target, name: String) -> Host {
        let (user, port) = target.beside(&inventory.spec.ssh);
        Host {
            name,
            address: target.address.clone(),
            user: if target.user.is_some() { user } else { old.user.clone() },
            port: if target.port.is_some() { port } else { old.port },
            host_key: self.host_key.clone(),
            connection: Connection::Ssh,
            ..old.clone()
        }
    }
}

/// With the embedded store the only control plane holds all there is; nothing has to be asked to know that.
fn keeps_state(inventory: &Inventory, name: &str) -> Result<(), Failure> {
    let is_embedded = inventory.spec.control_plane.store == Store::Embedded;
    match inventory.host(name) {
        Some(host) if is_embedded && host.role == Role::ControlPlane => {
            Err(Failure::user(format!("{name} cannot be replaced: it holds the cluster's state"))
                .hint("`naru reset` takes the whole cluster down"))
        }
        _ => Ok(()),
    }
}

/// Two entries of one machine would be its end: what is set up as the one is cleaned as the other.
fn is_nobodys(inventory: &Inventory, old: &Host, target: &Target) -> Result<(), Failure> {
    let has_it = |host: &&Host| host.address == target.address && host.name != old.name;
    match inventory.spec.hosts.iter().find(has_it) {
        Some(host) => Err(Failure::user(format!("the machine at {} is {} already", target.address, host.name))
            .hint("give the address of a machine that is none of the inventory's")),
        None => Ok(()),
    }
}

/// Another host of the inventory that is the same machine under another address.
fn same_machine<'a>(seen: &'a Observation, new: &str) -> Option<&'a str> {
    let machine_id = |name: &str| seen.reached(name).map(|reached| reached.facts.machine_id.as_str());
    let own = machine_id(new).filter(|id| !id.is_empty())?;
    seen.hosts.keys().map(String::as_str).find(|name| *name != new && machine_id(name) == Some(own))
}

fn not_twice(plan: Plan, new: &str, twin: &str) -> Plan {
    let text = format!("the new machine is {twin} already: they have one machine-id");
    let hint = "a machine that was copied needs one of its own: empty /etc/machine-id, then systemd-machine-id-setup";
    refused(plan, new, &text, Some(hint))
}

/// Whether a Node of the new machine's name is there that cannot be its own.
fn is_taken(seen: &Observation, new: &str) -> bool {
    node(seen, new).is_some() && seen.reached(new).is_none_or(|reached| reached.manifest.is_empty())
}

fn sign_of_life(seen: &Observation, name: &str) -> Option<&'static str> {
    match seen.hosts.get(name) {
        _ if node(seen, name).is_some_and(|node| node.ready) => Some("its node is Ready"),
        Some(HostObservation::Reached(_)) => Some("it answers"),
        Some(HostObservation::Unreachable(problem)) if problem.kind != ProblemKind::Unreachable => {
            Some("something answers at its address")
        }
        // A refusal is an answer as well.
        Some(HostObservation::Unreachable(Problem { detail: Some(detail), .. })) if detail.contains("refused") => {
            Some("its address refuses connections, so something is there")
        }
        _ => None,
    }
}

fn node<'a>(seen: &'a Observation, name: &str) -> Option<&'a NodeObservation> {
    seen.cluster.nodes.as_ref()?.get(name)
}

/// A new machine takes over the name of a dead one: the Node object goes first, so that nothing of the dead one is
/// taken for the new one's.
fn under_its_name(session: &Session, seen: &Observation, name: &str, is_elsewhere: bool) -> Plan {
    let mut without = seen.clone();
    let known = without.cluster.nodes.as_mut().map(|nodes| nodes.remove(name));
    let plan = session.plan(&without);
    if let Some(twin) = same_machine(seen, name) {
        return not_twice(plan, name, twin);
    }
    let asked = control_planes(session).unwrap_or_default();
    handed_on(plan, known, name, asked, is_elsewhere)
}

fn handed_on(
    mut plan: Plan,
    known: Option<Option<NodeObservation>>,
    name: &str,
    control_planes: Vec<String>,
    is_elsewhere: bool,
) -> Plan {
    let Some(known) = known else {
        let text = "the API does not answer, so nobody knows whether its node is still Ready";
        return refused(plan, name, text, Some("naru apply mends what there is"));
    };
    if known.as_ref().is_some_and(|node| node.ready) {
        let hint = "to exchange a machine that lives, give the new one a name of its own: --name";
        return refused(plan, name, "its node is Ready, so its machine is not dead", Some(hint));
    }
    if ready(&plan, name).is_none() {
        return refused(plan, name, "the new machine cannot become it, so nothing is changed", None);
    }
    if is_elsewhere {
        plan.notes.push(Note {
            kind: NoteKind::Remark,
            host: Some(name.to_owned()),
            text: "the dead machine still has this node's certificate: if it came back, it would be taken for it"
                .into(),
            detail: None,
            hint: Some("erase its disk before it is switched on again".to_owned()),
        });
    }
    if known.is_some() {
        let disruption = Disruption::RemoveNode(name.to_owned());
        let summary = format!("delete node {name}");
        let mut delete = step(name, "delete-node", "forget the dead machine", Action::DeleteNode { control_planes });
        delete.changes = vec![Change { resource: 0, summary, diff: None, disruption: Some(disruption.clone()) }];
        delete.disruptions = vec![disruption];
        begin_after(&mut plan, name, &delete.id);
        let place = plan.steps.iter().position(|step| step.host == name).unwrap_or(0);
        plan.steps.insert(place, delete);
    }
    plan
}

/// A new machine joins under a name of its own; the old one leaves when it is Ready, so that there is room all along.
fn beside(session: &Session, seen: &Observation, old: &Host, new: &str) -> Plan {
    let plan = session.plan(seen);
    if let Some(twin) = same_machine(seen, new) {
        return not_twice(plan, new, twin);
    }
    if is_taken(seen, new) {
        let text = "another machine is a node of this name, which the inventory does not know";
        return refused(plan, new, text, Some("--name gives the new one another name"));
    }
    let is_there = node(seen, new).is_some_and(|node| node.ready);
    relieved(plan, old, new, is_there)
}

fn relieved(mut plan: Plan, old: &Host, new: &str, is_there: bool) -> Plan {
    if old.role == Role::ControlPlane && plan.inventory.spec.control_plane.store == Store::Embedded {
        // Whatever the plan says: also where nothing speaks of a cluster any more.
        let text = "holds the cluster's state; without it there is no cluster";
        return refused(plan, &old.name, text, Some("`naru reset` takes the whole cluster down"));
    }
    match ready(&plan, new) {
        Some(id) => begin_after(&mut plan, &old.name, &id),
        None if is_there => {}
        None => return refused(plan, &old.name, &format!("stays, as {new} cannot take its place"), None),
    }
    plan
}

/// The step at whose end the host is a Ready node.
fn ready(plan: &Plan, host: &str) -> Option<String> {
    let mut steps = plan.steps.iter().filter(|step| step.host == host);
    steps.rfind(|step| matches!(step.action, Action::WaitForNode { .. })).map(|step| step.id.clone())
}

/// Nothing of a host begins before this step has succeeded.
fn begin_after(plan: &mut Plan, host: &str, id: &str) {
    let own = format!("{host}/");
    for step in plan.steps.iter_mut().filter(|step| step.host == host) {
        if !step.needs.iter().any(|need| need.starts_with(&own)) {
            step.needs.push(id.to_owned());
        }
    }
}

/// The plan without its steps; what it says of itself stays. One that was refused already says better why.
fn refused(mut plan: Plan, host: &str, text: &str, hint: Option<&str>) -> Plan {
    if plan.is_refused() {
        return plan;
    }
    plan.steps.clear();
    plan.unavailable.clear();
    let (host, hint) = (Some(host.to_owned()), hint.map(str::to_owned));
    plan.notes.push(Note { kind: NoteKind::Refused, host, text: text.to_owned(), detail: None, hint });
    plan
}

#[cfg(test)]
mod tests;

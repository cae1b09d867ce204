//! `naru node add`: one more machine, into the inventory and into the cluster.

use clap::{Args, ValueEnum};
use naru_inventory::{Effect, Host, Inventory, Role, Ssh, Taint, edit};

use super::{Changing, EXIT_CODES};
use crate::cli::Terminal;
use crate::commands::{apply, tell};
use crate::edit::File;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, Planner};
use crate::session::{Look, Session};

/// Names are tried up to here.
const MAX_NUMBER: usize = 100_000;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Add {
    /// The machine as [USER@]ADDRESS[:PORT].
    #[arg(value_name = "USER@ADDR")]
    target: String,
    /// Its name in the cluster. Default: the next free one, as w3.
    #[arg(long)]
    name: Option<String>,
    /// What it is to be.
    #[arg(long, value_enum, default_value_t = RoleName::Worker)]
    role: RoleName,
    /// A label of the node. Repeat for more.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A taint of the node. Repeat for more.
    #[arg(long = "taint", value_name = "KEY[=VALUE]:EFFECT", value_parser = taint)]
    taints: Vec<Taint>,
    /// The machine's public host key, as in known_hosts. Default: looked up there.
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Worker,
    ControlPlane,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Worker => Self::Worker,
            RoleName::ControlPlane => Self::ControlPlane,
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() { Err("expected KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

fn taint(text: &str) -> Result<Taint, String> {
    let expected = "expected KEY=VALUE:EFFECT or KEY:EFFECT, with NoSchedule, PreferNoSchedule or NoExecute";
    let (rest, effect) = text.rsplit_once(':').ok_or(expected)?;
    let effect = match effect {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return Err(expected.to_owned()),
    };
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    if key.is_empty() {
        return Err(expected.to_owned());
    }
    Ok(Taint { key: key.to_owned(), value: value.to_owned(), effect })
}

impl Add {
    pub(super) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let flow = self.changing.flow(terminal);
        let file = self.changing.file()?;
        let host = self.host(&file.parse(&file.text)?)?;
        let edited = edit::add_host(&file.text, &host)?;
        let inventory = file.parse(&edited)?;
        tell(&file.diff(&edited, terminal.stderr));
        tell("\n");
        let session = self.changing.session(inventory).await?.looking(Look::whole());
        join(&flow, &session, &file, &edited, &|session, seen| session.plan(seen), &host.name).await
    }

    fn host(&self, inventory: &Inventory) -> Result<Host, Failure> {
        let target = Target::parse(&self.target)?;
        let role = Role::from(self.role);
        let name = match &self.name {
            Some(name) => name.clone(),
            None => free_name(inventory, role),
        };
        let (user, port) = target.beside(&inventory.spec.ssh);
        Ok(Host {
            user,
            port,
            host_key: self.host_key.clone(),
            labels: self.labels.iter().cloned().collect(),
            taints: self.taints.clone(),
            ..Host::new(&name, role, &target.address)
        })
    }
}

/// A machine as `[USER@]ADDRESS[:PORT]`.
pub(super) struct Target {
    pub(super) user: Option<String>,
    pub(super) address: String,
    pub(super) port: Option<u16>,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (address, port) = match rest.rsplit_once(':') {
            Some((address, port)) => {
                let port = port.parse::<u16>().map_err(|_| Failure::user(format!("the port in `{text}` is none")))?;
                (address, Some(port))
            }
            None => (rest, None),
        };
        Ok(Self { user, address: address.to_owned(), port })
    }

    /// User and port as an entry says them: what the inventory says of all hosts is not said again.
    pub(super) fn beside(&self, ssh: &Ssh) -> (Option<String>, Option<u16>) {
        (
            self.user.clone().filter(|user| ssh.user.as_ref() != Some(user)),
            self.port.filter(|port| ssh.port != Some(*port)),
        )
    }
}

/// Makes a host of the edited inventory a node; the file is written as soon as that is agreed to.
pub(super) async fn join(
    flow: &Flow,
    session: &Session,
    file: &File,
    edited: &str,
    planner: &Planner<'_>,
    name: &str,
) -> Result<Exit, Failure> {
    let write = || file.write(&file.text, edited);
    let ended = flow.go(session, planner, &write, false).await?;
    if let Ended::Nothing(_) = ended {
        tell(&format!("Nothing is to be done on {name}, so the inventory is as it was.\n"));
        return Ok(Exit::OurFailure);
    }
    apply::conclude(flow, session, &ended).await?;
    Ok(ended.exit())
}

/// `w4` after `w3`, whatever gaps there are before: a name that was taken once may still be in somebody's head.
pub(super) fn free_name(inventory: &Inventory, role: Role) -> String {
    let prefix = if role == Role::ControlPlane { "cp" } else { "w" };
    let numbers = inventory.spec.hosts.iter().filter_map(|host| host.name.strip_prefix(prefix)?.parse::<usize>().ok());
    let highest = numbers.filter(|number| *number < MAX_NUMBER).max().unwrap_or(0);
    format!("{prefix}{}", highest + 1)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::fake::inventory;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        add: Add,
    }

    fn host(arguments: &[&str]) -> Host {
        let line = Line::try_parse_from([&["add"], arguments].concat()).unwrap_or_else(|error| panic!("{error}"));
        line.add.host(&inventory()).unwrap()
    }

    #[test]
    fn a_target_becomes_a_host_that_says_no_more_than_needed() {
        assert_eq!(host(&["10.0.0.23"]), Host::new("w3", Role::Worker, "10.0.0.23"));
        let host =
            host(&["ann@10.0.0.24:2222", "--role", "control-plane", "--label", "a=b=c", "--taint", "gpu:NoExecute"]);
        assert_eq!((host.name.as_str(), host.user.as_deref(), host.port), ("cp2", Some("ann"), Some(2222)));
        assert_eq!(host.labels["a"], "b=c");
        assert_eq!(host.taints, [Taint { key: "gpu".to_owned(), value: String::new(), effect: Effect::NoExecute }]);
        for wrong in [["10.0.0.1", "--label", "=x"], ["10.0.0.1", "--taint", "a=b"], ["10.0.0.1", "--taint", "a:Never"]]
        {
            assert!(Line::try_parse_from([&["add"][..], &wrong].concat()).is_err(), "{wrong:?}");
        }
    }
}

//! `naru status`: hosts and nodes, and how they are.

use clap::Args;
use jiff::Timestamp;
use naru_observe::{ApiState, HostObservation, NodeObservation, Observation};

use super::print;
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::session::{InventoryFile, Reach, Session};
use crate::table::table;

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    inventory: InventoryFile,
    /// The whole observation as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Status {
    pub(crate) async fn run(self, _terminal: Terminal) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        let observation = session.observe(&|_, _| {}).await;
        if self.json {
            let text = serde_json::to_string_pretty(&observation).expect("an observation is plain data");
            return print(&(text + "\n"));
        }
        let names = session.inventory.host_names();
        print(&format!("{}\n{}", hosts_table(&names, &observation), nodes_table(&observation)))?;
        Ok(if is_well(&observation) { Exit::Done } else { Exit::OurFailure })
    }
}

fn is_well(observation: &Observation) -> bool {
    let hosts_are_well = observation.hosts.values().all(
        |host| matches!(host, HostObservation::Reached(seen) if seen.problem.is_none() && seen.changes.is_empty()),
    );
    let nodes = observation.cluster.nodes.as_ref();
    hosts_are_well && nodes.is_some_and(|nodes| nodes.values().all(|node| node.ready))
}

fn hosts_table(names: &[String], observation: &Observation) -> String {
    let rows: Vec<Vec<String>> = names
        .iter()
        .filter_map(|name| {
            let cells = match observation.hosts.get(name)? {
                HostObservation::Missing { is_off: true } => ["off".to_owned(), String::new(), String::new()],
                HostObservation::Missing { is_off: false } => ["not made".to_owned(), String::new(), String::new()],
                HostObservation::Unreachable(problem) => {
                    [format!("unreachable: {}", problem.primary), String::new(), String::new()]
                }
                HostObservation::Reached(reached) => {
                    let differences = reached.changes.len();
                    let state = match (&reached.problem, differences) {
                        (Some(problem), _) => problem.primary.clone(),
                        (None, 0) => "as wanted".to_owned(),
                        (None, count) => format!("{count} differences"),
                    };
                    let containerd = reached.facts.versions.get("containerd").cloned().unwrap_or_default();
                    [state, reached.facts.os_pretty_name.clone(), containerd]
                }
            };
            Some([vec![name.clone()], cells.to_vec()].concat())
        })
        .collect();
    table(&["HOST", "STATE", "SYSTEM", "CONTAINERD"], &rows)
}

/// The cluster's nodes as the API server knows them.
pub(crate) fn nodes_table(observation: &Observation) -> String {
    match (&observation.cluster.nodes, observation.cluster.api) {
        (Some(nodes), _) if nodes.is_empty() => "The cluster has no nodes.\n".to_owned(),
        (Some(nodes), _) => {
            let rows: Vec<Vec<String>> = nodes.iter().map(|(name, node)| row(name, node)).collect();
            table(&["NODE", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "OS", "RUNTIME"], &rows)
        }
        (None, ApiState::Unknown) => "There is no control plane to ask for nodes.\n".to_owned(),
        (None, _) => "The API server does not answer.\n".to_owned(),
    }
}

fn row(name: &str, node: &NodeObservation) -> Vec<String> {
    let mut status = if node.ready { "Ready".to_owned() } else { "NotReady".to_owned() };
    if node.unschedulable {
        status += ",SchedulingDisabled";
    }
    let roles: Vec<&str> = node.labels.keys().filter_map(|key| key.strip_prefix("node-role.kubernetes.io/")).collect();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let age = node.created.parse::<Timestamp>().map(|created| age(Timestamp::now().as_second() - created.as_second()));
    vec![
        name.to_owned(),
        status,
        roles,
        age.unwrap_or_default(),
        node.version.clone(),
        node.internal_ip.clone(),
        node.os_image.clone(),
        node.runtime.clone(),
    ]
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

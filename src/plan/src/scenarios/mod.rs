//! Situations: what had been applied, what is wanted now, and in what the world differs from what one would expect.
//! One table for the golden plans and for the simulator.

mod builder;
mod table;

use naru_agent::Facts;
use naru_inventory::Inventory;
use naru_observe::{Observation, PodOnNode, Preflight};
use sha2::{Digest, Sha256};

use crate::{Artifact, Options, Plan, ProgramVersion, Programs};

pub use table::{all, many};

const PROGRAM_BYTES: u64 = 12_345_678;

pub struct Scenario {
    /// File name of the golden plan.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub about: &'static str,
    /// What had been applied whole before; none: bare machines.
    pub before: Option<Applied>,
    /// What is wanted.
    pub now: Applied,
    /// In what the world differs from one in which `before` was applied whole.
    pub twists: Vec<Twist>,
    pub options: Options,
    /// Versions whose programs are at hand.
    pub at_hand: &'static [&'static str],
    pub outcome: Outcome,
}

/// An inventory as it was, or is to be, applied.
#[derive(Debug, Clone)]
pub struct Applied {
    pub text: String,
    /// The file's further documents, as a JSON list.
    pub documents: &'static str,
    pub version: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No step, nothing left out.
    Nothing,
    Changes,
    /// Something is left out that somebody has to look after.
    Incomplete,
    Refused,
}

/// One thing that is not as one would expect.
#[derive(Clone)]
pub enum Twist {
    /// Switched off. If it was a node, that is not Ready; if a member of etcd, that is not healthy.
    Unreachable(&'static str),
    /// Whatever the host says of itself.
    Facts(&'static str, fn(&mut Facts)),
    /// Seconds ahead of the operator.
    ClockSkew(&'static str, i64),
    /// A file of ours was edited by hand.
    Drifted(&'static str, &'static str),
    /// The machine was made anew, bare; the cluster still knows its Node and its member of etcd.
    Gone(&'static str),
    /// By somebody.
    Cordoned(&'static str),
    /// By a run of ours that was interrupted.
    CordonedByUs(&'static str),
    NotReady(&'static str),
    Pods(&'static str, Vec<PodOnNode>),
    /// A Node that the inventory does not know.
    Stranger(&'static str),
    /// Added to etcd as a learner by an interrupted run, never started.
    Learner(&'static str),
    Preflight(fn(&mut Preflight)),
}

impl Applied {
    /// # Panics
    /// When the text is no inventory.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let mut inventory = match naru_inventory::parse_ahead("cluster.yaml", &self.text) {
            Ok(inventory) => inventory,
            Err(error) => panic!("{error}\n{}", self.text),
        };
        self.version.clone_into(&mut inventory.spec.version);
        inventory.manifests = serde_json::from_str(self.documents).expect("documents of scenarios are a JSON list");
        inventory
    }
}

/// Made-up programs of these versions.
#[must_use]
pub fn programs(versions: &[&str]) -> Programs {
    let artifact = |name: &str, version: &str| Artifact {
        name: name.to_owned(),
        sha256: hex::encode(Sha256::digest(format!("{name} {version}"))),
        size_bytes: PROGRAM_BYTES,
    };
    let of = |version: &str| ProgramVersion {
        node: artifact("naru-node", version),
        control_plane: artifact("naru-control-plane", version),
    };
    Programs { versions: versions.iter().map(|version| ((*version).to_owned(), of(version))).collect() }
}

impl Scenario {
    #[must_use]
    pub fn programs(&self) -> Programs {
        programs(self.at_hand)
    }

    /// The world as the planner would be told it; a short cut past agents.
    #[must_use]
    pub fn observation(&self) -> Observation {
        builder::observation(self)
    }

    #[must_use]
    pub fn plan(&self) -> Plan {
        crate::plan(&self.now.inventory(), &self.observation(), &self.programs(), &self.options)
    }
}

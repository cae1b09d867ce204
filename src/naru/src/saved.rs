//! A plan in a file: the plan itself, what was said about the run that made it, and a fingerprint of each host that
//! was looked at, so that a refusal can name those that have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;
use naru_observe::{ClusterObservation, Observation};
use naru_plan::{Options, PLAN_FORMAT, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::exit::Failure;
use crate::session::Look;
use crate::style::names;

/// Beside the plan's own fields.
const MADE: &str = "made";
/// A larger file is surely no plan.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Saved {
    pub(crate) plan: Plan,
    made: Made,
}

/// How the plan was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Made {
    only: BTreeSet<String>,
    skip_unreachable: bool,
    preflight: bool,
    inventory_file: PathBuf,
    /// Fingerprints of hosts by name.
    hosts: BTreeMap<String, String>,
    cluster: String,
}

impl Saved {
    pub(crate) fn new(plan: Plan, observation: &Observation, look: &Look, inventory_file: &Path) -> Self {
        let Options { only, skip_unreachable } = look.options.clone();
        let (hosts, cluster) = fingerprints(observation);
        // Of use from any folder, also when the file has gone.
        let inventory_file = std::path::absolute(inventory_file).unwrap_or_else(|_| inventory_file.to_owned());
        let preflight = look.preflight;
        Self { plan, made: Made { only, skip_unreachable, preflight, inventory_file, hosts, cluster } }
    }

    /// Where the inventory lay, for what it refers to.
    pub(crate) fn inventory_file(&self) -> &Path {
        &self.made.inventory_file
    }

    pub(crate) fn text(&self) -> String {
        let mut document = serde_json::to_value(&self.plan).expect("a plan is plain data");
        document[MADE] = serde_json::to_value(&self.made).expect("plain data with text keys");
        serde_json::to_string_pretty(&document).expect("a document is text") + "\n"
    }

    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::user(error.to_string());
        if fs::metadata(file).map_err(fail)?.len() > MAX_FILE_BYTES {
            return Err(Failure::user(format!("{} is too large for a plan", file.display())));
        }
        Self::parse(&fs::read_to_string(file).map_err(fail)?, &file.display().to_string())
    }

    fn parse(text: &str, file: &str) -> Result<Self, Failure> {
        let no_plan = |error: serde_json::Error| {
            Failure::user(format!("{file} is not a saved plan: {error}")).hint("naru plan -o PLAN.json saves one")
        };
        let mut document: Json = serde_json::from_str(text).map_err(no_plan)?;
        if document["format"].as_u64().is_some_and(|format| format != u64::from(PLAN_FORMAT)) {
            return Err(Failure::user(format!("{file} was saved by another version of naru"))
                .hint("make and look at a new plan"));
        }
        let made = document.as_object_mut().and_then(|fields| fields.remove(MADE)).unwrap_or(Json::Null);
        let made = serde_json::from_value(made).map_err(no_plan)?;
        Ok(Self { plan: serde_json::from_value(document).map_err(no_plan)?, made })
    }

    pub(crate) fn options(&self) -> Options {
        Options { only: self.made.only.clone(), skip_unreachable: self.made.skip_unreachable }
    }

    pub(crate) fn preflight(&self) -> bool {
        self.made.preflight
    }

    /// Refuses if the world is not the one that the plan was made for.
    pub(crate) fn still_holds(&self, now: &Plan, observation: &Observation) -> Result<(), Failure> {
        if self.plan.fingerprint == now.fingerprint && self.plan.steps == now.steps {
            return Ok(());
        }
        let (hosts, cluster) = fingerprints(observation);
        let all: BTreeSet<&String> = hosts.keys().chain(self.made.hosts.keys()).collect();
        let mut moved: Vec<&str> =
            all.into_iter().filter(|name| hosts.get(*name) != self.made.hosts.get(*name)).map(String::as_str).collect();
        if moved.is_empty() {
            // The same world planned otherwise: the steps tell.
            moved = changed_steps(&self.plan, now);
        }
        let mut detail = Vec::new();
        if !moved.is_empty() {
            detail.push(format!("other than then: {}", names(&moved)));
        }
        if cluster != self.made.cluster {
            detail.push("what the API server says of nodes and documents is other than then".to_owned());
        }
        if detail.is_empty() {
            detail.push("the programs at hand are others than then".to_owned());
        }
        Err(Failure::user("the world has moved since this plan was saved; nothing was changed")
            .detail(detail.join("\n"))
            .hint("make and look at a new plan"))
    }
}

/// Hosts whose steps are not the same in both plans.
pub(crate) fn changed_steps<'a>(before: &'a Plan, now: &'a Plan) -> Vec<&'a str> {
    let of = |plan: &'a Plan| {
        let mut by_host: BTreeMap<&str, Vec<&naru_plan::Step>> = BTreeMap::new();
        for step in &plan.steps {
            by_host.entry(&step.host).or_default().push(step);
        }
        by_host
    };
    let (before, now) = (of(before), of(now));
    let all: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    all.into_iter().filter(|host| before.get(host) != now.get(host)).collect()
}

/// One for each host, and one for the cluster as a whole.
fn fingerprints(observation: &Observation) -> (BTreeMap<String, String>, String) {
    let part = |hosts, cluster| Observation { hosts, cluster, preflight: None }.fingerprint();
    let of_host = |(name, seen): (&String, &_)| {
        let alone = [(name.clone(), Clone::clone(seen))].into();
        (name.clone(), part(alone, ClusterObservation::default()))
    };
    let hosts = observation.hosts.iter().map(of_host).collect();
    (hosts, part(BTreeMap::new(), observation.cluster.clone()))
}

#[cfg(test)]
mod tests {
    use naru_observe::{HostObservation, Reached};
    use naru_plan::{Action, Step};

    use super::*;

    fn observation(machine_id: &str) -> Observation {
        let mut reached = Reached::default();
        reached.facts.machine_id = machine_id.to_owned();
        let hosts = [("cp1", Reached::default()), ("w1", reached)];
        Observation {
            hosts: hosts.map(|(name, seen)| (name.to_owned(), HostObservation::Reached(Box::new(seen)))).into(),
            cluster: ClusterObservation::default(),
            preflight: None,
        }
    }

    fn plan(observation: &Observation) -> Plan {
        let step = Step::new("w1", "reset", "clean the host", Action::Reset);
        let plan = Plan::of(crate::fake::inventory(), vec![step]);
        Plan { fingerprint: observation.fingerprint(), ..plan }
    }

    #[test]
    fn a_saved_plan_knows_its_world_and_names_the_host_that_moved() {
        let then = observation("a");
        let options = Options { only: ["w1".to_owned()].into(), skip_unreachable: true };
        let saved = Saved::new(
            plan(&then),
            &then,
            &Look { options: options.clone(), preflight: true, parallel: None },
            Path::new("a.yaml"),
        );
        let read = Saved::parse(&saved.text(), "plan.json").unwrap();
        assert_eq!(read, saved);
        assert_eq!(read.options(), options);
        read.still_holds(&plan(&then), &then).unwrap();
        let now = observation("b");
        let refusal = read.still_holds(&plan(&now), &now).unwrap_err().render(naru_plan::Colour::Never);
        insta::assert_snapshot!(refusal);
    }

    #[test]
    fn other_steps_for_the_same_world_are_refused_too() {
        let then = observation("a");
        let saved = Saved::new(plan(&then), &then, &Look::default(), Path::new("a.yaml"));
        let mut other = plan(&then);
        other.steps[0].title = "something else".to_owned();
        let refusal = saved.still_holds(&other, &then).unwrap_err().render(naru_plan::Colour::Never);
        assert!(refusal.contains("w1"), "{refusal}");
    }

    #[test]
    fn what_is_no_plan_is_told() {
        for text in ["{}", "[]", "no", "{\"format\":1}"] {
            assert_eq!(Saved::parse(text, "x.json").unwrap_err().exit, crate::exit::Exit::UserMistake, "{text}");
        }
    }
}

//! What single hosts are compared with: gathered once from all hosts.

use std::collections::{BTreeMap, HashMap};

use naru_inventory::{Cidr, Host, Inventory};
use naru_observe::{Observation, Preflight, Reached, Unreachable};

use crate::desired::{Blueprint, NODE_UNIT};

/// One host under a rule's eyes.
pub(super) struct View<'a> {
    pub(super) host: &'a Host,
    pub(super) reached: &'a Reached,
    pub(super) is_fresh: bool,
}

pub(super) struct Fleet<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) machine_ids: HashMap<&'a str, Vec<&'a str>>,
    /// Which host the inventory knows under an address.
    pub(super) by_address: HashMap<&'a str, &'a str>,
    /// The MTU that most hosts have.
    pub(super) usual_mtu: Option<u32>,
    pub(super) unreachable: HashMap<&'a str, Vec<&'a Unreachable>>,
    pub(super) preflight: Option<&'a Preflight>,
    /// The authority that most control planes have.
    pub(super) authority: Option<&'a str>,
    pub(super) networks: [(&'static str, Cidr); 2],
}

/// Whether nothing of ours runs there yet.
pub(super) fn is_fresh(reached: &Reached) -> bool {
    let runs = reached.facts.units.iter().any(|unit| unit.name == NODE_UNIT && unit.active_state == "active");
    !runs && !reached.manifest.contains_key("/etc/naru/node.yaml")
}

/// The interface by which other hosts reach this one.
pub(super) fn mtu(view_host: &Host, reached: &Reached) -> Option<u32> {
    let mut links = reached.facts.links.iter();
    let has = |address: &String| address.split('/').next() == Some(view_host.address.as_str());
    links.find(|link| link.addresses.iter().any(has)).map(|link| link.mtu)
}

impl<'a> Fleet<'a> {
    pub(super) fn new(blueprint: &'a Blueprint<'a>, observation: &'a Observation) -> Self {
        let inventory = blueprint.inventory;
        let mut machine_ids: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut mtus: BTreeMap<u32, usize> = BTreeMap::new();
        for host in &inventory.spec.hosts {
            let Some(reached) = observation.reached(&host.name) else { continue };
            machine_ids.entry(&reached.facts.machine_id).or_default().push(&host.name);
            if let Some(mtu) = mtu(host, reached) {
                *mtus.entry(mtu).or_default() += 1;
            }
        }
        let mut unreachable: HashMap<&str, Vec<&Unreachable>> = HashMap::new();
        for found in observation.preflight.iter().flat_map(|preflight| &preflight.unreachable) {
            unreachable.entry(&found.from).or_default().push(found);
        }
        Self {
            inventory,
            machine_ids,
            by_address: inventory.spec.hosts.iter().map(|host| (host.address.as_str(), host.name.as_str())).collect(),
            usual_mtu: mtus.into_iter().max_by_key(|(_, count)| *count).map(|(mtu, _)| mtu),
            unreachable,
            preflight: observation.preflight.as_ref(),
            authority: authority(blueprint, observation),
            networks: [("podCIDR", inventory.pod_cidr()), ("serviceCIDR", inventory.service_cidr())],
        }
    }
}

/// Of what control planes believe, what most do; of equals the first in the inventory.
fn authority<'a>(blueprint: &Blueprint<'a>, observation: &'a Observation) -> Option<&'a str> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for host in &blueprint.control_planes {
        let believed = observation.reached(&host.name).and_then(|reached| reached.facts.authority.as_deref());
        let Some(believed) = believed.filter(|believed| !believed.is_empty()) else { continue };
        match counts.iter_mut().find(|(known, _)| *known == believed) {
            Some((_, count)) => *count += 1,
            None => counts.push((believed, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(believed, _)| believed)
}

//! A set of rules as data, and the scripts that bring the kernel there from nothing or from another set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

pub(super) const TABLE: &str = "naru-services";
/// Set on packets whose source must be rewritten; the bit kube-proxy uses for the same purpose.
pub(super) const MASQUERADE_MARK: &str = "0x4000";

/// Maps and sets with their element types. Verdict maps send a packet to a service's chain.
const SERVICES: (&str, &str) = ("services", "map services { type ipv4_addr . inet_proto . inet_service : verdict; }");
const NODE_PORTS: (&str, &str) = ("node-ports", "map node-ports { type inet_proto . inet_service : verdict; }");
const REFUSED: (&str, &str) = ("refused", "set refused { type ipv4_addr . inet_proto . inet_service; }");
const REFUSED_NODE_PORTS: (&str, &str) =
    ("refused-node-ports", "set refused-node-ports { type inet_proto . inet_service; }");
const HAIRPINS: (&str, &str) = ("hairpins", "set hairpins { type ipv4_addr . ipv4_addr; }");

/// What should be in the kernel. Keys and values are nft text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) pod_network: String,
    /// `10.96.0.1 . tcp . 443` → chain.
    pub(super) services: BTreeMap<String, String>,
    /// `tcp . 30080` → chain.
    pub(super) node_ports: BTreeMap<String, String>,
    /// Service addresses and ports without endpoints.
    pub(super) refused: BTreeSet<String>,
    pub(super) refused_node_ports: BTreeSet<String>,
    /// `10.244.1.5 . 10.244.1.5`: a pod that reaches itself through a service.
    pub(super) hairpins: BTreeSet<String>,
    /// Sets of clients that stick to an endpoint: name → seconds.
    pub(super) affinities: BTreeMap<String, u32>,
    /// Chain → rules. Chains that others jump to must sort before them in `order`.
    pub(super) chains: BTreeMap<String, Vec<String>>,
}

impl Ruleset {
    /// The whole table, replacing one that an earlier process left.
    pub(super) fn whole(&self) -> String {
        let mut script = format!("table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n");
        for (_, definition) in [SERVICES, NODE_PORTS, REFUSED, REFUSED_NODE_PORTS, HAIRPINS] {
            script += &format!("  {definition}\n");
        }
        script += &base_chains(&self.pod_network);
        script += "}\n";
        let empty = Ruleset { pod_network: self.pod_network.clone(), ..Ruleset::default() };
        script + &self.difference(&empty).unwrap_or_default()
    }

    /// The script from `before` to `self`; nothing when they are the same. Only for rulesets of one pod network.
    pub(super) fn difference(&self, before: &Ruleset) -> Option<String> {
        let mut script = String::new();
        for (name, seconds) in self.affinities.iter().filter(|(name, _)| !before.affinities.contains_key(*name)) {
            let _ = writeln!(
                script,
                "add set ip {TABLE} {name} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}"
            );
        }
        // First every new chain, empty, so that rules may refer to chains in any order.
        for chain in self.chains.keys().filter(|chain| !before.chains.contains_key(*chain)) {
            let _ = writeln!(script, "add chain ip {TABLE} {chain}");
        }
        for (chain, rules) in self.chains.iter().filter(|(chain, rules)| before.chains.get(*chain) != Some(*rules)) {
            if before.chains.contains_key(chain) {
                let _ = writeln!(script, "flush chain ip {TABLE} {chain}");
            }
            for rule in rules {
                let _ = writeln!(script, "add rule ip {TABLE} {chain} {rule}");
            }
        }
        map_difference(&mut script, SERVICES.0, &before.services, &self.services);
        map_difference(&mut script, NODE_PORTS.0, &before.node_ports, &self.node_ports);
        set_difference(&mut script, REFUSED.0, &before.refused, &self.refused);
        set_difference(&mut script, REFUSED_NODE_PORTS.0, &before.refused_node_ports, &self.refused_node_ports);
        set_difference(&mut script, HAIRPINS.0, &before.hairpins, &self.hairpins);
        let gone: Vec<&String> = before.chains.keys().filter(|chain| !self.chains.contains_key(*chain)).collect();
        for chain in &gone {
            let _ = writeln!(script, "flush chain ip {TABLE} {chain}");
        }
        for chain in &gone {
            let _ = writeln!(script, "delete chain ip {TABLE} {chain}");
        }
        for name in before.affinities.keys().filter(|name| !self.affinities.contains_key(*name)) {
            let _ = writeln!(script, "delete set ip {TABLE} {name}");
        }
        (!script.is_empty()).then_some(script)
    }
}

fn base_chains(pod_network: &str) -> String {
    format!(
        "  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump dispatch; }}
  chain output {{ type nat hook output priority -100; policy accept; jump dispatch; }}
  chain dispatch {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @node-ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark and {MASQUERADE_MARK} == {MASQUERADE_MARK} masquerade fully-random
    ct status dnat ip saddr . ip daddr @hairpins masquerade fully-random
    ip saddr {pod_network} ip daddr != {pod_network} ip daddr != 224.0.0.0/4 masquerade fully-random
  }}
  chain filter-forward {{ type filter hook forward priority -110; policy accept; jump refuse; }}
  chain filter-output {{ type filter hook output priority -110; policy accept; jump refuse; }}
  chain filter-input {{ type filter hook input priority -110; policy accept; jump refuse-node-ports; }}
  chain refuse {{ ct state new ip daddr . meta l4proto . th dport @refused reject; }}
  chain refuse-node-ports {{
    ct state new fib daddr type local meta l4proto . th dport @refused-node-ports reject
  }}
"
    )
}

fn map_difference(
    script: &mut String,
    name: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) {
    let gone: Vec<String> = before
        .iter()
        .filter(|(key, chain)| after.get(*key) != Some(*chain))
        .map(|(key, chain)| format!("{key} : goto {chain}"))
        .collect();
    let new: Vec<String> = after
        .iter()
        .filter(|(key, chain)| before.get(*key) != Some(*chain))
        .map(|(key, chain)| format!("{key} : goto {chain}"))
        .collect();
    elements(script, "delete", name, &gone);
    elements(script, "add", name, &new);
}

fn set_difference(script: &mut String, name: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    elements(script, "delete", name, &before.difference(after).cloned().collect::<Vec<_>>());
    elements(script, "add", name, &after.difference(before).cloned().collect::<Vec<_>>());
}

fn elements(script: &mut String, verb: &str, name: &str, elements: &[String]) {
    if !elements.is_empty() {
        let _ = writeln!(script, "{verb} element ip {TABLE} {name} {{ {} }}", elements.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(endpoints: &[&str]) -> Ruleset {
        let mut ruleset = Ruleset { pod_network: "10.244.0.0/16".to_owned(), ..Ruleset::default() };
        ruleset.services.insert("10.96.0.20 . tcp . 80".to_owned(), "svc-web".to_owned());
        ruleset.chains.insert("svc-web".to_owned(), endpoints.iter().map(|one| format!("dnat to {one}")).collect());
        ruleset
    }

    #[test]
    fn no_difference_no_script() {
        assert_eq!(ruleset(&["a"]).difference(&ruleset(&["a"])), None);
    }

    #[test]
    fn a_new_endpoint_touches_one_chain_only() {
        let script = ruleset(&["a", "b"]).difference(&ruleset(&["a"])).unwrap();
        let expected = "flush chain ip naru-services svc-web\n\
                        add rule ip naru-services svc-web dnat to a\n\
                        add rule ip naru-services svc-web dnat to b\n";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_gone_service_leaves_the_map_before_its_chain() {
        let empty = Ruleset { pod_network: "10.244.0.0/16".to_owned(), ..Ruleset::default() };
        let script = empty.difference(&ruleset(&["a"])).unwrap();
        let element = script.find("delete element ip naru-services services").unwrap();
        let chain = script.find("delete chain ip naru-services svc-web").unwrap();
        assert!(element < chain, "{script}");
    }
}

//! The pod network's configuration, its plugins, and the addresses that pods get here.

use fs_err as fs;
use naru_resources::{Host, journal};
use serde_json::Value;

use super::{LOG_LINES, NODE_UNIT, broken, holds};
use crate::{Link, LinkName};

const CONFIGURATIONS: &str = "/etc/cni/net.d";
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const ENDINGS: [&str; 3] = ["conflist", "conf", "json"];

pub(super) fn link(host: &Host) -> Link {
    let Some(name) = first_configuration(host) else {
        let log = journal(host, NODE_UNIT, LOG_LINES).into_iter().rfind(|line| line.contains("podCIDR"));
        let found = format!("there is no configuration in {CONFIGURATIONS}, so pods get no network");
        let hint = "the node program writes it once the controllers gave the node a range of pod addresses: look at \
                    links above, and at `kubectl get node -o yaml`"
            .to_owned();
        return Link { log, hint: Some(hint), ..broken(LinkName::Cni, found) };
    };
    let path = format!("{CONFIGURATIONS}/{name}");
    let text = fs::read_to_string(host.path(&path)).unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(&text) else {
        let hint = Some(format!("remove {path} and restart {NODE_UNIT}"));
        return Link { hint, ..broken(LinkName::Cni, format!("{path} is no JSON")) };
    };
    let single = std::slice::from_ref(&document);
    let plugins = document["plugins"].as_array().map_or(single, Vec::as_slice);
    let types = plugins.iter().flat_map(|plugin| [&plugin["type"], &plugin["ipam"]["type"]]);
    for plugin in types.filter_map(Value::as_str) {
        if !PLUGINS.iter().any(|folder| host.path(folder).join(plugin).exists()) {
            let found = format!("{path} wants the plugin {plugin}, which is in none of {}", PLUGINS.join(", "));
            let hint = Some("install the package containernetworking-plugins".to_owned());
            return Link { hint, ..broken(LinkName::Cni, found) };
        }
    }
    let ranges: Vec<&str> = plugins
        .iter()
        .filter_map(|plugin| plugin["ipam"]["ranges"].as_array())
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|range| range["subnet"].as_str())
        .collect();
    let subnet = plugins.iter().find_map(|plugin| plugin["ipam"]["subnet"].as_str());
    let addresses = if ranges.is_empty() { subnet.unwrap_or_default().to_owned() } else { ranges.join(", ") };
    let addresses = if addresses.is_empty() { "its own addresses".to_owned() } else { addresses };
    holds(LinkName::Cni, format!("{path} gives pods {addresses}"))
}

/// The runtime takes the first by name.
fn first_configuration(host: &Host) -> Option<String> {
    let entries = fs::read_dir(host.path(CONFIGURATIONS)).ok()?.filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))).min()
}

//! Settings of the two programs that the inventory knows by the names of upstream's flags: here they get the typed
//! names and units of Naru's own configuration files, so that the programs have nothing to interpret.

use std::collections::BTreeMap;

use naru_inventory::{ApiServer, Host, Inventory};
use serde_json::json;

/// Lines of section `kubelet` of `node.yaml`: what differs from the defaults, with values as YAML.
pub(crate) fn kubelet(inventory: &Inventory, host: &Host) -> BTreeMap<String, String> {
    let (all, own) = (&inventory.spec.kubelet, &host.kubelet);
    let mut lines = BTreeMap::new();
    if let Some(count) = own.max_pods.or(all.max_pods) {
        lines.insert("maxPods".to_owned(), count.to_string());
    }
    let mut reserved = all.system_reserved.clone();
    reserved.extend(own.system_reserved.clone());
    if !reserved.is_empty() {
        lines.insert("systemReserved".to_owned(), json!(reserved).to_string());
    }
    lines
}

/// Lines of section `apiServer` of `control-plane.yaml`.
pub(crate) fn api_server(_settings: &ApiServer) -> BTreeMap<String, String> {
    BTreeMap::new()
}

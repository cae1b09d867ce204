//! Nodes, namespaces, events, leases.

use super::{AGE, NAME, UNKNOWN, column, text, text_or, wide};
use crate::resource::Column;
use crate::{meta, time};
use serde_json::Value;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(crate) const NODE: &[Column] = &[
    NAME,
    text("Status", "The status of the node", |node, _| node_status(node).into()),
    text("Roles", "The roles of the node", |node, _| roles(node).into()),
    AGE,
    text("Version", "Version of the kubelet.", |node, _| {
        meta::string_at(node, &["status", "nodeInfo", "kubeletVersion"]).into()
    }),
    wide("Internal-IP", "Address within the cluster.", |node, _| address(node, "InternalIP")),
    wide("External-IP", "Address outside the cluster.", |node, _| address(node, "ExternalIP")),
    wide("OS-Image", "Name of the operating system.", |node, _| {
        text_or(node, &["status", "nodeInfo", "osImage"], UNKNOWN)
    }),
    wide("Kernel-Version", "Version of the kernel.", |node, _| {
        text_or(node, &["status", "nodeInfo", "kernelVersion"], UNKNOWN)
    }),
    wide("Container-Runtime", "Name and version of the container runtime.", |node, _| {
        text_or(node, &["status", "nodeInfo", "containerRuntimeVersion"], UNKNOWN)
    }),
];

fn node_status(node: &Value) -> String {
    let mut words = vec![match meta::condition(node, "Ready") {
        Some(condition) if meta::string_at(condition, &["status"]) == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if meta::bool_at(node, &["spec", "unschedulable"]) {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) => Some(role.to_owned()),
        None if key == ROLE_LABEL => value.as_str().map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<String> = meta::labels(node).iter().filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { super::NONE.to_owned() } else { roles.join(",") }
}

fn address(node: &Value, kind: &str) -> Value {
    let addresses = meta::list_at(node, &["status", "addresses"]);
    let found = addresses.iter().find(|address| meta::string_at(address, &["type"]) == kind);
    found.map_or_else(|| super::NONE.into(), |address| meta::string_at(address, &["address"]).into())
}

pub(crate) const NAMESPACE: &[Column] = &[
    NAME,
    text("Status", "The status of the namespace", |object, _| meta::string_at(object, &["status", "phase"]).into()),
    AGE,
];

pub(crate) const LEASE: &[Column] = &[
    NAME,
    text("Holder", "Who holds the lease.", |lease, _| meta::string_at(lease, &["spec", "holderIdentity"]).into()),
    AGE,
];

pub(crate) const EVENT: &[Column] = &[
    text("Last Seen", "When the event was last seen.", |event, now| last_seen(event, now).into()),
    text("Type", "Normal or Warning.", |event, _| meta::string_at(event, &["type"]).into()),
    text("Reason", "Why the event happened, in one word.", |event, _| meta::string_at(event, &["reason"]).into()),
    text("Object", "The object that the event is about.", |event, _| {
        let involved = &event["involvedObject"];
        let kind = meta::string_at(involved, &["kind"]).to_lowercase();
        match meta::string_at(involved, &["name"]) {
            "" => kind.into(),
            name => format!("{kind}/{name}").into(),
        }
    }),
    wide("Subobject", "The part of the object.", |event, _| {
        meta::string_at(event, &["involvedObject", "fieldPath"]).into()
    }),
    wide("Source", "Who tells of the event.", |event, _| source(event).into()),
    text("Message", "What happened.", |event, _| meta::string_at(event, &["message"]).trim().into()),
    wide("First Seen", "When the event was first seen.", |event, now| first_seen(event, now).into()),
    column("Count", "integer", 1, "How often the event was seen.", |event, _| count(event).into()),
    Column { priority: 1, ..NAME },
];

/// The same columns on the newer form.
pub(crate) const EVENT_V1: &[Column] = &[
    text("Last Seen", EVENT[0].description, |event, now| last_seen(&core(event), now).into()),
    EVENT[1],
    EVENT[2],
    text("Object", EVENT[3].description, |event, now| (EVENT[3].cell)(&core(event), now)),
    wide("Subobject", EVENT[4].description, |event, now| (EVENT[4].cell)(&core(event), now)),
    wide("Source", EVENT[5].description, |event, now| (EVENT[5].cell)(&core(event), now)),
    text("Message", EVENT[6].description, |event, now| (EVENT[6].cell)(&core(event), now)),
    wide("First Seen", EVENT[7].description, |event, now| (EVENT[7].cell)(&core(event), now)),
    column("Count", "integer", 1, EVENT[8].description, |event, now| (EVENT[8].cell)(&core(event), now)),
    EVENT[9],
];

fn core(event: &Value) -> Value {
    let mut event = event.clone();
    crate::convert::event_to_core(&mut event);
    event
}

fn moment<'a>(event: &'a Value, paths: &[&[&str]]) -> Option<&'a str> {
    paths.iter().map(|path| meta::string_at(event, path)).find(|text| !text.is_empty())
}

fn first_seen(event: &Value, now: i64) -> String {
    time::age(moment(event, &[&["firstTimestamp"], &["eventTime"]]), now)
}

fn last_seen(event: &Value, now: i64) -> String {
    let places: &[&[&str]] =
        &[&["series", "lastObservedTime"], &["lastTimestamp"], &["firstTimestamp"], &["eventTime"]];
    time::age(moment(event, places), now)
}

fn count(event: &Value) -> i64 {
    let number = meta::integer_at(event, &["series", "count"]).or_else(|| meta::integer_at(event, &["count"]));
    number.filter(|number| *number != 0).unwrap_or(1)
}

fn source(event: &Value) -> String {
    let reported = ["reportingComponent", "reportingInstance"].map(|name| meta::string_at(event, &[name]));
    let [component, host] = match meta::string_at(event, &["source", "component"]) {
        "" => reported,
        component => [component, meta::string_at(event, &["source", "host"])],
    };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

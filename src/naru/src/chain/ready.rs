//! The last link: what the API server knows of the node, asked at the first control plane that answers.

use jiff::Timestamp;
use naru_agent::{ApiRequest, Link, LinkName, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_observe::{Fleet, HostAgent, api_call};
use serde_json::Value as Json;

use super::{broken, holds};
use crate::style::age;

const API_TIMEOUT_MS: u64 = 5_000;
/// How old a sign of life may be when the lease does not say it itself.
const LEASE_SECONDS: i64 = 40;

/// Asks the control planes one after the other.
pub(super) async fn look(inventory: &Inventory, host: &Host, fleet: &dyn Fleet) -> Link {
    let mut reasons = Vec::new();
    for control_plane in inventory.control_planes() {
        match ask(control_plane, host, fleet).await {
            Ok(link) => return link,
            Err(reason) => reasons.push(format!("{}: {reason}", control_plane.name)),
        }
    }
    let log = (!reasons.is_empty()).then(|| reasons.join("\n"));
    let hint = inventory.control_planes().next().map(|control_plane| format!("naru explain {}", control_plane.name));
    broken(LinkName::Ready, "no API server answers, so nobody can tell".to_owned(), log, hint)
}

async fn ask(control_plane: &Host, host: &Host, fleet: &dyn Fleet) -> Result<Link, String> {
    let agent = fleet.connect(control_plane).await.map_err(|problem| problem.primary)?;
    let (agent, name) = (agent.as_ref(), &host.name);
    let node = get(agent, control_plane, &format!("/api/v1/nodes/{name}")).await?;
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
    let lease = get(agent, control_plane, &lease).await?;
    // Signs of life carry the time of the cluster's clocks; the operator's may be another.
    let now = match agent.call(Request::Facts).await {
        Ok(Response::Facts(facts)) => {
            Timestamp::from_millisecond(facts.unix_time_ms).unwrap_or_else(|_| Timestamp::now())
        }
        _ => Timestamp::now(),
    };
    Ok(link(host, node.as_ref(), lease.as_ref(), now))
}

/// The object, or nothing if there is none.
async fn get(agent: &dyn HostAgent, control_plane: &Host, path: &str) -> Result<Option<Json>, String> {
    let request = ApiRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        content_type: String::new(),
        body: String::new(),
        timeout_ms: API_TIMEOUT_MS,
    };
    let response = api_call(agent, &control_plane.name, request).await.map_err(|error| error.to_string())?;
    match response.status {
        200 => serde_json::from_str(&response.body).map(Some).map_err(|error| error.to_string()),
        404 => Ok(None),
        status => Err(format!("the API server answers {status}")),
    }
}

/// What node and lease say at this moment.
fn link(host: &Host, node: Option<&Json>, lease: Option<&Json>, now: Timestamp) -> Link {
    let name = &host.name;
    let Some(node) = node else {
        let found = "the API server knows no such node: it has not registered itself";
        let hint = format!("naru apply --only {name}");
        return broken(LinkName::Ready, found.to_owned(), None, Some(hint));
    };
    let conditions = || node["status"]["conditions"].as_array().into_iter().flatten();
    let Some(ready) = conditions().find(|condition| condition["type"] == "Ready") else {
        let found = "the node is registered and has not reported yet";
        return broken(LinkName::Ready, found.to_owned(), None, Some(format!("naru logs {name}")));
    };
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let silence = lease.and_then(|lease| {
        let renewed: Timestamp = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
        let allowed = lease["spec"]["leaseDurationSeconds"].as_i64().unwrap_or(LEASE_SECONDS);
        Some((now.as_second() - renewed.as_second(), allowed))
    });
    let sign = silence.map(|(silence, _)| format!("last sign of life {} ago", age(silence)));
    let is_silent = silence.is_some_and(|(silence, allowed)| silence > allowed);
    let mut parts = match text(&ready["status"]).as_str() {
        "True" => vec!["the node is Ready".to_owned()],
        _ => vec![format!("{}: {}", text(&ready["reason"]), text(&ready["message"]))],
    };
    parts.extend(sign);
    if node["spec"]["unschedulable"] == true {
        parts.push("cordoned: it gets no new pods".to_owned());
    }
    let pressures = conditions().filter(|condition| condition["type"] != "Ready" && condition["status"] == "True");
    parts.extend(pressures.map(|condition| format!("{}: {}", text(&condition["type"]), text(&condition["message"]))));
    let found = parts.join("; ");
    if ready["status"] == "True" && !is_silent {
        return holds(LinkName::Ready, found);
    }
    broken(LinkName::Ready, found, None, Some(format!("naru logs {name}")))
}

#[cfg(test)]
mod tests {
    use naru_inventory::Role;
    use serde_json::json;

    use super::*;

    fn look_at(node: Option<Json>, renewed: Option<&str>) -> Link {
        let lease = renewed.map(|time| json!({"spec": {"renewTime": time, "leaseDurationSeconds": 40}}));
        let host = Host::new("w1", Role::Worker, "10.0.0.21");
        link(&host, node.as_ref(), lease.as_ref(), "2026-11-20T12:00:00Z".parse().unwrap())
    }

    fn node(status: &str) -> Json {
        json!({"status": {"conditions": [
            {"type": "DiskPressure", "status": "True", "message": "little room"},
            {"type": "Ready", "status": status, "reason": "NetworkNotReady", "message": "no CNI configuration"},
        ]}})
    }

    #[test]
    fn a_node_is_ready_only_while_it_gives_signs_of_life() {
        let fresh = look_at(Some(node("True")), Some("2026-11-20T11:59:55.123456Z"));
        assert!(fresh.holds);
        assert_eq!(fresh.found, "the node is Ready; last sign of life 5s ago; DiskPressure: little room");
        let silent = look_at(Some(node("True")), Some("2026-11-20T11:50:00Z"));
        assert!(!silent.holds && silent.found.contains("10m ago"), "{silent:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let not_ready = look_at(Some(node("False")), None);
        assert!(!not_ready.holds && not_ready.found.starts_with("NetworkNotReady: no CNI"), "{not_ready:?}");
        assert!(look_at(None, None).found.contains("not registered"));
        assert!(look_at(Some(json!({})), None).found.contains("not reported"));
    }
}

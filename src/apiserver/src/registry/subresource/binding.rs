//! Binding: a pod gets its node, once.

use http::StatusCode;
use serde_json::{Value, json};

use crate::registry::modify::Part;
use crate::registry::objects::now_unix_s;
use crate::registry::{Call, Registry, Target, answer};
use crate::status::ApiError;
use crate::web::Outcome;

impl Registry {
    pub(crate) async fn bind(&self, call: &Call, namespace: &str, name: &str, binding: &Value) -> Outcome {
        let row = self.objects.catalog.find("", "v1", "pods").ok_or_else(ApiError::unknown_path)?;
        let target = Target { row, namespace, name };
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if !matches!(binding["target"]["kind"].as_str().unwrap_or_default(), "" | "Node") || node.is_empty() {
            return Err(ApiError::bad_request("target: a binding needs the name of a Node"));
        }
        let change = |pod: &Value| bound(&target, pod, binding, &node);
        self.modify(call, &target, Part::Fields, call.query.dry_run()?, &change).await?;
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        answer(&success, StatusCode::CREATED, call.output)
    }
}

fn bound(target: &Target<'_>, pod: &Value, binding: &Value, node: &str) -> Result<Value, ApiError> {
    let uid = binding["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && pod["metadata"]["uid"] != uid {
        return Err(target.conflict(&format!("Precondition failed: UID in precondition: {uid}")));
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Err(target.conflict(&format!("pod {} is being deleted, cannot be assigned to a host", target.name)));
    }
    let present = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !present.is_empty() {
        return Err(target.conflict(&format!("pod {} is already assigned to node \"{present}\"", target.name)));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return Err(target.conflict(&format!("pod {} has non-empty .spec.schedulingGates", target.name)));
    }
    let mut new = pod.clone();
    new["spec"]["nodeName"] = json!(node);
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            new["metadata"][field][key] = value.clone();
        }
    }
    let mut conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let scheduled = |condition: &Value| condition["type"] == "PodScheduled";
    if !conditions.iter().any(|condition| scheduled(condition) && condition["status"] == "True") {
        conditions.retain(|condition| !scheduled(condition));
        let now = naru_api::time::rfc3339_seconds(now_unix_s());
        conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now}));
        new["status"]["conditions"] = Value::Array(conditions);
    }
    Ok(new)
}

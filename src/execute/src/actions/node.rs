//! The Node object: cordon, uncordon, delete.

use naru_plan::CORDONED_ANNOTATION;
use serde_json::json;

use super::Lines;
use crate::world::{World, api_request, merge_patch, refused};

impl World<'_> {
    pub(super) async fn set_unschedulable(&self, control_planes: &[String], node: &str, is_so: bool) -> Lines {
        // Null takes the field away, as a node has it that was never cordoned.
        let value = if is_so { json!(true) } else { json!(null) };
        let sign = if is_so { json!("true") } else { json!(null) };
        let patch = json!({
            "metadata": {"annotations": {CORDONED_ANNOTATION: sign}},
            "spec": {"unschedulable": value},
        });
        let answer = self.api(control_planes, merge_patch(&format!("/api/v1/nodes/{node}"), &patch)).await?;
        match answer.status {
            200 => Ok(vec![if is_so { format!("cordon {node}") } else { format!("uncordon {node}") }]),
            // A node that never registered runs no pods.
            404 if is_so => Ok(Vec::new()),
            _ => Err(refused(&format!("{} node {node}", if is_so { "cordon" } else { "uncordon" }), &answer)),
        }
    }

    pub(super) async fn delete_node(&self, control_planes: &[String], node: &str) -> Lines {
        let path = format!("/api/v1/nodes/{node}");
        let answer = self.api(control_planes, api_request("DELETE", &path, "", String::new())).await?;
        match answer.status {
            200 | 202 => Ok(vec![format!("delete node {node}")]),
            404 => Ok(Vec::new()),
            _ => Err(refused(&format!("delete node {node}"), &answer)),
        }
    }
}

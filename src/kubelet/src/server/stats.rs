//! Minimal numbers about the node and its pods.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::Context;
use crate::machine::Machine;
use crate::pod::PodExt;

pub(super) async fn summary(context: &Context) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let available = Machine::available_memory_bytes().unwrap_or(0);
    let disk = context.machine.disk().ok();
    let pods: Vec<Value> = context
        .pods
        .pods()
        .iter()
        .map(|pod| json!({"podRef": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()}}))
        .collect();
    json!({
        "node": {
            "nodeName": context.config.node_name,
            "memory": {
                "time": now,
                "availableBytes": available,
                "workingSetBytes": context.machine.memory_bytes - available,
            },
            "fs": disk.map(|disk| json!({
                "time": now,
                "availableBytes": disk.available_bytes,
                "capacityBytes": disk.capacity_bytes,
            })),
        },
        "pods": pods,
    })
}

pub(super) fn metrics(context: &Context) -> String {
    let running = context.pods.pods().len();
    let network = u8::from(context.network_ready.load(Ordering::Relaxed));
    format!(
        "# TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{}\"}} 1\n\
         # TYPE kubelet_active_pods gauge\nkubelet_active_pods {running}\n\
         # TYPE naru_kubelet_network_ready gauge\nnaru_kubelet_network_ready {network}\n",
        context.config.node_name
    )
}
